"""Pixels: what a decoded picture is everywhere inside a replica."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Bytes = NDArray[np.uint8]
Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Pixels:
    """A picture as seen: sRGB, orientation applied.

    ``rgb`` is uint8 (H, W, 3); ``alpha`` is uint8 (H, W), or None where the input has no transparency.
    """

    rgb: Bytes
    alpha: Bytes | None = None

    @property
    def height(self) -> int:
        """Pixels from top to bottom."""
        return self.rgb.shape[0]

    @property
    def width(self) -> int:
        """Pixels from left to right."""
        return self.rgb.shape[1]
