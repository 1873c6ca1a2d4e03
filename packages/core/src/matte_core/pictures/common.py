"""Shared by the walkers of all formats: their result, bounded reads, and their errors."""

from __future__ import annotations

import struct
from dataclasses import dataclass

from matte_core.contracts.limits import Limits
from matte_core.errors import Problem

RESAVE = "Open it in a picture program, save it again as JPEG, PNG or WebP, and send that."


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
