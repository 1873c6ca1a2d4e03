"""What recent jobs cost, by version: written when a job ends, read with the catalog."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache

from matte_core.domain.eta import Cost, fit

#: jobs of about one size whose seconds are kept: they follow the load within a few
SAMPLES_KEPT = 12


def samples_key(prefix: str, model: str, version: str) -> str:
    """The hash of a version's samples: 'megapixels:seconds …' by size."""
    return f"{prefix}samples:{model}@{version}"


def cost_of(held: Mapping[bytes, bytes]) -> Cost | None:
    """What a version's jobs cost; None before the first one."""
    return _fitted(tuple(sorted(held.values())))


@lru_cache(maxsize=256)  # most versions' samples are the same as a second ago
def _fitted(sizes: tuple[bytes, ...]) -> Cost | None:
    return fit(_sample(text) for size in sizes for text in size.split())


def _sample(text: bytes) -> tuple[float, float]:
    megapixels, _, seconds = text.partition(b":")
    return float(megapixels), float(seconds)
