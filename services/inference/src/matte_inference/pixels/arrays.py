"""Pictures as arrays, and the conversions and sizes that all stages share."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, TypeVar

import cv2
import numpy as np
from matte_core.contracts.options import Hint
from numpy.typing import NDArray
from PIL import Image

UInt8Array = NDArray[np.uint8]
Float32Array = NDArray[np.float32]
Array = TypeVar("Array", UInt8Array, Float32Array)
Filter = Literal["area", "lanczos"]
#: per channel, of ImageNet's pictures in 0 … 1
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@dataclass(frozen=True, slots=True)
class Pixels:
    """A decoded picture: sRGB, orientation applied."""

    rgb: UInt8Array  # (H, W, 3)
    alpha: UInt8Array | None = None  # (H, W); None if the input has no transparency
    hints: tuple[Hint, ...] = ()  # where the subject is, as far as the caller said

    @property
    def height(self) -> int:
        return int(self.rgb.shape[0])

    @property
    def width(self) -> int:
        return int(self.rgb.shape[1])


def to_float32(array: UInt8Array) -> Float32Array:
    """0 … 255 to 0 … 1."""
    return np.multiply(array, np.float32(1 / 255), dtype=np.float32)


def to_uint8(array: Float32Array) -> UInt8Array:
    """0 … 1 to 0 … 255, rounded; values outside are clipped."""
    return np.rint(np.clip(array, 0, 1) * 255).astype(np.uint8)


def resize(array: Array, height: int, width: int) -> Array:
    """``array`` (H, W[, C]) at another size: area mean when it shrinks, linear when it grows."""
    if array.shape[:2] == (height, width):
        return array
    shrinks = height * width < array.shape[0] * array.shape[1]
    out: Array = cv2.resize(array, (width, height), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)
    return out


def resize_picture(array: UInt8Array, height: int, width: int, filter_: Filter = "area") -> UInt8Array:
    """A picture (H, W, 3) or a mask (H, W) at another size. ``lanczos`` is Pillow's: OpenCV's does not antialias."""
    if filter_ == "area" or array.shape[:2] == (height, width):
        return resize(array, height, width)
    return np.asarray(Image.fromarray(array).resize((width, height), Image.Resampling.LANCZOS))


def fit_within(height: int, width: int, *, side: int) -> tuple[int, int]:
    """(height, width) scaled down so that the longer is at most ``side`` pixels; never up, never below 1."""
    scale = min(1.0, side / max(height, width))
    return max(1, round(height * scale)), max(1, round(width * scale))


def fit_box(height: int, width: int, box: tuple[int, int]) -> tuple[int, int]:
    """(height, width) scaled, up or down, to the largest size that fits in ``box`` (height, width)."""
    scale = min(box[0] / height, box[1] / width)
    return max(1, round(height * scale)), max(1, round(width * scale))


def letterbox(rgb: UInt8Array, height: int, width: int, filter_: Filter = "area") -> UInt8Array:
    """``rgb`` (H, W, 3) scaled into the top left of (height, width) with its aspect kept; the rest is black."""
    inner = fit_box(rgb.shape[0], rgb.shape[1], (height, width))
    out = np.zeros((height, width, 3), np.uint8)
    out[: inner[0], : inner[1]] = resize_picture(rgb, *inner, filter_)
    return out


def normalize(rgb: UInt8Array, mean: Sequence[float], std: Sequence[float], white: int = 255) -> Float32Array:
    """uint8 (H, W, 3) to float32 (3, H, W): (value / white - mean) / std per channel."""
    scale = (1 / (white * np.asarray(std))).astype(np.float32)
    shift = (-np.asarray(mean) / np.asarray(std)).astype(np.float32)
    return np.ascontiguousarray((rgb * scale + shift).transpose(2, 0, 1))


@dataclass(frozen=True, slots=True)
class Tile:
    """A part of a picture of the size ``whole`` (H, W)."""

    part: tuple[slice, slice]
    whole: tuple[int, int]

    def enlarge(self, array: Float32Array) -> Float32Array:
        """This part of an array of any size (h, w[, C]), C ≤ 4, scaled linearly to (H, W)."""
        if array.shape[:2] == self.whole:
            return array[self.part]
        rows, columns = self.part
        y, x = array.shape[0] / self.whole[0], array.shape[1] / self.whole[1]
        shift = np.array(((x, 0, (columns.start + 0.5) * x - 0.5), (0, y, (rows.start + 0.5) * y - 0.5)))
        size = (columns.stop - columns.start, rows.stop - rows.start)
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        out: Float32Array = cv2.warpAffine(array, shift, size, flags=flags, borderMode=cv2.BORDER_REPLICATE)
        return out


def tiles(height: int, width: int, *, side: int) -> Iterator[Tile]:
    """A picture (height, width) in squares of ``side``, smaller ones at its right and bottom."""
    for top in range(0, height, side):
        for left in range(0, width, side):
            part = slice(top, min(top + side, height)), slice(left, min(left + side, width))
            yield Tile(part, (height, width))
