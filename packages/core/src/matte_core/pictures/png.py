"""PNG (W3C PNG, third edition): chunk by chunk with their checksums up to IEND, without inflating."""

from __future__ import annotations

import zlib

from matte_core.contracts.job import Limits
from matte_core.pictures.common import Header, animated, check_size, corrupt, read_orientation, take, truncated

NAME = "PNG"
#: allowed bit depths by color type (§11.2.1)
_DEPTHS = {0: (1, 2, 4, 8, 16), 2: (8, 16), 3: (1, 2, 4, 8), 4: (8, 16), 6: (8, 16)}
#: encoders cut IDAT at 8 KiB or more, so 30 MB are some 4000 chunks
MAX_CHUNKS = 50_000


def walk(data: bytes, limits: Limits) -> Header:
    """Size and orientation of a complete PNG."""
    view = memoryview(data)
    size: tuple[int, int] | None = None
    orientation, seen, position = 1, set[bytes](), 8
    for _ in range(MAX_CHUNKS):
        length, kind_number = take(data, position, ">II", NAME, "a chunk or its end chunk is missing")
        kind = kind_number.to_bytes(4, "big")
        body, end = position + 8, position + 8 + length
        if size is None:
            size = _size(kind, data, body, limits)
        if not kind.isalpha():
            raise corrupt(NAME, "a chunk has an impossible name")
        if end + 4 > len(view):
            raise truncated(NAME, f"its {kind.decode('ascii')} chunk is cut")
        if zlib.crc32(view[position + 4 : end]) != int.from_bytes(view[end : end + 4], "big"):
            raise corrupt(NAME, f"the checksum of its {kind.decode('ascii')} chunk is wrong")
        if kind == b"acTL" and length >= 4 and b"IDAT" not in seen and take(data, body, ">I", NAME, "a chunk")[0] > 1:
            raise animated("PNG (APNG)", "frame")
        if kind == b"eXIf" and kind not in seen:
            orientation = read_orientation(data[body:end], NAME)
        if kind == b"IEND":
            break
        seen.add(kind)
        position = end + 4
    else:
        raise corrupt(NAME, f"it has more than {MAX_CHUNKS} chunks")
    if b"IDAT" not in seen:
        raise corrupt(NAME, "it has no picture data")
    if data[25] == 3 and b"PLTE" not in seen:
        raise corrupt(NAME, "its palette is missing")
    return Header(*size, orientation)


def _size(kind: bytes, data: bytes, body: int, limits: Limits) -> tuple[int, int]:
    if kind != b"IHDR":
        raise corrupt(NAME, "its header chunk is missing")
    width, height, depth, color, method, filters, interlace = take(data, body, ">IIBBBBB", NAME, "its header is cut")
    check_size(NAME, width, height, limits)
    if depth not in _DEPTHS.get(color, ()) or method or filters or interlace > 1:
        raise corrupt(NAME, "its header has impossible values")
    return width, height
