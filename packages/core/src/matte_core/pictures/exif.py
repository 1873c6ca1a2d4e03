"""The one thing wanted from EXIF: the orientation. Nothing is allocated by what the file declares."""

from __future__ import annotations

import struct

from matte_core.pictures.common import corrupt

ORIENTATION = 0x0112
#: bytes per value of each TIFF type (TIFF 6.0 §2; 13 IFD; 16–18 BigTIFF)
TYPE_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}
#: how ``struct`` reads each type that is a number; a rational is two
_NUMBERS = {
    3: "H", 4: "I", 5: "II", 6: "b", 8: "h", 9: "i", 10: "ii", 11: "f", 12: "d", 13: "I", 16: "Q",
}  # fmt: skip
#: what the values of one directory may occupy together. Entries may point at the same bytes, so a small block can
#: declare gigabytes, which decoders that copy every value (Pillow does, when it opens a JPEG) would then hold.
MAX_VALUES = 16_000_000


def admit(block: bytes, name: str) -> int:
    """:func:`read_orientation`, after a block that is a bomb was refused with ``picture_corrupt``."""
    if is_bomb(block):
        raise corrupt(name, "its EXIF data declares more than it can hold")
    return read_orientation(block)


def read_orientation(block: bytes) -> int:
    """The orientation, 1 to 8, in an EXIF block with or without its ``Exif\\0\\0`` head; 1 if it cannot be read.

    As Pillow reads it: any type of number, the first value of several, the last entry of several.
    """
    tiff = _tiff(block)
    found = 1.0
    for tag, kind, count, value in _entries(tiff):
        if tag == ORIENTATION and kind in _NUMBERS and count:
            number = _first_number(tiff, kind, count, value)
            found = found if number is None else number
    return int(found) if found in range(1, 9) else 1


def _first_number(tiff: bytes, kind: int, count: int, place: int) -> float | None:
    """The first of an entry's values; None where they do not lie inside the block."""
    size = TYPE_SIZES[kind] * count
    if size > 4:
        (place,) = struct.unpack_from(_order(tiff) + "I", tiff, place)
    if place + size > len(tiff):
        return None
    above, *below = struct.unpack_from(_order(tiff) + _NUMBERS[kind], tiff, place)
    if not below:
        return float(above)
    return above / below[0] if below[0] else None


def is_bomb(block: bytes) -> bool:
    """Whether the values of the first directory, copied one by one, would exceed :data:`MAX_VALUES` bytes."""
    tiff = _tiff(block)
    total = 0
    for _, kind, count, value in _entries(tiff):
        size = TYPE_SIZES.get(kind, 0) * count
        if size > 4:
            start = struct.unpack_from(_order(tiff) + "I", tiff, value)[0]
            total += max(0, min(size, len(tiff) - start))
    return total > MAX_VALUES


def _tiff(block: bytes) -> bytes:
    return block.removeprefix(b"Exif\0\0")


def _order(tiff: bytes) -> str:
    return "<" if tiff.startswith(b"II") else ">"


def _entries(tiff: bytes) -> list[tuple[int, int, int, int]]:
    """(tag, type, count, offset of the value field) of the first directory, as far as it lies inside the block."""
    if tiff[:4] not in (b"II*\0", b"MM\0*") or len(tiff) < 10:
        return []
    order = _order(tiff)
    start = struct.unpack_from(order + "I", tiff, 4)[0]
    if start + 2 > len(tiff):
        return []
    number = min(struct.unpack_from(order + "H", tiff, start)[0], (len(tiff) - start - 2) // 12)
    places = range(start + 2, start + 2 + 12 * number, 12)
    return [(*struct.unpack_from(order + "HHI", tiff, place), place + 8) for place in places]
