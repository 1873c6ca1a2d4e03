"""HEIC and AVIF (ISO/IEC 23008-12, AV1 Image File Format): one picture or a grid of tiles, coded as video frames.

A decoder allocates by the size in the codec's own headers, not by the one in the container, so both are checked.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

from matte_core.contracts.job import Limits
from matte_core.pictures import codecs
from matte_core.pictures.common import Header, animated, check_size, corrupt, read_orientation, unsupported
from matte_core.pictures.isobmff import Item, Pictures, Property, Reader

AVIF, HEIC = "AVIF", "HEIC"
#: bitstream units in one file; a photograph has one or two for each of its tiles
MAX_UNITS = 10_000
#: progressive AVIFs have layers, each of which is a picture to decode
MAX_LAYERS = 8
#: HEVC codes whole blocks, which may extend beyond the picture
_BLOCK = 64
_CODECS = {b"hvc1": HEIC, b"hev1": HEIC, b"av01": AVIF}
#: EXIF orientation by counterclockwise quarter turns, then by mirroring: none, top to bottom, left to right
_ORIENTATIONS = ((1, 4, 2), (8, 5, 7), (3, 2, 4), (6, 7, 5))


class _Size(NamedTuple):
    width: int
    height: int


def walk(data: bytes, limits: Limits, name: str) -> Header:
    """Size and orientation of the primary item; ``name`` is :data:`AVIF` or :data:`HEIC`."""
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
        kinds = ", ".join(sorted({item.kind.decode("ascii", "replace") for item in coded}))
        raise unsupported(f"a {name} of an unusual kind ({kinds})")
    _check_streams(data, [item for item in pictures.items.values() if item.kind in _CODECS], limits, name)
    for item in pictures.items.values():
        if item.kind == b"Exif":
            read_orientation(bytes(_data_of(data, item)[4:]), name)  # refuses bombs
    size, aperture = _size_of(primary, name), _property(primary, b"clap")
    if name == HEIC and aperture:  # the clean aperture crops (ISO/IEC 14496-12 §12.1.4)
        width, width_divisor, height, height_divisor = struct.unpack_from(">iiii", aperture.body)
        if width_divisor <= 0 or height_divisor <= 0:
            raise corrupt(name, "its crop cannot be read")
        size = _Size(min(size.width, width // width_divisor), min(size.height, height // height_divisor))
    check_size(name, *size, limits)
    # the file's EXIF data does not count (ISO/IEC 23008-12 §6.5.10)
    turn, mirror = _property(primary, b"irot"), _property(primary, b"imir")
    turns, mirrored = turn.body[0] & 3 if turn else 0, 1 + (mirror.body[0] & 1) if mirror else 0
    return Header(*size, _ORIENTATIONS[turns][mirrored])


def _check_grid(data: bytes, pictures: Pictures, grid: Item, limits: Limits, name: str) -> list[Item]:
    """The tiles of a grid (ISO/IEC 23008-12 §6.6.2.3.2), whose sizes must fit the picture's."""
    body = bytes(_data_of(data, grid)[:12])
    rows, columns = body[2] + 1, body[3] + 1
    size = _Size(*struct.unpack_from(">II" if body[1] & 1 else ">HH", body, 4))
    check_size(name, *size, limits)
    tiles = [pictures.items[number] for number in grid.tiles if number in pictures.items]
    if len(tiles) != rows * columns or size != _size_of(grid, name):
        raise corrupt(name, f"it has {len(tiles)} tiles, and speaks of {rows} × {columns}")
    for tile in tiles:
        wide, high = _size_of(tile, name)
        fits = (columns - 1) * wide < size.width <= columns * wide and (rows - 1) * high < size.height <= rows * high
        if not fits:
            raise corrupt(name, f"its tiles are {wide} × {high}, which does not make {size.width} × {size.height}")
    return tiles


def _check_streams(data: bytes, items: list[Item], limits: Limits, name: str) -> None:
    """Each item must be one coded picture, no larger than the container says."""
    units_left = MAX_UNITS
    for item in items:
        size = _size_of(item, name)
        check_size(name, *size, limits)
        pictures = sizes = 0
        config = _property(item, b"hvcC")
        if item.kind == b"av01":
            units = codecs.av1_units(_data_of(data, item))
        elif config is None:
            raise corrupt(name, "its structure cannot be read")
        else:
            units = codecs.hevc_units(config.body, _data_of(data, item))
        for starts_picture, coded in units:
            units_left -= 1
            if units_left < 0:
                raise corrupt(name, f"its picture data has more than {MAX_UNITS} parts")
            pictures += starts_picture
            if coded is None:
                continue
            sizes += 1
            width, height = coded
            if width > size.width + _BLOCK or height > size.height + _BLOCK:
                raise corrupt(name, f"it says {size.width} × {size.height}, and codes {width} × {height}")
        if not pictures or not sizes:
            raise corrupt(name, "its picture data has no picture")
        if pictures > (MAX_LAYERS if item.kind == b"av01" else 1):
            raise animated(name, "picture")


def _data_of(data: bytes, item: Item) -> memoryview:
    """The item's data, copied only if it has several extents."""
    pieces = [memoryview(data)[start:end] for start, end in item.extents]
    return pieces[0] if len(pieces) == 1 else memoryview(b"".join(pieces))


def _property(item: Item, kind: bytes) -> Property | None:
    return next((found for found in item.properties if found.kind == kind), None)


def _size_of(item: Item, name: str) -> _Size:
    extents = _property(item, b"ispe")
    if extents is None:
        raise corrupt(name, "it does not say how large it is")
    return _Size(*struct.unpack_from(">II", extents.body, 4))
