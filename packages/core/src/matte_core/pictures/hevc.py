"""HEVC (ISO/IEC 23008-2) in a HEIC: how large a picture its own headers ask a decoder for."""

from __future__ import annotations

from collections.abc import Iterator

from matte_core.pictures.bits import Bits

_SPS, _LAST_SLICE = 33, 31
#: a sequence parameter set's size stands within its first bytes, however many layers it describes
_SPS_BYTES = 256


def configured(config: bytes) -> Iterator[tuple[int, int]]:
    """(width, height) of each sequence parameter set in an ``hvcC`` box's body (ISO/IEC 14496-15 §8.3.2.1)."""
    place = 23
    for _ in range(config[22]):
        count = int.from_bytes(config[place + 1 : place + 3], "big")
        place += 3
        for _ in range(count):
            length = int.from_bytes(config[place : place + 2], "big")
            yield from _size(config[place + 2 : place + 2 + length])
            place += 2 + length


def units(config: bytes, data: memoryview) -> Iterator[bytes]:
    """The beginning of each NAL unit in an item's data, which follow one another with their lengths before them."""
    prefix, place = (config[21] & 3) + 1, 0
    while place + prefix < len(data):
        length = int.from_bytes(data[place : place + prefix], "big")
        place += prefix
        yield bytes(data[place : place + min(length, _SPS_BYTES)])
        place += length


def sizes(unit: bytes) -> Iterator[tuple[int, int]]:
    """(width, height), if the unit is a sequence parameter set: a decoder takes those among the data, too."""
    yield from _size(unit)


def begins_picture(unit: bytes) -> bool:
    """Whether a unit is the first slice of a picture (§7.3.6.1)."""
    return len(unit) > 2 and unit[0] >> 1 & 63 <= _LAST_SLICE and bool(unit[2] & 0x80)


def _size(unit: bytes) -> Iterator[tuple[int, int]]:
    """Luma samples of the coded picture (§7.3.2.2.1), of the base layer only: decoders drop the others."""
    if len(unit) < 3 or unit[0] >> 1 & 63 != _SPS or (unit[0] & 1) << 5 | unit[1] >> 3:
        return
    bits = Bits(unit[2:_SPS_BYTES].replace(b"\0\0\3", b"\0\0"))
    bits.read(4)
    layers = bits.read(3)
    bits.read(1 + 96)
    present = [(bits.read(1), bits.read(1)) for _ in range(layers)]
    if layers:
        bits.read(2 * (8 - layers))
    for profile, level in present:
        bits.read(88 * profile + 8 * level)
    bits.golomb()
    if bits.golomb() == 3:  # 4:4:4 says whether its planes are coded apart
        bits.read(1)
    yield bits.golomb(), bits.golomb()
