"""What an answer is worth against a known alpha and known colors. Lower is better, but for IoU and boundary F."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Self

import numpy as np
from matte_inference.analysis.masks import agreement
from matte_inference.pixels.arrays import UInt8Array


@dataclass(frozen=True, slots=True)
class Scores:
    """``iou`` and ``boundary``: of the masks at half alpha, 0 … 1, as rollouts measure them. ``mae``: mean absolute
    difference of the alphas, 0 … 1. ``sad``: its sum in thousands of pixels. ``color``: mean absolute difference of
    the cut-out's colors to the subject's own where the known alpha is soft, 0 … 255; NaN if nothing soft was kept.
    """

    iou: float
    boundary: float
    mae: float
    sad: float
    color: float

    @classmethod
    def mean(cls, scores: Sequence[Self]) -> Self:
        """The mean of each; NaN is left out."""
        means = {}
        for field in fields(cls):
            values = [value for each in scores if not math.isnan(value := getattr(each, field.name))]
            means[field.name] = sum(values) / len(values) if values else math.nan
        return cls(**means)


def score(cutout: UInt8Array, alpha: UInt8Array, foreground: UInt8Array) -> Scores:
    """Scores of a cut-out (H, W, 4) in RGBA against a known alpha (H, W) and the subject's colors (H, W, 3), uint8."""
    found = np.ascontiguousarray(cutout[..., 3])
    agreed = agreement(found, alpha)
    difference = np.abs(found.astype(np.int16) - alpha)
    return Scores(
        agreed.iou, agreed.boundary, float(difference.mean()) / 255, float(difference.sum()) / 255e3,
        color_error(cutout, alpha, foreground),
    )  # fmt: skip


def color_error(cutout: UInt8Array, alpha: UInt8Array, foreground: UInt8Array) -> float:
    """Pixels count by how visible they are in both: by the smaller alpha. An empty pixel of a cut-out has no color."""
    soft = (alpha > 0) & (alpha < 255)
    weight = np.minimum(cutout[..., 3], alpha)[soft].astype(np.float64)
    if not weight.any():
        return math.nan
    difference = np.abs(cutout[..., :3][soft].astype(np.int16) - foreground[soft]).mean(axis=1)
    return float((difference * weight).sum() / weight.sum())
