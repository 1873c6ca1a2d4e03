"""Intervals and quantiles: pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

CONFIDENCE = 0.99


@dataclass(frozen=True, slots=True)
class Interval:
    """A closed interval of shares, 0 to 1."""

    low: float
    high: float

    def __contains__(self, share: float) -> bool:
        return self.low <= share <= self.high


def wilson(hits: int, n: int, confidence: float = CONFIDENCE) -> Interval:
    """The Wilson score interval of a share of which ``hits`` in ``n`` independent draws were seen.

    E. B. Wilson, "Probable inference, the law of succession, and statistical inference", Journal of the American
    Statistical Association 22 (1927), 209-212. It holds its confidence near 0 and 1 too, where the normal interval
    does not (Brown, Cai and DasGupta, "Interval estimation for a binomial proportion", Statistical Science 16 (2001),
    101-133).

    Raises:
        ValueError: there was no draw, or more hits than draws.
    """
    if not 0 <= hits <= n or n == 0:
        raise ValueError(f"{hits} of {n} is no share")
    z = NormalDist().inv_cdf(0.5 + confidence / 2)
    share, scale = hits / n, 1 + z * z / n
    center = (share + z * z / (2 * n)) / scale
    half = z / scale * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    # at the ends the bound is the end itself; rounding must not move it
    return Interval(0.0 if hits == 0 else center - half, 1.0 if hits == n else center + half)


def quantile(ordered: Sequence[float], q: float) -> float | None:
    """The nearest-rank quantile of values in rising order; None where there are none."""
    return ordered[max(0, math.ceil(q * len(ordered)) - 1)] if ordered else None
