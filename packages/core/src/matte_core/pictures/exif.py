"""The orientation in EXIF data. Allocates nothing by what the data declares."""

from __future__ import annotations

import struct

from matte_core.pictures.common import corrupt

ORIENTATION = 0x0112
#: bytes per value of each TIFF type (TIFF 6.0 §2; 13 IFD; 16–18 BigTIFF)
TYPE_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}
#: ``struct`` formats of the numeric types; a rational is two numbers
_FORMATS = {
    3: "H", 4: "I", 5: "II", 6: "b", 8: "h", 9: "i", 10: "ii", 11: "f", 12: "d", 13: "I", 16: "Q",
}  # fmt: skip
#: maximum bytes of all values of one directory. Entries may point at the same bytes, so a small block can declare
#: gigabytes, which decoders that copy every value (as Pillow does when it opens a JPEG) would then allocate.
MAX_VALUE_BYTES = 16_000_000


def read_orientation(block: bytes, name: str) -> int:
    """The orientation, 1 to 8, in an EXIF block with or without its ``Exif\\0\\0`` prefix; 1 if it cannot be read.

    As Pillow reads it: any numeric type, the first of several values, the last of several entries.

    Args:
        block: EXIF data.
        name: of the picture's format, for the message.

    Raises:
        Problem: ``picture_corrupt``: a decoder that copies all values would need more than :data:`MAX_VALUE_BYTES`.
    """
    tiff = block.removeprefix(b"Exif\0\0")
    if tiff[:4] not in (b"II*\0", b"MM\0*") or len(tiff) < 10:
        return 1
    order = "<" if tiff.startswith(b"II") else ">"
    (directory,) = struct.unpack_from(order + "I", tiff, 4)
    if directory + 2 > len(tiff):
        return 1
    orientation, total = 1.0, 0
    entries = min(struct.unpack_from(order + "H", tiff, directory)[0], (len(tiff) - directory - 2) // 12)
    for place in range(directory + 2, directory + 2 + 12 * entries, 12):
        tag, kind, count = struct.unpack_from(order + "HHI", tiff, place)
        size, value = TYPE_SIZES.get(kind, 0) * count, place + 8
        if size > 4:
            (value,) = struct.unpack_from(order + "I", tiff, value)
            total += max(0, min(size, len(tiff) - value))
        if tag == ORIENTATION and kind in _FORMATS and count and value + size <= len(tiff):
            numerator, *denominator = struct.unpack_from(order + _FORMATS[kind], tiff, value)
            if not denominator:
                orientation = float(numerator)
            elif denominator[0]:
                orientation = numerator / denominator[0]
    if total > MAX_VALUE_BYTES:
        raise corrupt(name, "its EXIF data declares more than it can hold")
    return int(orientation) if orientation in range(1, 9) else 1
