"""ISO base media files (ISO/IEC 14496-12) that hold pictures (ISO/IEC 23008-12): their boxes and their items."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from matte_core.pictures.common import corrupt, take, truncated

#: what libheif takes; a phone's photograph of 48 megapixels is in 200 tiles
MAX_ITEMS, MAX_EXTENTS = 1000, 32
MAX_PROPERTIES = 10_000


class Box(NamedTuple):
    """A box: its type, and where its body begins and ends."""

    kind: bytes
    start: int
    end: int


class Property(NamedTuple):
    """What is said of items: a box's type and body."""

    kind: bytes
    body: bytes


@dataclass(slots=True)
class Item:
    """One picture, or one block of metadata.

    Args:
        kind: four characters: ``hvc1``, ``av01``, ``grid``, ``Exif``, …
        extents: (start, end) of the pieces of its data in the file.
        properties: what is said of it, in order.
        tiles: the items it is made of, for a ``grid``.
    """

    kind: bytes = b""
    extents: list[tuple[int, int]] = field(default_factory=list)
    properties: list[Property] = field(default_factory=list)
    tiles: list[int] = field(default_factory=list)


@dataclass(slots=True)
class Pictures:
    """The items of a file; ``primary`` is the one to show."""

    primary: int = 0
    items: dict[int, Item] = field(default_factory=dict)
    is_sequence: bool = False


class Reader:
    """Reads one file, of the format ``name``.

    Raises:
        Problem: truncated or corrupt.
    """

    def __init__(self, data: bytes, name: str) -> None:
        self._data, self._name = data, name

    def pictures(self) -> Pictures:
        """What its ``meta`` box says; all data that it speaks of is there."""
        found = Pictures(is_sequence=self._data[8:12] in (b"avis", b"msf1", b"hevc", b"hevx"))
        meta: Box | None = None
        for box in self._boxes(0, len(self._data)):
            if box.end > len(self._data) and meta is None:
                raise truncated(self._name, "its structure is cut")
            if box.kind == b"meta" and meta is None:
                meta = box
        if meta is None:
            raise truncated(self._name, "its structure is missing")
        idat = next((box.start for box in self._boxes(meta.start + 4, meta.end) if box.kind == b"idat"), 0)
        for box in self._boxes(meta.start + 4, meta.end):
            if box.end > meta.end:
                raise corrupt(self._name, "a part of its structure is larger than the whole")
            self._part(box, found, idat)
        return found

    def _part(self, box: Box, found: Pictures, idat: int) -> None:
        match box.kind:
            case b"pitm":
                found.primary, _ = self._number(box.start + 4, 4 if self._version(box) else 2)
            case b"iinf":
                self._kinds(box, found)
            case b"iloc":
                self._places(box, found, idat)
            case b"iprp":
                self._properties(box, found)
            case b"iref":
                self._references(box, found)

    def _boxes(self, place: int, end: int) -> Iterator[Box]:
        """The boxes between two places; the last one may go beyond the end. What is no box ends them."""
        while place + 8 <= end:
            length, kind, head = self._number(place, 4)[0], self._data[place + 4 : place + 8], 8
            if length == 1:
                length, head = self._number(place + 8, 8)[0], 16
            stop = place + length if length else end
            if stop < place + head:
                return
            yield Box(kind, place + head, stop)
            place = stop

    def _number(self, place: int, size: int) -> tuple[int, int]:
        """An unsigned number of ``size`` bytes (0: it is 0), and the place after it."""
        if place + size > len(self._data):
            raise truncated(self._name, "its structure is cut")
        return int.from_bytes(self._data[place : place + size], "big"), place + size

    def _version(self, box: Box) -> int:
        return take(self._data, box.start, "B", self._name, "its structure is cut")[0]

    def _item(self, found: Pictures, number: int) -> Item:
        if number not in found.items and len(found.items) >= MAX_ITEMS:
            raise corrupt(self._name, f"it has more than {MAX_ITEMS} parts")
        return found.items.setdefault(number, Item())

    def _kinds(self, box: Box, found: Pictures) -> None:
        place = box.start + (8 if self._version(box) else 6)
        for entry in self._boxes(place, box.end):
            version = self._version(entry)
            if entry.kind == b"infe" and version >= 2:
                number, place = self._number(entry.start + 4, 2 if version == 2 else 4)
                self._item(found, number).kind = self._data[place + 2 : place + 6]

    def _places(self, box: Box, found: Pictures, idat: int) -> None:
        """The item location box (ISO/IEC 14496-12 §8.11.3)."""
        version = self._version(box)
        sizes, place = self._number(box.start + 4, 2)
        offset_size, length_size, base_size = sizes >> 12, sizes >> 8 & 15, sizes >> 4 & 15
        index_size = sizes & 15 if version else 0
        count, place = self._number(place, 4 if version == 2 else 2)
        for _ in range(count):
            number, place = self._number(place, 4 if version == 2 else 2)
            method, place = self._number(place, 2 if version else 0)
            base, place = self._number(place + 2, base_size)
            extents, place = self._number(place, 2)
            if extents > MAX_EXTENTS or method & 15 > 1:
                raise corrupt(self._name, "its data lies in too many pieces")
            item = self._item(found, number)
            for _ in range(extents):
                offset, place = self._number(place + index_size, offset_size)
                length, place = self._number(place, length_size)
                start = base + offset + (idat if method & 15 else 0)
                if start + length > len(self._data):
                    raise truncated(self._name, "its picture data is cut")
                item.extents.append((start, start + length if length else len(self._data)))

    def _properties(self, box: Box, found: Pictures) -> None:
        """The item properties box (ISO/IEC 23008-12 §9.3): all of them, then which item has which."""
        known: list[Property] = []
        for part in self._boxes(box.start, box.end):
            if part.kind == b"ipco":
                known = [Property(one.kind, self._data[one.start : min(one.end, part.end)]) for one in self._some(part)]
        for part in self._boxes(box.start, box.end):
            if part.kind == b"ipma":
                self._associations(part, known, found)

    def _some(self, box: Box) -> Iterator[Box]:
        for index, one in enumerate(self._boxes(box.start, box.end)):
            if index >= MAX_PROPERTIES:
                raise corrupt(self._name, f"it has more than {MAX_PROPERTIES} properties")
            yield one

    def _associations(self, box: Box, known: list[Property], found: Pictures) -> None:
        version, flags = self._version(box), self._data[box.start + 3]
        count, place = self._number(box.start + 4, 4)
        for _ in range(min(count, box.end - place)):
            number, place = self._number(place, 4 if version else 2)
            many, place = self._number(place, 1)
            item = self._item(found, number)
            for _ in range(many):
                index, place = self._number(place, 2 if flags & 1 else 1)
                index &= 0x7FFF if flags & 1 else 0x7F
                if not 0 < index <= len(known):
                    raise corrupt(self._name, "it speaks of a property that is not there")
                item.properties.append(known[index - 1])

    def _references(self, box: Box, found: Pictures) -> None:
        size = 4 if self._version(box) else 2
        for reference in self._boxes(box.start + 4, box.end):
            number, place = self._number(reference.start, size)
            count, place = self._number(place, 2)
            if reference.kind == b"dimg":
                tiles = [self._number(place + size * index, size)[0] for index in range(count)]
                self._item(found, number).tiles.extend(tiles)
