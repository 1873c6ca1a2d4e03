from __future__ import annotations

import struct
from collections.abc import Callable, Mapping

from matte_core.contracts.job import Picture
from matte_core.contracts.limits import Limits
from matte_core.errors import Problem
from matte_core.pictures import bmp, gif, heif, jpeg, png, sniff, tiff, webp
from matte_core.pictures.common import Header, corrupt, unsupported

_WALKERS: Mapping[str, Callable[[bytes, Limits], Header]] = {
    sniff.JPEG: jpeg.walk,
    sniff.PNG: png.walk,
    sniff.WEBP: webp.walk,
    sniff.GIF: gif.walk,
    sniff.BMP: bmp.walk,
    sniff.TIFF: tiff.walk,
    sniff.AVIF: heif.walk_avif,
    sniff.HEIC: heif.walk_heic,
}


def probe(data: bytes, limits: Limits) -> Picture:
    """Checks a picture before anything is stored or decoded: its format, its size, and that it is complete.

    Pure and thread-safe; about 0.3 ms for a megapixel JPEG. The structure is walked to its end, but no pixel is
    decoded and no memory is allocated by what the file declares. Pillow would do that: opening a file inflates PNG
    text and color profiles, copies every EXIF value, allocates the canvas of a WebP, and warns process-wide.

    Args:
        data: the file. Its name and media type do not count.
        limits: on bytes, pixels and sides, and the accepted formats.

    Raises:
        Problem: ``payload_too_large``, ``picture_empty``, ``not_a_picture``, ``unsupported_format``,
            ``too_many_pixels``, ``picture_truncated``, ``picture_corrupt`` or ``picture_animated``; nothing else.
    """
    if len(data) > limits.max_bytes:
        raise Problem(
            "payload_too_large",
            f"The picture has {len(data)} bytes; at most {limits.max_bytes} are allowed. "
            "Make it smaller or save it with stronger compression.",
        )
    if not data:
        raise Problem("picture_empty", "The picture has no bytes. Choose the file again and send it whole.")
    name = sniff.sniff(data)
    if name not in limits.formats:
        raise unsupported(f"a {name} file", f"Send one of {', '.join(limits.formats)}.")
    try:
        header = _WALKERS[name](data, limits)
    except (struct.error, IndexError, ValueError, OverflowError, MemoryError) as error:
        raise corrupt(name, "its structure cannot be read") from error
    width, height = header.width, header.height
    if header.orientation >= 5:  # rotated by a quarter turn
        width, height = height, width
    return Picture(format=name, width=width, height=height, orientation=header.orientation)
