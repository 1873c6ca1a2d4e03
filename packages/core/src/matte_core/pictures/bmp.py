"""BMP (Windows and OS/2 bitmaps): headers, and whether the rows they announce are there."""

from __future__ import annotations

import struct

from matte_core.contracts.limits import Limits
from matte_core.errors import Problem
from matte_core.pictures.common import Header, check_size, corrupt, take, truncated, unsupported

NAME = "BMP"
_CORE = 12
_HEADERS = frozenset({12, 16, 40, 52, 56, 64, 108, 124})
_RAW, _RLE8, _RLE4, _BITFIELDS = 0, 1, 2, 3


def looks_like(data: bytes) -> bool:
    """Whether the bytes that begin with ``BM`` go on like a bitmap: two letters alone prove nothing."""
    return len(data) < 18 or struct.unpack_from("<I", data, 14)[0] in _HEADERS


def walk(data: bytes, limits: Limits) -> Header:
    """Size of a BMP that is whole; rows may run from the top (negative height).

    Raises:
        Problem: truncated, corrupt, unsupported (JPEG inside, odd depths), empty or too many pixels.
    """
    if not looks_like(data):
        raise Problem("not_a_picture", "The bytes begin with BM, but are no bitmap. Send a picture file.")
    offset, header = take(data, 10, "<II", NAME, "its header is cut")
    if header == _CORE:
        width, height, _, bits = take(data, 18, "<HHHH", NAME, "its header is cut")
        compression = _RAW
    else:
        width, height, _, bits = take(data, 18, "<iiHH", NAME, "its header is cut")
        compression = take(data, 30, "<I", NAME, "its header is cut")[0] if header >= 40 else _RAW
    height = abs(height)
    check_size(NAME, width, height, limits)
    _check_coding(bits, compression)
    if offset < 14 + header:
        raise corrupt(NAME, "its picture data overlaps its header")
    rows = (width * bits + 31) // 32 * 4 * height if compression in (_RAW, _BITFIELDS) else 2
    if offset + rows > len(data):
        raise truncated(NAME, f"its header promises {offset + rows} bytes, there are {len(data)}")
    return Header(width, height)


def _check_coding(bits: int, compression: int) -> None:
    fitting = {_RAW: (1, 4, 8, 16, 24, 32), _RLE8: (8,), _RLE4: (4,), _BITFIELDS: (16, 24, 32)}
    if bits not in fitting.get(compression, ()):
        raise unsupported(f"a BMP with {bits} bits per pixel and compression {compression}")
