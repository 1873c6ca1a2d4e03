"""How many cores this process may use."""

from __future__ import annotations

import math
import os
from pathlib import Path

#: of a container: microseconds of CPU per period, or ``max``, and the period
QUOTA = Path("/sys/fs/cgroup/cpu.max")


def usable_cores(quota: Path = QUOTA) -> int:
    """The cores that this process may run on, as far as the container's quota of CPU time reaches; at least 1."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        limit, period = quota.read_text().split()
        return max(1, min(cores, math.ceil(int(limit) / int(period))))
    except (OSError, ValueError):  # no cgroup v2, or no limit
        return cores
