"""Bounds that a verdict rests on: exact enough for small samples, and the same every time.

No draws: a bootstrap would say something else after a restart.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from matte_core.domain.statistics import Bounds


def increase(new: Bounds, old: Bounds) -> Bounds:
    """The difference of two independent shares: Newcombe's hybrid score bounds.

    Source: R. G. Newcombe, Statistics in Medicine 17 (1998), pages 873-890, method 10.
    """
    difference = new.estimate - old.estimate
    below = math.hypot(new.estimate - new.lower, old.upper - old.estimate)
    above = math.hypot(new.upper - new.estimate, old.estimate - old.lower)
    return Bounds(difference, difference - below, difference + above)


def percentile(samples: Sequence[float], q: float, confidence: float) -> Bounds:
    """A percentile's one-sided bounds by order statistics, whatever the distribution; ``ValueError`` without samples.

    Source: Hahn and Meeker, Statistical Intervals (1991), section 5.2. The upper bound is infinite where there are
    too few samples for one, the lower bound then is 0.
    """
    if not samples:
        raise ValueError("no samples")
    ordered = sorted(samples)
    n = len(ordered)
    lower, upper, below = 0.0, math.inf, 0.0
    for rank, sample in enumerate(ordered, start=1):
        below += _binomial(n, rank - 1, q)  # P(fewer than `rank` samples lie below the percentile)
        if below <= 1 - confidence:
            lower = sample
        if below >= confidence:
            upper = sample
            break
    return Bounds(ordered[min(n - 1, math.ceil(q * n) - 1)], lower, upper)


def _binomial(n: int, k: int, p: float) -> float:
    log = math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)
    return math.exp(log + k * math.log(p) + (n - k) * math.log1p(-p))
