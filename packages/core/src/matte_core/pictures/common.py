"""Shared by the walkers of all formats: their result, bounded reads, the orientation in EXIF data, and their errors."""

from __future__ import annotations

import struct
from dataclasses import dataclass

from matte_core.contracts.job import Limits
from matte_core.errors import Problem

RESAVE = "Open it in a picture program, save it again as JPEG, PNG or WebP, and send that."
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


@dataclass(frozen=True, slots=True)
class Header:
    """Stored width and height in pixels, and the EXIF orientation (1 to 8), which is not applied to them."""

    width: int
    height: int
    orientation: int = 1


def truncated(name: str, what: str) -> Problem:
    return Problem(
        "picture_truncated",
        f"The {name} ends too early: {what}. The upload or the file was probably cut off; send the whole file again.",
    )


def corrupt(name: str, what: str) -> Problem:
    return Problem("picture_corrupt", f"The {name} is damaged: {what}. {RESAVE}")


def unsupported(what: str, fix: str = RESAVE) -> Problem:
    """``what``: the format or its variant, with an article."""
    return Problem("unsupported_format", f"The picture is {what}, which is not supported. {fix}")


def animated(name: str, frames: str) -> Problem:
    return Problem("picture_animated", f"The {name} has more than one {frames}. Send the one you want as a picture.")


def take(data: bytes, offset: int, layout: str, name: str, what: str) -> tuple[int, ...]:
    """Unpacks a ``struct`` layout at ``offset``; beyond the end, raises ``picture_truncated`` with ``what``."""
    if offset < 0 or offset + struct.calcsize(layout) > len(data):
        raise truncated(name, what)
    return struct.unpack_from(layout, data, offset)


def check_size(name: str, width: int, height: int, limits: Limits) -> None:
    """Raises ``picture_empty`` or ``too_many_pixels``."""
    if width <= 0 or height <= 0:
        raise Problem("picture_empty", f"The {name} is {width} × {height} pixels: there is nothing to see. {RESAVE}")
    if max(width, height) > limits.max_side:
        raise Problem(
            "too_many_pixels",
            f"The {name} is {width} × {height} pixels; a side may have at most {limits.max_side}. Make it smaller.",
        )
    if width * height > limits.max_pixels:
        raise Problem(
            "too_many_pixels",
            f"The {name} is {width} × {height} = {width * height / 1e6:.1f} megapixels; at most "
            f"{limits.max_pixels / 1e6:g} are allowed. Make it smaller.",
        )


def read_orientation(block: bytes, name: str) -> int:
    """The orientation, 1 to 8, in an EXIF block with or without its ``Exif\\0\\0`` prefix; 1 if it cannot be read.

    As Pillow reads it: any numeric type, the first of several values, the last of several entries. Raises
    ``picture_corrupt`` where a decoder that copies all values would need more than :data:`MAX_VALUE_BYTES`.
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
    for position in range(directory + 2, directory + 2 + 12 * entries, 12):
        tag, kind, count = struct.unpack_from(order + "HHI", tiff, position)
        size, value = TYPE_SIZES.get(kind, 0) * count, position + 8
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
