"""Exponential backoff."""


def exponential_backoff(attempt: int, base: float, cap: float) -> float:
    """Seconds to wait after the ``attempt``-th failure in a row (from 1): ``base``, doubled each time up to ``cap``."""
    return min(cap, base * 2.0 ** min(attempt - 1, 64))
