"""How much memory a replica may hold, and how much this one does."""

from __future__ import annotations

import os
from pathlib import Path

#: of this machine's memory, what all replicas together may take; the rest is for Redis, Ray, frontends and others
SHARE = 0.7
#: a replica with torch and one model takes about as much (bytes)
LEAST_BYTES = 2_000_000_000


def default_bound(replicas: int) -> int:
    """Bytes that each of ``replicas`` may hold on this machine: more is a leak."""
    machine = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return max(LEAST_BYTES, int(machine * SHARE / replicas))


def outgrown(held: int, *, at_start: int, most: int) -> bool:
    """Whether a replica leaks: it holds more than ``most`` bytes (0: no bound) and than its model needs.

    Args:
        held: what it holds now.
        at_start: what it held when its model was loaded and warm. A model that is larger than the bound is no leak.
        most: the bound.
    """
    return 0 < most < held and held > 1.5 * at_start


def held_bytes() -> int:
    """Memory that this process holds, shared libraries included; 0 on a system without ``/proc``."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return 0
