"""Pixels: what a decoded picture is everywhere inside a replica."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from matte_core.contracts.options import Hint
from numpy.typing import NDArray

Bytes = NDArray[np.uint8]
Floats = NDArray[np.float32]


def floats(array: Bytes) -> Floats:
    """0 … 255 as 0 … 1."""
    return np.multiply(array, np.float32(1 / 255), dtype=np.float32)


def bytes_of(array: Floats) -> Bytes:
    """0 … 1 as 0 … 255, rounded; what lies outside is cut."""
    return np.rint(np.clip(array, 0, 1) * 255).astype(np.uint8)


@dataclass(frozen=True, slots=True)
class Pixels:
    """A picture as seen: sRGB, orientation applied.

    ``rgb`` is uint8 (H, W, 3); ``alpha`` is uint8 (H, W), or None where the input has no transparency; ``hints`` say
    where the subject is, as far as the caller did.
    """

    rgb: Bytes
    alpha: Bytes | None = None
    hints: tuple[Hint, ...] = ()

    @property
    def height(self) -> int:
        """Pixels from top to bottom."""
        return int(self.rgb.shape[0])

    @property
    def width(self) -> int:
        """Pixels from left to right."""
        return int(self.rgb.shape[1])
