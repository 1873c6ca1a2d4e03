"""What tells a subject from its surroundings by colors and edges alone."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from matte_inference.pixels.arrays import Float32Array, UInt8Array

_SEED = 7
#: the largest share of pixels that equal their left neighbors in a photograph, at working size
_MAX_EQUAL_PIXELS = 0.5
_DITHER = 2
_SWEEPS = 3


def cut_graph(rgb: UInt8Array, mask: UInt8Array, rounds: int) -> UInt8Array:
    """GrabCut from ``mask``, uint8 (H, W) of OpenCV's four kinds, of which both subject and background are there: the
    subject, uint8 (H, W) of 0 and 1. The same picture and mask give the same answer.
    """
    cv2.setRNGSeed(_SEED)  # this thread's
    bgr = cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR)
    # a drawing gets faint noise: where many pixels are exactly alike, all cuts between them cost the same, and the
    # search for the least takes up to a hundred times as long
    if (bgr[:, 1:] == bgr[:, :-1]).all(-1).mean() > _MAX_EQUAL_PIXELS:
        noise = np.random.default_rng(_SEED).integers(-_DITHER, _DITHER + 1, bgr.shape, np.int16)
        bgr = np.clip(bgr + noise, 0, 255).astype(np.uint8)
    mask = mask.copy()
    cv2.grabCut(bgr, mask, None, np.zeros((1, 65)), np.zeros((1, 65)), rounds, cv2.GC_INIT_WITH_MASK)
    return (mask & 1).astype(np.uint8)  # both kinds of subject are odd


def barrier_distance(lab: Float32Array, seeds: NDArray[np.bool_]) -> Float32Array:
    """The minimum barrier distance of every pixel to the seeds, float32 (H, W), not scaled.

    The barrier of a path is the range of values on it, summed over the channels: a subject that edges close off is
    far from the border although its colors vary. Source: J. Zhang et al., "Minimum Barrier Salient Object
    Detection at 80 FPS", ICCV 2015; here every step of a sweep moves a whole row or column.
    """
    height, width = seeds.shape
    distance = np.where(seeds, 0, np.inf).astype(np.float32)
    high, low = lab.copy(), lab.copy()
    upright = _Paths(lab, distance, high, low)
    turned = _Paths(*(array.swapaxes(0, 1) for array in (lab, distance, high, low)))  # views
    for _ in range(_SWEEPS):
        upright.sweep(range(1, height), -1)
        upright.sweep(range(height - 2, -1, -1), 1)
        turned.sweep(range(1, width), -1)
        turned.sweep(range(width - 2, -1, -1), 1)
    return distance


@dataclass(frozen=True, slots=True)
class _Paths:
    """Per pixel: its color, the barrier of the best path so far, and the extremes on that path."""

    lab: Float32Array
    distance: Float32Array
    high: Float32Array
    low: Float32Array

    def sweep(self, lines: Iterable[int], step: int) -> None:
        """Extends the paths of the line ``step`` further to every line in turn."""
        for line in lines:
            high = np.maximum(self.high[line + step], self.lab[line])
            low = np.minimum(self.low[line + step], self.lab[line])
            barrier = np.where(np.isfinite(self.distance[line + step]), (high - low).sum(-1), np.inf)
            better = barrier < self.distance[line]
            self.distance[line] = np.where(better, barrier, self.distance[line])
            self.high[line] = np.where(better[:, None], high, self.high[line])
            self.low[line] = np.where(better[:, None], low, self.low[line])
