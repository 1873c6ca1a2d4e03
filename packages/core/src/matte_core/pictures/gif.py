"""GIF (GIF89a specification): blocks up to the trailer, without decompressing."""

from __future__ import annotations

from matte_core.contracts.job import Limits
from matte_core.errors import Problem
from matte_core.pictures.common import Header, animated, check_size, corrupt, take, truncated

NAME = "GIF"
_EXTENSION, _IMAGE, _TRAILER = 0x21, 0x2C, 0x3B
#: encoders fill their blocks of 255 bytes; a file of tiny blocks only costs time
MAX_BLOCKS = 150_000


def walk(data: bytes, limits: Limits) -> Header:
    """Size of a complete GIF with one frame: the canvas, enlarged to hold the frame as decoders do."""
    width, height, flags = take(data, 6, "<HHB", NAME, "its header is cut")
    position = start = 13 + _color_table_bytes(flags)
    has_frame, blocks = False, 0
    while True:
        (kind,) = take(data, position, "B", NAME, "its trailer is missing")
        if kind == _TRAILER and position > start:
            break
        if kind == _IMAGE:
            if has_frame:
                raise animated(NAME, "frame")
            left, top, wide, high, flags = take(data, position + 1, "<HHHHB", NAME, "its frame header is cut")
            has_frame, width, height = True, max(width, left + wide), max(height, top + high)
            check_size(NAME, wide and width, high and height, limits)
            position += 11 + _color_table_bytes(flags)
        elif kind == _EXTENSION:
            position += 2
        elif position == start:
            raise Problem("not_a_picture", "The bytes begin like a GIF, but no picture follows. Send a picture file.")
        else:
            raise corrupt(NAME, "an unknown block")
        # sub-blocks, the last of which is empty
        size = -1
        while size:
            if position >= len(data):
                raise truncated(NAME, "its picture data is cut")
            size = data[position]
            position += 1 + size
            blocks += 1
            if blocks > MAX_BLOCKS:
                raise corrupt(NAME, f"it has more than {MAX_BLOCKS} blocks")
    if not has_frame:
        check_size(NAME, 0, 0, limits)
    return Header(width, height)


def _color_table_bytes(flags: int) -> int:
    return 3 << (flags & 7) + 1 if flags & 0x80 else 0
