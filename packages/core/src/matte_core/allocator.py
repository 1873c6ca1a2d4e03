"""glibc's allocator, tuned for processes that handle pictures.

By default glibc gives a freed block of a picture's size back to the kernel and faults it in again for the next picture,
and an arena of a thread's own gives its memory back whenever it is empty, whatever the thresholds are.
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Mapping
from types import MappingProxyType

_TRIM_THRESHOLD_BYTES = 128 << 20
_MMAP_THRESHOLD_BYTES = 32 << 20

#: environment of a program whose threads share one arena
ONE_ARENA: Mapping[str, str] = MappingProxyType({"MALLOC_ARENA_MAX": "1"})
#: environment of a program that keeps freed memory
THRESHOLDS: Mapping[str, str] = MappingProxyType(
    {"MALLOC_MMAP_THRESHOLD_": str(_MMAP_THRESHOLD_BYTES), "MALLOC_TRIM_THRESHOLD_": str(_TRIM_THRESHOLD_BYTES)}
)


def keep_freed_memory() -> bool:
    """Applies both to this process with mallopt(3); False where the C library is not glibc."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    trim_threshold, mmap_threshold, arena_max = -1, -3, -8
    options = {trim_threshold: _TRIM_THRESHOLD_BYTES, mmap_threshold: _MMAP_THRESHOLD_BYTES, arena_max: 1}
    return mallopt is not None and all(mallopt(option, value) for option, value in options.items())
