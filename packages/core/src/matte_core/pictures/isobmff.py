"""ISO base media files (ISO/IEC 14496-12) with pictures (ISO/IEC 23008-12): boxes and items."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import NamedTuple

from matte_core.pictures.common import corrupt, take, truncated

#: libheif's limits; a phone's photograph of 48 megapixels has 200 tiles
MAX_ITEMS, MAX_EXTENTS = 1000, 32
MAX_PROPERTIES = 10_000


class Box(NamedTuple):
    """``start`` and ``end`` are those of the body."""

    kind: bytes
    start: int
    end: int


class Property(NamedTuple):
    kind: bytes
    body: bytes


@dataclass(slots=True)
class Item:
    """A picture or a block of metadata. ``kind``: ``hvc1``, ``av01``, ``grid``, ``Exif``, …; ``extents``: (start, end)
    of the parts of its data in the file; ``tiles``: numbers of the items in a ``grid``.
    """

    kind: bytes = b""
    extents: list[tuple[int, int]] = field(default_factory=list)
    properties: list[Property] = field(default_factory=list)
    tiles: list[int] = field(default_factory=list)


@dataclass(slots=True)
class Pictures:
    """``primary``: number of the item to show."""

    primary: int = 0
    items: dict[int, Item] = field(default_factory=dict)
    is_sequence: bool = False


class Reader:
    """Reads a file of the format ``name``. Raises Problem: truncated or corrupt."""

    def __init__(self, data: bytes, name: str) -> None:
        self._data, self._name = data, name

    def pictures(self) -> Pictures:
        """The items in the ``meta`` box, all of whose data is present."""
        pictures = Pictures(is_sequence=self._data[8:12] in (b"avis", b"msf1", b"hevc", b"hevx"))
        for meta in self._boxes(0, len(self._data)):
            if meta.end > len(self._data):
                raise truncated(self._name, "its structure is cut")
            if meta.kind == b"meta":
                break
        else:
            raise truncated(self._name, "its structure is missing")
        idat = next((box.start for box in self._boxes(meta.start + 4, meta.end) if box.kind == b"idat"), 0)
        for box in self._boxes(meta.start + 4, meta.end):
            if box.end > meta.end:
                raise corrupt(self._name, "a part of its structure is larger than the whole")
            match box.kind:
                case b"pitm":
                    pictures.primary, _ = self._number(box.start + 4, 4 if self._version(box) else 2)
                case b"iinf":
                    self._read_kinds(box, pictures)
                case b"iloc":
                    self._read_locations(box, pictures, idat)
                case b"iprp":
                    self._read_properties(box, pictures)
                case b"iref":
                    self._read_references(box, pictures)
        return pictures

    def _boxes(self, position: int, end: int) -> Iterator[Box]:
        """The boxes between two offsets, up to the first invalid one; the last may extend beyond ``end``."""
        while position + 8 <= end:
            length, kind, head = self._number(position, 4)[0], self._data[position + 4 : position + 8], 8
            if length == 1:
                length, head = self._number(position + 8, 8)[0], 16
            stop = position + length if length else end
            if stop < position + head:
                return
            yield Box(kind, position + head, stop)
            position = stop

    def _number(self, position: int, size: int) -> tuple[int, int]:
        """An unsigned number of ``size`` bytes (0 if there are none), and the offset after it."""
        if position + size > len(self._data):
            raise truncated(self._name, "its structure is cut")
        return int.from_bytes(self._data[position : position + size], "big"), position + size

    def _version(self, box: Box) -> int:
        return take(self._data, box.start, "B", self._name, "its structure is cut")[0]

    def _item(self, pictures: Pictures, number: int) -> Item:
        if number not in pictures.items and len(pictures.items) >= MAX_ITEMS:
            raise corrupt(self._name, f"it has more than {MAX_ITEMS} parts")
        return pictures.items.setdefault(number, Item())

    def _read_kinds(self, box: Box, pictures: Pictures) -> None:
        for entry in self._boxes(box.start + (8 if self._version(box) else 6), box.end):
            version = self._version(entry)
            if entry.kind == b"infe" and version >= 2:
                number, position = self._number(entry.start + 4, 2 if version == 2 else 4)
                self._item(pictures, number).kind = self._data[position + 2 : position + 6]

    def _read_locations(self, box: Box, pictures: Pictures, idat: int) -> None:
        """The item location box (ISO/IEC 14496-12 §8.11.3)."""
        version = self._version(box)
        sizes, position = self._number(box.start + 4, 2)
        offset_size, length_size, base_size = sizes >> 12, sizes >> 8 & 15, sizes >> 4 & 15
        index_size = sizes & 15 if version else 0
        count, position = self._number(position, 4 if version == 2 else 2)
        for _ in range(count):
            number, position = self._number(position, 4 if version == 2 else 2)
            method, position = self._number(position, 2 if version else 0)
            base, position = self._number(position + 2, base_size)
            extents, position = self._number(position, 2)
            if extents > MAX_EXTENTS or method & 15 > 1:
                raise corrupt(self._name, "its data lies in too many pieces")
            item = self._item(pictures, number)
            for _ in range(extents):
                offset, position = self._number(position + index_size, offset_size)
                length, position = self._number(position, length_size)
                start = base + offset + (idat if method & 15 else 0)
                if start + length > len(self._data):
                    raise truncated(self._name, "its picture data is cut")
                item.extents.append((start, start + length if length else len(self._data)))

    def _read_properties(self, box: Box, pictures: Pictures) -> None:
        """The item properties box (ISO/IEC 23008-12 §9.3): all properties, then their association with items."""
        known: list[Property] = []
        for part in self._boxes(box.start, box.end):
            if part.kind == b"ipco":
                boxes = list(islice(self._boxes(part.start, part.end), MAX_PROPERTIES + 1))
                if len(boxes) > MAX_PROPERTIES:
                    raise corrupt(self._name, f"it has more than {MAX_PROPERTIES} properties")
                known = [Property(box.kind, self._data[box.start : min(box.end, part.end)]) for box in boxes]
        for part in self._boxes(box.start, box.end):
            if part.kind == b"ipma":
                self._read_associations(part, known, pictures)

    def _read_associations(self, box: Box, known: list[Property], pictures: Pictures) -> None:
        version, flags = self._version(box), self._data[box.start + 3]
        count, position = self._number(box.start + 4, 4)
        for _ in range(min(count, box.end - position)):
            number, position = self._number(position, 4 if version else 2)
            many, position = self._number(position, 1)
            item = self._item(pictures, number)
            for _ in range(many):
                index, position = self._number(position, 2 if flags & 1 else 1)
                index &= 0x7FFF if flags & 1 else 0x7F
                if not 0 < index <= len(known):
                    raise corrupt(self._name, "it speaks of a property that is not there")
                item.properties.append(known[index - 1])

    def _read_references(self, box: Box, pictures: Pictures) -> None:
        size = 4 if self._version(box) else 2
        for reference in self._boxes(box.start + 4, box.end):
            number, position = self._number(reference.start, size)
            count, position = self._number(position, 2)
            if reference.kind == b"dimg":
                tiles = [self._number(position + size * index, size)[0] for index in range(count)]
                self._item(pictures, number).tiles.extend(tiles)
