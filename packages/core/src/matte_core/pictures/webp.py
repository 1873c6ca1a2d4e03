"""WebP (RFC 9649): the RIFF chunks and the header of the bitstream."""

from __future__ import annotations

from matte_core.contracts.job import Limits
from matte_core.pictures.common import Header, animated, check_size, corrupt, read_orientation, take, truncated

NAME = "WebP"
#: a still picture has at most seven kinds of chunk; unknown ones are allowed beside them
MAX_CHUNKS = 10_000


def walk(data: bytes, limits: Limits) -> Header:
    """Size and orientation of a complete WebP."""
    (size,) = take(data, 4, "<I", NAME, "its header is cut")
    canvas: tuple[int, int] | None = None
    picture: tuple[int, int] | None = None
    orientation, frames = 0, 0
    position, end = 12, min(len(data), 8 + size)
    for _ in range(MAX_CHUNKS):
        if position + 8 > end:
            break
        kind, (length,) = data[position : position + 4], take(data, position + 4, "<I", NAME, "a chunk is cut")
        body = position + 8
        if kind == b"VP8X" and canvas is None:
            canvas = _canvas_size(data, body, length)
            check_size(NAME, *canvas, limits)
        elif kind in (b"VP8 ", b"VP8L") and picture is None:
            picture = _lossy_size(data, body, length) if kind == b"VP8 " else _lossless_size(data, body, length)
            check_size(NAME, *picture, limits)
        elif kind == b"ANMF":
            frames += 1
            if frames > 1:
                raise animated(NAME, "frame")
        elif kind == b"EXIF" and not orientation:
            orientation = read_orientation(data[body : body + length], NAME)
        if body + length > len(data):
            raise truncated(NAME, "a chunk is cut")
        position = body + length + (length & 1)
    else:
        raise corrupt(NAME, f"it has more than {MAX_CHUNKS} chunks")
    if 8 + size > len(data):
        raise truncated(NAME, f"its header promises {8 + size} bytes, there are {len(data)}")
    if canvas and picture and canvas != picture:
        raise corrupt(NAME, f"its canvas is {canvas[0]} × {canvas[1]} and its picture {picture[0]} × {picture[1]}")
    final = picture or (canvas if frames else None)
    if final is None:
        raise corrupt(NAME, "it has no picture data")
    return Header(*final, orientation or 1)


def _canvas_size(data: bytes, body: int, length: int) -> tuple[int, int]:
    """In a VP8X chunk (RFC 9649 §2.7)."""
    if length < 10:
        raise corrupt(NAME, "its header is too short")
    take(data, body, "<10B", NAME, "its header is cut")
    width = int.from_bytes(data[body + 4 : body + 7], "little") + 1
    return width, int.from_bytes(data[body + 7 : body + 10], "little") + 1


def _lossy_size(data: bytes, body: int, length: int) -> tuple[int, int]:
    """In a VP8 frame header (RFC 6386 §9.1)."""
    low, high, width, height = take(data, body, "<HB3xHH", NAME, "its picture data is cut")
    tag = low | high << 16
    if length < 10 or tag & 1 or data[body + 3 : body + 6] != b"\x9d\x01\x2a" or tag >> 5 > length - 10:
        raise corrupt(NAME, "its picture data does not begin with a key frame")
    return width & 0x3FFF, height & 0x3FFF


def _lossless_size(data: bytes, body: int, length: int) -> tuple[int, int]:
    """In a VP8L header (RFC 9649 §3.4)."""
    signature, bits = take(data, body, "<BI", NAME, "its picture data is cut")
    if length < 5 or signature != 0x2F or bits >> 29:
        raise corrupt(NAME, "its picture data has a wrong signature")
    return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
