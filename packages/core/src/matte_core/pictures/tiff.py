"""TIFF (TIFF 6.0 and BigTIFF): the directories, and whether all strips or tiles are present."""

from __future__ import annotations

import struct
from dataclasses import dataclass

from matte_core.contracts.job import Limits
from matte_core.pictures.common import (
    MAX_VALUE_BYTES,
    ORIENTATION,
    TYPE_SIZES,
    Header,
    animated,
    check_size,
    corrupt,
    take,
    truncated,
    unsupported,
)

NAME = "TIFF"
_SUBFILE, _WIDTH, _HEIGHT, _BITS, _COMPRESSION, _PHOTOMETRIC = 254, 256, 257, 258, 259, 262
_STRIPS, _STRIP_SIZES, _TILE_WIDTH, _TILE_HEIGHT, _TILES, _TILE_SIZES = 273, 279, 322, 323, 324, 325
_SUB_IFDS, _SAMPLE_FORMAT, _DNG = 330, 339, 50706
_CFA, _LINEAR_RAW = 32803, 34892
#: supported by libtiff: none, CCITT ×3, LZW, JPEG, Deflate, PackBits, old Deflate, LZMA, Zstandard, WebP
_COMPRESSIONS = frozenset({1, 2, 3, 4, 5, 7, 8, 32773, 32946, 34925, 50000, 50001})
_INTEGERS = {1: "B", 3: "H", 4: "I", 13: "I", 16: "Q", 18: "Q"}
#: strips or tiles; a picture of 50 megapixels has fewer
MAX_PARTS = 200_000
MAX_PAGES = 8
MAX_ENTRIES = 1000


@dataclass(frozen=True, slots=True)
class _Entry:
    kind: int
    count: int
    position: int


@dataclass(frozen=True, slots=True)
class _File:
    data: bytes
    order: str
    big: bool

    def numbers(self, entry: _Entry | None) -> tuple[int, ...]:
        """The unsigned integers of an entry; () if it is absent or of another type."""
        if entry is None or entry.kind not in _INTEGERS:
            return ()
        if entry.count > MAX_PARTS:
            raise corrupt(NAME, f"a list in its directory has {entry.count} numbers")
        return struct.unpack_from(f"{self.order}{entry.count}{_INTEGERS[entry.kind]}", self.data, entry.position)


def walk(data: bytes, limits: Limits) -> Header:
    """Size and orientation of a complete TIFF with one page; thumbnails and masks are no pages."""
    file = _File(data, "<" if data.startswith(b"II") else ">", data[2:4] in (b"+\0", b"\0+"))
    layout, position = ("Q", 8) if file.big else ("I", 4)
    (position,) = take(data, position, file.order + layout, NAME, "its header is cut")
    tags, next_place = _directory(file, position)
    width, height = _first(file, tags, _WIDTH, 0), _first(file, tags, _HEIGHT, 0)
    thumbnail = _SUB_IFDS in tags and _first(file, tags, _SUBFILE, 0) & 1
    if _DNG in tags or thumbnail or _first(file, tags, _PHOTOMETRIC, 2) in (_CFA, _LINEAR_RAW):
        raise unsupported("a camera RAW file", "Develop it in a photo program, export it as JPEG, and send that.")
    compression = _first(file, tags, _COMPRESSION, 1)
    if compression not in _COMPRESSIONS:
        raise unsupported(f"a TIFF with compression {compression}")
    if _first(file, tags, _SAMPLE_FORMAT, 1) == 3 or _first(file, tags, _BITS, 1) > 16:
        raise unsupported("a TIFF with floating-point or 32-bit values")
    check_size(NAME, width, height, limits)
    if _first(file, tags, _TILE_WIDTH, 1) * _first(file, tags, _TILE_HEIGHT, 1) > limits.max_pixels:
        raise corrupt(NAME, "its tiles are larger than any picture")
    orientation = _first(file, tags, ORIENTATION, 1)
    seen = {position}
    while next_place:
        if next_place in seen or len(seen) > MAX_PAGES:
            raise corrupt(NAME, "its directories run in a circle or are too many")
        seen.add(next_place)
        page_tags, next_place = _directory(file, next_place)
        if not _first(file, page_tags, _SUBFILE, 0) & 0b101:
            raise animated(NAME, "page")
    offsets = file.numbers(tags.get(_STRIPS)) or file.numbers(tags.get(_TILES))
    sizes = file.numbers(tags.get(_STRIP_SIZES)) or file.numbers(tags.get(_TILE_SIZES)) or (1,) * len(offsets)
    if not offsets or len(sizes) != len(offsets):
        raise corrupt(NAME, "it has no list of picture data, or one that contradicts itself")
    end = max(position + size for position, size in zip(offsets, sizes, strict=True))
    if end > len(data):
        raise truncated(NAME, f"its directory names {end} bytes, there are {len(data)}")
    return Header(width, height, orientation if 1 <= orientation <= 8 else 1)


def _directory(file: _File, start: int) -> tuple[dict[int, _Entry], int]:
    """The entries of the directory at ``start`` by tag, and the offset of the next directory (0: none)."""
    head, item, tail = ("Q", "HHQ", "Q") if file.big else ("H", "HHI", "I")
    (number,) = take(file.data, start, file.order + head, NAME, "its directory lies beyond the end")
    width, inline = (20, 8) if file.big else (12, 4)
    position = start + struct.calcsize(head)
    if number > MAX_ENTRIES:
        raise corrupt(NAME, f"its directory has {number} entries")
    if position + number * width > len(file.data):
        raise truncated(NAME, "its directory is cut")
    tags: dict[int, _Entry] = {}
    total = 0
    for at in range(position, position + number * width, width):
        tag, kind, count = struct.unpack_from(file.order + item, file.data, at)
        size = TYPE_SIZES.get(kind, 0) * count
        field = at + width - inline
        value = field if size <= inline else struct.unpack_from(file.order + tail, file.data, field)[0]
        if value + size > len(file.data):
            raise truncated(NAME, f"the value of tag {tag} lies beyond the end")
        total += size
        tags[tag] = _Entry(kind, count, value)
    if total > len(file.data) + MAX_VALUE_BYTES:
        raise corrupt(NAME, "its directory declares more than it can hold")
    after = position + number * width
    return tags, take(file.data, after, file.order + tail, NAME, "its directory is cut")[0]


def _first(file: _File, tags: dict[int, _Entry], tag: int, default: int) -> int:
    values = file.numbers(tags.get(tag))
    return values[0] if values else default
