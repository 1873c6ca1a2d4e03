"""The format, size and completeness of a picture, found without decoding it."""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Mapping
from functools import partial

from matte_core.contracts.job import Limits, Picture
from matte_core.errors import Problem
from matte_core.pictures import bmp, gif, heif, jpeg, png, tiff, webp
from matte_core.pictures.common import Header, corrupt, truncated, unsupported

_WALKERS: Mapping[str, Callable[[bytes, Limits], Header]] = {
    "JPEG": jpeg.walk,
    "PNG": png.walk,
    "WEBP": webp.walk,
    "GIF": gif.walk,
    "BMP": bmp.walk,
    "TIFF": tiff.walk,
    "AVIF": partial(heif.walk, name="AVIF"),
    "HEIC": partial(heif.walk, name="HEIC"),
}


#: offset, bytes and name
_Magic = tuple[int, bytes, str]
_SUPPORTED = (
    (0, b"\xff\xd8\xff", "JPEG"),
    (0, b"\x89PNG\r\n\x1a\n", "PNG"),
    (0, b"GIF87a", "GIF"),
    (0, b"GIF89a", "GIF"),
    (8, b"WEBP", "WEBP"),  # after RIFF and the size
    (0, b"BM", "BMP"),
    (0, b"II*\0", "TIFF"),
    (0, b"MM\0*", "TIFF"),
    (0, b"II+\0", "TIFF"),
    (0, b"MM\0+", "TIFF"),
)
_RAW = "a camera RAW file"
#: looked up before :data:`_SUPPORTED`, as some look like a TIFF at first
_UNSUPPORTED = (
    (8, b"CR\x02\0", _RAW),
    (4, b"ftypcrx ", _RAW),
    (0, b"FUJIFILMCCD-RAW", _RAW),
    (0, b"IIRO", _RAW),
    (0, b"IIRS", _RAW),
    (0, b"MMOR", _RAW),
    (0, b"IIU\0", _RAW),
    (0, b"\0MRM", _RAW),
    (0, b"FOVb", _RAW),
    (0, b"II\xbc", "a JPEG XR file"),
    (0, b"\xff\x0a", "a JPEG XL file"),
    (0, b"\0\0\0\x0cJXL \r\n\x87\n", "a JPEG XL file"),
    (0, b"\0\0\0\x0cjP  \r\n\x87\n", "a JPEG 2000 file"),
    (0, b"\xff\x4f\xff\x51", "a JPEG 2000 file"),
    (0, b"8BPS", "a Photoshop file"),
    (0, b"gimp xcf", "a GIMP file"),
    (0, b"\0\0\1\0", "an icon (ICO) file"),
    (0, b"\0\0\2\0", "a cursor (CUR) file"),
    (0, b"icns", "an icon (ICNS) file"),
    (0, b"\x76\x2f\x31\x01", "an OpenEXR file"),
    (0, b"#?RADIANCE", "a Radiance HDR file"),
    (0, b"#?RGBE", "a Radiance HDR file"),
    (0, b"DDS ", "a DDS texture"),
    (0, b"qoif", "a QOI file"),
    (0, b"\x8aMNG", "an MNG animation"),
    (0, b"%!PS", "a PostScript file"),
    (0, b"AT&TFORM", "a DjVu file"),
    (0, b"SIMPLE  =", "a FITS file"),
    (128, b"DICM", "a DICOM file"),
)
_NO_PICTURES = (
    (0, b"%PDF", "a PDF document"),
    (0, b"PK\3\4", "a ZIP archive or an office document"),
    (0, b"\x7fELF", "a program"),
    (0, b"MZ", "a program"),
    (0, b"\x1f\x8b", "a gzip archive"),
    (0, b"Rar!", "a RAR archive"),
    (0, b"7z\xbc\xaf", "a 7-Zip archive"),
    (4, b"ftyp", "a video"),
    (0, b"\x1aE\xdf\xa3", "a video"),
    (0, b"ID3", "a sound file"),
    (8, b"WAVE", "a sound file"),
    (8, b"AVI ", "a video"),
)
#: brands of ISO base media files; those of a codec come before the general ones
_BRANDS = ((re.compile(rb"avif|avis"), "AVIF"), (re.compile(rb"hei[cxms]|hev[cxms]|mif1|msf1"), "HEIC"))
_NETPBM = re.compile(rb"P[1-7]\s+[#\dW]|Pf\s|PF\s")
_SVG = re.compile(
    rb"\A(?:\xef\xbb\xbf)?\s*(?:<\?xml[^>]{0,200}>\s*)?(?:<!--(?:(?!-->).)*-->\s*|<!DOCTYPE svg[^>]*>\s*)*<svg",
    re.IGNORECASE | re.DOTALL,
)
_HTML = re.compile(rb"\A(?:\xef\xbb\xbf)?\s*<(?:!doctype html|html|head|body|\?xml|!--)", re.IGNORECASE)
_HEAD = 1024


def probe(data: bytes, limits: Limits) -> Picture:
    """Checks a picture before anything is stored or decoded: its format, its size, and that it is complete.

    Pure and thread-safe; about 0.3 ms for a megapixel JPEG. The structure is walked to its end, but no pixel is
    decoded and no memory is allocated by what the file declares. Pillow would do that: opening a file inflates PNG
    text and color profiles, copies every EXIF value, allocates the canvas of a WebP, and warns process-wide.

    Raises ``payload_too_large``, ``picture_empty``, ``not_a_picture``, ``unsupported_format``, ``too_many_pixels``,
    ``picture_truncated``, ``picture_corrupt`` or ``picture_animated``; nothing else.
    """
    if len(data) > limits.max_bytes:
        raise Problem(
            "payload_too_large",
            f"The picture has {len(data)} bytes; at most {limits.max_bytes} are allowed. "
            "Make it smaller or save it with stronger compression.",
        )
    if not data:
        raise Problem("picture_empty", "The picture has no bytes. Choose the file again and send it whole.")
    name = sniff(data)
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


def sniff(data: bytes) -> str:
    """The format of a supported picture: JPEG, PNG, WEBP, GIF, BMP, TIFF, AVIF or HEIC.

    Raises ``unsupported_format`` for other pictures, ``not_a_picture``, or ``picture_truncated`` where the data ends
    inside a signature.
    """
    head = data[:_HEAD]
    other = _lookup(_UNSUPPORTED, head)
    if other is None and _NETPBM.match(head):
        other = "a Netpbm (PPM) file"
    if other is None and _SVG.match(head):
        other = "an SVG drawing"
    if other is not None:
        raise unsupported(other)

    name = _lookup(_SUPPORTED, head)
    if head.startswith(b"ftyp", 4):
        brands = head[8 : max(16, min(int.from_bytes(head[:4], "big"), 256))]
        name = next((name for pattern, name in _BRANDS if pattern.search(brands)), name)
    if name is not None and (name != "WEBP" or head.startswith(b"RIFF")):
        return name

    for offset, magic, name in _SUPPORTED:
        if offset == 0 and 2 <= len(data) < len(magic) and magic.startswith(data):
            raise truncated(name, "only the first bytes are there")
    if data.startswith(b"RIFF") and len(data) < 12:
        raise truncated("WebP", "only the first bytes are there")

    guess = _lookup(_NO_PICTURES, head)
    if guess is None and _HTML.match(head):
        guess = "a web page"
    if guess is None and head.isascii() and not re.search(rb"[\x00-\x08\x0e-\x1f]", head):
        guess = "text"
    appearance = f"looks like {guess}" if guess else "begins like no picture format"
    raise Problem("not_a_picture", f"The file {appearance}. Send a JPEG, PNG, WebP, HEIC, AVIF, BMP, TIFF or GIF.")


def _lookup(table: tuple[_Magic, ...], head: bytes) -> str | None:
    return next((name for offset, magic, name in table if head.startswith(magic, offset)), None)
