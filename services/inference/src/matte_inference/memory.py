"""How much memory a replica may hold, and how much this process does."""

from __future__ import annotations

import os
from pathlib import Path

#: the share of this machine's memory that all replicas together may hold; Redis, Ray and the frontends need the rest
REPLICAS_SHARE = 0.7
#: a replica with torch and one model holds about as much (bytes)
MIN_BYTES = 2_000_000_000


def default_bound(replicas: int) -> int:
    """Bytes that each of ``replicas`` may hold on this machine."""
    machine = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return max(MIN_BYTES, int(machine * REPLICAS_SHARE / replicas))


def exceeds_bound(resident: int, *, initial: int, bound: int) -> bool:
    """Whether a replica leaks: it holds more than ``bound`` bytes (0: unbounded) and than its model needs, which is
    about what it held when the model was warm (``initial``).
    """
    return 0 < bound < resident and resident > 1.5 * initial


def resident_bytes() -> int:
    """Memory that this process holds, shared libraries included; 0 on a system without ``/proc``."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return 0
