"""BMP (Windows and OS/2): headers, and whether all rows are present."""

from __future__ import annotations

import struct

from matte_core.contracts.job import Limits
from matte_core.errors import Problem
from matte_core.pictures.common import Header, check_size, corrupt, take, truncated, unsupported

NAME = "BMP"
_CORE_HEADER = 12
_HEADER_SIZES = frozenset({12, 16, 40, 52, 56, 64, 108, 124})
_RAW, _RLE8, _RLE4, _BITFIELDS = 0, 1, 2, 3
_DEPTHS = {_RAW: (1, 4, 8, 16, 24, 32), _RLE8: (8,), _RLE4: (4,), _BITFIELDS: (16, 24, 32)}


def walk(data: bytes, limits: Limits) -> Header:
    """Size of a complete BMP; a negative height means that rows run from the top."""
    # two letters alone prove nothing
    if len(data) >= 18 and struct.unpack_from("<I", data, 14)[0] not in _HEADER_SIZES:
        raise Problem("not_a_picture", "The bytes begin with BM, but are no bitmap. Send a picture file.")
    offset, header = take(data, 10, "<II", NAME, "its header is cut")
    compression = _RAW
    layout = "<HHHH" if header == _CORE_HEADER else "<iiHH"
    width, height, _, bits = take(data, 18, layout, NAME, "its header is cut")
    if header >= 40:
        (compression,) = take(data, 30, "<I", NAME, "its header is cut")
    height = abs(height)
    check_size(NAME, width, height, limits)
    if bits not in _DEPTHS.get(compression, ()):
        raise unsupported(f"a BMP with {bits} bits per pixel and compression {compression}")
    if offset < 14 + header:
        raise corrupt(NAME, "its picture data overlaps its header")
    rows = (width * bits + 31) // 32 * 4 * height if compression in (_RAW, _BITFIELDS) else 2
    if offset + rows > len(data):
        raise truncated(NAME, f"its header promises {offset + rows} bytes, there are {len(data)}")
    return Header(width, height)
