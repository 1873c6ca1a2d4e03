"""How sure a mask is of itself, and whether it shows a subject: from the alpha alone, whatever family made it."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from matte_core.contracts.job import Foreground

from matte_inference.analysis.masks import MIN_SHARE, THRESHOLD, Coverage, coverage_by_share, sample
from matte_inference.pixels.arrays import UInt8Array
from matte_inference.pixels.compose import EMPTY

_LEVELS = np.arange(256)
_ALPHA = np.where(_LEVELS > EMPTY, _LEVELS / 255, 0)
#: by level of alpha: what is expected to be wrong; nothing where a pixel is clearly in or out
_EXPECTED_ERROR = np.where(_LEVELS < 255 - EMPTY, 2 * _ALPHA * (1 - _ALPHA), 0)
#: by level of alpha: the expected union of mask and truth
_EXPECTED_UNION = _ALPHA * (2 - _ALPHA)
#: of :func:`calibrate`: the gray share at which half of a mask is expected to be wrong, and the steepness there
_MIDPOINT, _STEEPNESS = 0.14, 1.48


@dataclass(frozen=True, slots=True)
class Assessment:
    """``uncertainty`` is the expected error of the mask, 0 … 1."""

    uncertainty: float
    coverage: Coverage

    @property
    def foreground(self) -> Foreground:
        return "none" if self.coverage is Coverage.EMPTY else "found"


def assess(alpha: UInt8Array) -> Assessment:
    """Judges an alpha, uint8 (H, W), by an even sample of its pixels: 1 ms for 12 megapixels. ValueError if it has no
    pixels.
    """
    if alpha.size == 0:
        raise ValueError("a mask without pixels")
    counts = cv2.calcHist([sample(alpha)], [0], None, [256], [0, 256]).ravel()
    shares = counts / counts.sum(dtype=np.float64)
    return Assessment(calibrate(gray_share(shares)), coverage_by_share(float(shares[THRESHOLD:].sum())))


def gray_share(shares: np.typing.NDArray[np.float64]) -> float:
    """How much of the alpha is neither clearly in nor out, in relation to the subject; ``shares`` by level of alpha.

    Were alpha a probability, a pixel would be expected to differ from its true 0 or 1 by 2a(1 - a), and the union of
    mask and truth to be a(2 - a) there. The ratio of the sums is the expected Jaccard distance of mask and truth. It
    depends on neither the size of the picture nor that of the subject; below the least that counts as a subject, the
    latter does not shrink any further, so that a few gray pixels in an empty mask are no doubt.
    """
    return float(shares @ _EXPECTED_ERROR) / max(float(shares @ _EXPECTED_UNION), MIN_SHARE)


def calibrate(share: float) -> float:
    """The measured error of masks with such a :func:`gray_share`: the fit of ``bench/uncertainty.py``."""
    odds: float = (share / _MIDPOINT) ** _STEEPNESS
    return odds / (1 + odds)
