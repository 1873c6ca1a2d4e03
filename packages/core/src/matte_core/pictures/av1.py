"""AV1 (AV1 Bitstream & Decoding Process Specification) in an AVIF: how large a picture it asks a decoder for."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from matte_core.pictures.bits import Bits

_SEQUENCE_HEADER, _FRAME_HEADER, _FRAME, _REDUNDANT = 1, 3, 6, 7
#: a sequence header of 32 operating points, each with all that may be said of it, has fewer
_HEADER_BYTES = 1024


class Unit(NamedTuple):
    """An open bitstream unit: its type (§6.2.2) and the beginning of its payload."""

    kind: int
    payload: bytes


def units(data: memoryview) -> Iterator[Unit]:
    """The units of an item's data (§5.3)."""
    place = 0
    while place < len(data):
        head = data[place]
        place += 2 if head & 4 else 1
        length = len(data) - place
        if head & 2:
            length, place = _leb128(data, place)
        yield Unit(head >> 3 & 15, bytes(data[place : place + min(length, _HEADER_BYTES)]))
        place += length


def _leb128(data: memoryview, place: int) -> tuple[int, int]:
    """A number of at most eight bytes, seven bits in each, and the place after it (§4.10.5)."""
    value = 0
    for index in range(8):
        value |= (data[place + index] & 127) << 7 * index
        if data[place + index] < 128:
            break
    return value, place + index + 1


def begins_picture(unit: Unit) -> bool:
    """Whether a unit holds a frame's header."""
    return unit.kind in (_FRAME_HEADER, _FRAME)


def sizes(unit: Unit) -> Iterator[tuple[int, int]]:
    """(width, height) of the largest frame, if the unit is a sequence header (§5.5.1)."""
    if unit.kind != _SEQUENCE_HEADER:
        return
    bits = Bits(unit.payload)
    bits.read(3 + 1)
    if bits.read(1):
        bits.read(5)
    else:
        _skip_operating_points(bits)
    wide, high = bits.read(4) + 1, bits.read(4) + 1
    yield bits.read(wide) + 1, bits.read(high) + 1


def _skip_operating_points(bits: Bits) -> None:
    delay = 0
    if bits.read(1):
        bits.read(64)
        if bits.read(1):
            bits.golomb()
        if bits.read(1):
            delay = bits.read(5) + 1
            bits.read(42)
    shown = bits.read(1)
    for _ in range(bits.read(5) + 1):
        bits.read(12)
        if bits.read(5) > 7:
            bits.read(1)
        if delay and bits.read(1):
            bits.read(2 * delay + 1)
        if shown and bits.read(1):
            bits.read(4)
