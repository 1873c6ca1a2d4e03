"""Sizes: antialiased down, smooth up; and what a network wants to see."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import cv2
import numpy as np

from matte_inference.pixels.types import Bytes, Floats

Array = TypeVar("Array", Bytes, Floats)
#: of ImageNet's pictures, per channel, of 0 … 1
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def resized(array: Array, height: int, width: int) -> Array:
    """``array`` (H, W[, C]) at another size: area mean when it shrinks, linear when it grows."""
    if array.shape[:2] == (height, width):
        return array
    shrinks = height * width < array.shape[0] * array.shape[1]
    out: Array = cv2.resize(array, (width, height), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)
    return out


def fitted(height: int, width: int, *, side: int) -> tuple[int, int]:
    """(height, width) scaled down so that the longer is at most ``side`` pixels; never up, never below 1."""
    scale = min(1.0, side / max(height, width))
    return max(1, round(height * scale)), max(1, round(width * scale))


def boxed(height: int, width: int, box: tuple[int, int]) -> tuple[int, int]:
    """(height, width) scaled, up or down, to the largest that ``box`` (height, width) holds."""
    scale = min(box[0] / height, box[1] / width)
    return max(1, round(height * scale)), max(1, round(width * scale))


def letterboxed(rgb: Bytes, height: int, width: int) -> Bytes:
    """``rgb`` (H, W, 3) scaled into the top left of (height, width) with its aspect kept; the rest is black."""
    inner = boxed(rgb.shape[0], rgb.shape[1], (height, width))
    out = np.zeros((height, width, 3), np.uint8)
    out[: inner[0], : inner[1]] = resized(rgb, *inner)
    return out


def normalized(rgb: Bytes, mean: Sequence[float], std: Sequence[float]) -> Floats:
    """uint8 (H, W, 3) to float32 (3, H, W): (value / 255 - mean) / std per channel."""
    scale = (1 / (255 * np.asarray(std))).astype(np.float32)
    shift = (-np.asarray(mean) / np.asarray(std)).astype(np.float32)
    return np.ascontiguousarray((rgb * scale + shift).transpose(2, 0, 1))
