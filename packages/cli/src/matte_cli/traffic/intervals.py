"""Intervals and quantiles: pure."""

from __future__ import annotations

import math
from collections.abc import Sequence

CONFIDENCE = 0.99


def quantile(ordered: Sequence[float], q: float) -> float | None:
    """The nearest-rank quantile of values in rising order; None where there are none."""
    return ordered[max(0, math.ceil(q * len(ordered)) - 1)] if ordered else None
