"""The pictures that are sent, and one that is made where none is given."""

from __future__ import annotations

import math
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path

from matte_cli.cut import media_type, read_picture


@dataclass(frozen=True, slots=True)
class Body:
    """The bytes of a picture, as they are sent."""

    data: bytes
    media_type: str


def load(paths: list[Path], max_bytes: int) -> tuple[Body, ...]:
    """The files; without any, a picture of our own.

    Raises:
        OSError: one cannot be read.
        Problem: payload_too_large.
    """
    return tuple(Body(read_picture(path, max_bytes), media_type(path)) for path in paths) or (
        Body(disc(), "image/png"),
    )


def disc(side: int = 256) -> bytes:
    """A PNG (RGB, 8 bits, as https://www.w3.org/TR/png-3/ says): an orange disc before a gray gradient."""
    rows = b"".join(b"\0" + _row(y, side) for y in range(side))
    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", header) + _chunk(b"IDAT", zlib.compress(rows)) + _chunk(b"IEND", b"")


def _row(y: int, side: int) -> bytes:
    gray = bytes([60 + 120 * y // side]) * 3
    half = 0.09 * side * side - (y - side / 2) ** 2
    if half <= 0:
        return gray * side
    inside = round(math.sqrt(half))
    edge = gray * (side // 2 - inside)
    return edge + bytes((230, 120, 30)) * (side - 2 * (side // 2 - inside)) + edge


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
