"""Memory for pictures, kept between them."""

from __future__ import annotations

import ctypes
import sys

#: glibc's mallopt(3): M_TRIM_THRESHOLD and M_MMAP_THRESHOLD in bytes; M_ARENA_MAX, for an arena of a thread's own gives
#: its memory back whenever it is empty, whatever the thresholds
_OPTIONS = {-1: 128 << 20, -3: 32 << 20, -8: 1}


def keep_memory() -> bool:
    """Tells glibc to keep freed blocks of a picture's size: it would give each back and fault it in again.

    Returns:
        Whether it was done; other C libraries are left alone.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    return mallopt is not None and all(mallopt(option, size) for option, size in _OPTIONS.items())
