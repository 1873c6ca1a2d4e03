"""Confidence bounds of a proportion."""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist


@dataclass(frozen=True, slots=True)
class Bounds:
    """An estimate with its lower and upper confidence bound; ``x in bounds`` where x lies between them."""

    estimate: float
    lower: float
    upper: float

    def __contains__(self, value: float) -> bool:
        return self.lower <= value <= self.upper


def wilson_bounds(hits: int, total: int, confidence: float) -> Bounds:
    """Wilson score bounds of a proportion, each of which holds with ``confidence`` (one-sided).

    E. B. Wilson, "Probable inference, the law of succession, and statistical inference", Journal of the American
    Statistical Association 22 (1927), 209-212. They hold for small samples and near 0 and 1 too, where the normal
    approximation does not (Brown, Cai and DasGupta, Statistical Science 16 (2001), 101-133).
    """
    if not 0 <= hits <= total or total == 0:
        raise ValueError(f"{hits} of {total} is no share")
    z = NormalDist().inv_cdf(confidence)
    share, scale = hits / total, 1 + z * z / total
    center = (share + z * z / (2 * total)) / scale
    half = z / scale * math.sqrt(share * (1 - share) / total + z * z / (4 * total * total))
    # exact at the ends: rounding must not exclude 0 or 1 themselves
    return Bounds(share, 0.0 if hits == 0 else center - half, 1.0 if hits == total else center + half)


def wilson_interval(hits: int, total: int, confidence: float) -> Bounds:
    """The two-sided interval that contains the proportion with ``confidence``; otherwise as :func:`wilson_bounds`."""
    return wilson_bounds(hits, total, 0.5 + confidence / 2)
