"""GIF (GIF89a specification): blocks up to the trailer, over the compressed data without decoding it."""

from __future__ import annotations

from matte_core.contracts.limits import Limits
from matte_core.errors import Problem
from matte_core.pictures.common import Header, animated, check_size, corrupt, take, truncated

NAME = "GIF"
_EXTENSION, _IMAGE, _TRAILER = 0x21, 0x2C, 0x3B
#: encoders fill their blocks of 255 bytes; a file of tiny ones only costs time
MAX_BLOCKS = 150_000


def walk(data: bytes, limits: Limits) -> Header:
    """Size of a GIF with one frame that is whole: the canvas, grown to hold the frame as decoders do.

    Raises:
        Problem: not a picture (only the first bytes say GIF), truncated, corrupt, animated, empty, too many pixels.
    """
    width, height, flags = take(data, 6, "<HHB", NAME, "its header is cut")
    place, first, frame, blocks = 13 + _palette(flags), True, False, 0
    while True:
        (kind,) = take(data, place, "B", NAME, "its trailer is missing")
        if kind == _TRAILER and not first:
            break
        if kind == _IMAGE:
            if frame:
                raise animated(NAME, "frame")
            left, top, wide, high, flags = take(data, place + 1, "<HHHHB", NAME, "its frame header is cut")
            frame, width, height = True, max(width, left + wide), max(height, top + high)
            check_size(NAME, wide and width, high and height, limits)
            place += 11 + _palette(flags)
        elif kind == _EXTENSION:
            place += 2
        elif first:
            raise Problem("not_a_picture", "The bytes begin like a GIF, but no picture follows. Send a picture file.")
        else:
            raise corrupt(NAME, "an unknown block")
        place, blocks, first = *_skip(data, place, blocks), False
    if not frame:
        check_size(NAME, 0, 0, limits)
    return Header(width, height)


def _palette(flags: int) -> int:
    """Bytes of the color table that the flags announce."""
    return 3 << (flags & 7) + 1 if flags & 0x80 else 0


def _skip(data: bytes, place: int, blocks: int) -> tuple[int, int]:
    """The place after the sub-blocks that start at ``place``, and the number of blocks so far."""
    end = len(data)
    while place < end:
        size = data[place]
        place += 1 + size
        blocks += 1
        if blocks > MAX_BLOCKS:
            raise corrupt(NAME, f"it has more than {MAX_BLOCKS} blocks")
        if not size:
            return place, blocks
    raise truncated(NAME, "its picture data is cut")
