"""Bytes to pixels. Whatever a file holds, the answer is right or a :class:`Problem`."""

from __future__ import annotations

import io
import threading
import warnings

import cv2
import numpy as np
import pi_heif
import simplejpeg
from matte_core.contracts.limits import Limits
from matte_core.errors import Problem
from matte_core.pictures.probe import probe
from PIL import Image, ImageChops

from matte_inference.pixels.color import rgb_to_srgb, to_srgb
from matte_inference.pixels.jpeg import Colors, read_colors, without_profile
from matte_inference.pixels.types import Bytes, Pixels

__all__ = ["Pixels", "decode", "oriented"]

# one thread for each picture: replicas have their own
pi_heif.register_heif_opener(decode_threads=1, thumbnails=False, depth_images=False, aux_images=False)
#: Pillow's names of formats where they differ from ours
_PLUGINS = {"HEIC": "HEIF"}
#: formats whose decoder has turned the picture already
_TURNED = ("TIFF", "HEIC")

#: the process has one list of warning filters, so one thread at a time may change it
_FILTERS = threading.Lock()

_TRUNCATED = ("truncat", "premature", "unexpected end", "not enough", "end of file")


def decode(data: bytes, limits: Limits) -> Pixels:
    """The picture in ``data``: sRGB, orientation applied, its own transparency kept.

    16-bit gray is scaled: 65535, or the largest value of a TIFF's 10, 12 or 14 bits, is white. Pillow's ``convert``
    cuts instead: everything from 255 on is white, and a photograph of a scanner would be a white sheet.

    The bytes pass the admission check again first, so nothing is decoded that exceeds ``limits``.

    Raises:
        Problem: what :func:`matte_core.pictures.probe.probe` raises; picture_truncated or picture_corrupt where
            only decoding shows it; unsupported_format for samples of 32 bits; out_of_memory.
    """
    picture = probe(data, limits)
    try:
        pixels = _decode_jpeg(data) if picture.format == "JPEG" else _decode_other(data, picture.format)
    except Problem:
        raise
    except MemoryError as error:
        raise Problem("out_of_memory", "The picture needs more memory than there is.") from error
    except Exception as error:  # codecs raise anything: OSError, SyntaxError, ValueError, struct.error, zlib.error, …
        raise _broken(error) from error
    if picture.format not in _TURNED:
        alpha = None if pixels.alpha is None else oriented(pixels.alpha, picture.orientation)
        pixels = Pixels(oriented(pixels.rgb, picture.orientation), alpha)
    if (pixels.width, pixels.height) != (picture.width, picture.height):
        raise Problem("picture_corrupt", "The picture is not as large as it says. Save it anew.")
    return pixels


def _broken(error: Exception) -> Problem:
    text = str(error).lower()
    if isinstance(error, EOFError) or any(word in text for word in _TRUNCATED):
        return Problem("picture_truncated", "The picture's data ends before its last pixel. Send it again, whole.")
    return Problem("picture_corrupt", f"The picture cannot be decoded ({type(error).__name__}). Save it anew.")


# --- JPEG -------------------------------------------------------------------------------------------------------


def _decode_jpeg(data: bytes) -> Pixels:
    colors = read_colors(data)
    return Pixels(_jpeg_cmyk(data, colors) if colors.components == 4 else rgb_to_srgb(_jpeg_rgb(data), colors.icc))


def _jpeg_rgb(data: bytes) -> Bytes:
    try:
        return simplejpeg.decode_jpeg(data, "RGB")  # type: ignore[no-any-return]
    except ValueError as error:
        if any(word in str(error).lower() for word in _TRUNCATED):
            raise
        # stray bytes between segments, wrong numbers of a profile's parts: every viewer shows such files
        return simplejpeg.decode_jpeg(without_profile(data), "RGB", strict=False)  # type: ignore[no-any-return]


def _jpeg_cmyk(data: bytes, colors: Colors) -> Bytes:
    """CMYK and YCCK. Pillow takes every such file for Adobe's, which stores ink inverted: mend the others."""
    image = _opened(data, "JPEG")
    image.load()
    ink = image if colors.adobe else ImageChops.invert(image)
    return np.asarray(to_srgb(ink, colors.icc))


# --- the other formats --------------------------------------------------------------------------------------------


def _opened(data: bytes, name: str) -> Image.Image:
    """The picture, not loaded yet. Readers' warnings, about odd metadata or many pixels, are dropped."""
    with _FILTERS, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return Image.open(io.BytesIO(data), formats=(_PLUGINS.get(name, name),))
        except Image.DecompressionBombError as error:  # Pillow's own bound, which limits may exceed
            raise Problem("too_many_pixels", "The picture has too many pixels.") from error


def _decode_other(data: bytes, name: str) -> Pixels:
    image = _opened(data, name)
    icc = image.info.get("icc_profile")
    depth = _depth(image)
    image.load()
    if image.mode.startswith("I;16"):
        return Pixels(cv2.cvtColor(_eight_bit(image, *depth), cv2.COLOR_GRAY2RGB))
    if image.mode in ("I", "F"):
        raise Problem("unsupported_format", "Pictures with 32 bits per sample are not supported; use 8 or 16.")
    alpha: Bytes | None = None
    if image.has_transparency_data:
        image = image.convert("RGBA")
        alpha = np.asarray(image.getchannel("A"))
        image = image.convert("RGB")
    elif image.mode in ("P", "1", "YCbCr"):
        image = image.convert("RGB")
    return Pixels(np.asarray(to_srgb(image, icc)), alpha)


def _depth(image: Image.Image) -> tuple[int, bool]:
    """Bits that a 16-bit gray sample uses, and whether white is 0: TIFF says both in tags 258 and 262."""
    tags = getattr(image, "tag_v2", {})
    bits = tags.get(258, (16,))
    return int(bits[0] if isinstance(bits, tuple) else bits), tags.get(262) == 0


def _eight_bit(image: Image.Image, bits: int, white_is_zero: bool) -> Bytes:  # noqa: FBT001 - one call, just above
    wide = np.asarray(image).astype(np.float32)
    gray = np.clip(np.rint(wide * (255 / (2**bits - 1))), 0, 255).astype(np.uint8)
    return 255 - gray if white_is_zero else gray  # type: ignore[no-any-return]


def oriented(array: Bytes, orientation: int) -> Bytes:
    """The stored array (H, W[, 3]) as it is meant to be seen, by EXIF orientation 1 … 8; contiguous."""
    match orientation:
        case 2:
            turned = cv2.flip(array, 1)
        case 3:
            turned = cv2.rotate(array, cv2.ROTATE_180)
        case 4:
            turned = cv2.flip(array, 0)
        case 5:
            turned = cv2.transpose(array)
        case 6:
            turned = cv2.rotate(array, cv2.ROTATE_90_CLOCKWISE)
        case 7:
            turned = cv2.flip(cv2.rotate(array, cv2.ROTATE_90_CLOCKWISE), 0)
        case 8:
            turned = cv2.rotate(array, cv2.ROTATE_90_COUNTERCLOCKWISE)
        case _:
            turned = array
    return np.ascontiguousarray(turned)
