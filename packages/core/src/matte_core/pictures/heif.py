"""HEIC and AVIF (ISO/IEC 23008-12, AV1 Image File Format): one picture or a grid of tiles, coded as a video's frame.

A decoder allocates by what the codec's own header says, not by the size that the file says beside it, so both are read.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import NamedTuple

from matte_core.contracts.limits import Limits
from matte_core.pictures import av1, exif, hevc
from matte_core.pictures.common import MEND, Header, animated, check_size, corrupt, unsupported
from matte_core.pictures.isobmff import Item, Pictures, Property, Reader
from matte_core.pictures.sniff import AVIF, HEIC

#: units of a bitstream in one file: a photograph has one or two for each of its tiles
MAX_UNITS = 10_000
#: an AVIF may become clearer in layers; each is a picture to decode
MAX_LAYERS = 8
#: HEVC codes whole blocks, of which the last may be larger than what is shown
_BLOCK = 64
_CODECS = {b"hvc1": HEIC, b"hev1": HEIC, b"av01": AVIF}
#: EXIF's orientation by the anti-clockwise quarter turns, and what is mirrored afterwards: nothing, top and bottom, or
#: left and right
_ORIENTATIONS = ((1, 4, 2), (8, 5, 7), (3, 2, 4), (6, 7, 5))


class _Size(NamedTuple):
    width: int
    height: int


def walk_avif(data: bytes, limits: Limits) -> Header:
    """Size and orientation of an AVIF that is whole; raises as :func:`_walk`."""
    return _walk(data, limits, AVIF)


def walk_heic(data: bytes, limits: Limits) -> Header:
    """Size and orientation of a HEIC that is whole; raises as :func:`_walk`."""
    return _walk(data, limits, HEIC)


def _walk(data: bytes, limits: Limits, name: str) -> Header:
    """Header of the primary item.

    Raises:
        Problem: truncated, corrupt, animated, empty, too many pixels, or unsupported, for another codec.
    """
    pictures = Reader(data, name).pictures()
    if pictures.is_sequence:
        raise animated(name, "picture")
    primary = pictures.items.get(pictures.primary)
    if primary is None:
        raise corrupt(name, "it does not say which picture to show")
    if sum(end - start for item in pictures.items.values() for start, end in item.extents) > 2 * len(data):
        raise corrupt(name, "its parts lie over one another")
    coded = [primary]
    for item in pictures.items.values():  # transparency may be a grid, too
        if item.kind == b"grid":
            tiles = _check_grid(data, pictures, item, limits, name)
            coded = tiles if item is primary else coded
    if any(_CODECS.get(item.kind) != name for item in coded):
        raise unsupported(f"a {name} of an unusual kind ({_kinds(coded)})", MEND)
    _check_streams(data, [item for item in pictures.items.values() if item.kind in _CODECS], limits, name)
    for item in pictures.items.values():
        if item.kind == b"Exif":
            exif.admit(bytes(_data_of(data, item)[4:]), name)
    size = _cropped(primary, name) if name == HEIC else _size_of(primary, name)
    check_size(name, *size, limits)
    return Header(*size, _orientation(primary))


def _kinds(items: list[Item]) -> str:
    return ", ".join(sorted({item.kind.decode("ascii", "replace") for item in items}))


def _check_grid(data: bytes, pictures: Pictures, grid: Item, limits: Limits, name: str) -> list[Item]:
    """The tiles of a grid (ISO/IEC 23008-12 §6.6.2.3.2), each no smaller and no larger than the picture needs."""
    body = bytes(_data_of(data, grid)[:12])
    rows, columns = body[2] + 1, body[3] + 1
    size = _Size(*struct.unpack_from(">II" if body[1] & 1 else ">HH", body, 4))
    check_size(name, *size, limits)
    tiles = [pictures.items[number] for number in grid.tiles if number in pictures.items]
    if len(tiles) != rows * columns or size != _size_of(grid, name):
        raise corrupt(name, f"it has {len(tiles)} tiles, and speaks of {rows} × {columns}")
    for tile in tiles:
        wide, high = _size_of(tile, name)
        if not (columns - 1) * wide < size.width <= columns * wide or not (
            (rows - 1) * high < size.height <= rows * high
        ):
            raise corrupt(name, f"its tiles are {wide} × {high}, which does not make {size.width} × {size.height}")
    return tiles


def _check_streams(data: bytes, items: list[Item], limits: Limits, name: str) -> None:
    """What is coded is as large as the file says, and is one picture."""
    left = MAX_UNITS
    for item in items:
        size = _size_of(item, name)
        check_size(name, *size, limits)
        begun = sized = 0
        for is_picture, coded in _units(item, _data_of(data, item)):
            left -= 1
            begun += is_picture
            for width, height in coded:
                sized += 1
                if width > size.width + _BLOCK or height > size.height + _BLOCK:
                    raise corrupt(name, f"it says {size.width} × {size.height}, and codes {width} × {height}")
            if left < 0:
                raise corrupt(name, f"its picture data has more than {MAX_UNITS} parts")
        if not begun or not sized:
            raise corrupt(name, "its picture data has no picture")
        if begun > (MAX_LAYERS if item.kind == b"av01" else 1):
            raise animated(name, "picture")


def _units(item: Item, data: memoryview) -> Iterator[tuple[bool, list[tuple[int, int]]]]:
    """Of each unit of a bitstream: whether a picture begins there, and the (width, height) it declares."""
    if item.kind == b"av01":
        for obu in av1.units(data):
            yield av1.begins_picture(obu), list(av1.sizes(obu))
        return
    config = _property(item, b"hvcC")
    if config is None:
        raise IndexError("no decoder configuration")
    for size in hevc.configured(config.body):
        yield False, [size]
    for nal in hevc.units(config.body, data):
        yield hevc.begins_picture(nal), list(hevc.sizes(nal))


def _data_of(data: bytes, item: Item) -> memoryview:
    """The item's data; a copy only where it lies in pieces."""
    pieces = [memoryview(data)[start:end] for start, end in item.extents]
    return pieces[0] if len(pieces) == 1 else memoryview(b"".join(pieces))


def _property(item: Item, kind: bytes) -> Property | None:
    return next((one for one in item.properties if one.kind == kind), None)


def _size_of(item: Item, name: str) -> _Size:
    found = _property(item, b"ispe")
    if found is None:
        raise corrupt(name, "it does not say how large it is")
    return _Size(*struct.unpack_from(">II", found.body, 4))


def _cropped(item: Item, name: str) -> _Size:
    """The size without what the clean aperture (ISO/IEC 14496-12 §12.1.4) cuts off."""
    size, aperture = _size_of(item, name), _property(item, b"clap")
    if aperture is None:
        return size
    width, width_divisor, height, height_divisor = struct.unpack_from(">iiii", aperture.body)
    if width_divisor <= 0 or height_divisor <= 0:
        raise corrupt(name, "its crop cannot be read")
    return _Size(min(size.width, width // width_divisor), min(size.height, height // height_divisor))


def _orientation(item: Item) -> int:
    """As EXIF would say it; what the file's EXIF says does not count (ISO/IEC 23008-12 §6.5.10)."""
    turn, mirror = _property(item, b"irot"), _property(item, b"imir")
    return _ORIENTATIONS[turn.body[0] & 3 if turn else 0][1 + (mirror.body[0] & 1) if mirror else 0]
