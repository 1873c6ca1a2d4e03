"""What the walkers of all formats share: the header they return, bounded reads, and their problems."""

from __future__ import annotations

import struct
from dataclasses import dataclass

from matte_core.contracts.limits import Limits
from matte_core.errors import Problem

MEND = "Open it in a picture program, save it again as JPEG, PNG or WebP, and send that."


@dataclass(frozen=True, slots=True)
class Header:
    """What a walk finds out.

    Args:
        width: stored pixels per row, before the EXIF orientation is applied.
        height: stored rows.
        orientation: EXIF orientation, 1 to 8.
    """

    width: int
    height: int
    orientation: int = 1


def truncated(name: str, what: str) -> Problem:
    """``picture_truncated``: ``what`` is the part that is cut or missing."""
    return Problem(
        "picture_truncated",
        f"The {name} ends too early: {what}. The upload or the file was probably cut off; send the whole file again.",
    )


def corrupt(name: str, what: str) -> Problem:
    """``picture_corrupt``: ``what`` is the part that is broken."""
    return Problem("picture_corrupt", f"The {name} is damaged: {what}. {MEND}")


def unsupported(what: str, mend: str = MEND) -> Problem:
    """``unsupported_format``: ``what`` names the format or its variant, with an article."""
    return Problem("unsupported_format", f"The picture is {what}, which is not supported. {mend}")


def animated(name: str, frames: str) -> Problem:
    """``picture_animated``: ``frames`` says what there is more than one of."""
    return Problem("picture_animated", f"The {name} has more than one {frames}. Send the one you want as a picture.")


def take(data: bytes, offset: int, layout: str, name: str, what: str) -> tuple[int, ...]:
    """The numbers at ``offset`` by a ``struct`` layout; beyond the end: ``picture_truncated`` naming ``what``."""
    if offset < 0 or offset + struct.calcsize(layout) > len(data):
        raise truncated(name, what)
    return struct.unpack_from(layout, data, offset)


def check_size(name: str, width: int, height: int, limits: Limits) -> None:
    """Refuse a picture without pixels (``picture_empty``) or with too many (``too_many_pixels``)."""
    if width <= 0 or height <= 0:
        raise Problem("picture_empty", f"The {name} is {width} × {height} pixels: there is nothing to see. {MEND}")
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
