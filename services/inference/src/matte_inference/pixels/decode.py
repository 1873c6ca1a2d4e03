"""Decodes pictures to sRGB. Whatever a file contains, the answer is right or a :class:`Problem`."""

from __future__ import annotations

import io
import threading
import warnings
from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np
import pi_heif
import simplejpeg
from matte_core.contracts.job import Limits
from matte_core.errors import Problem
from matte_core.pictures.probe import probe
from PIL import Image, ImageChops, ImageCms

from matte_inference.pixels.arrays import Pixels, UInt8Array

# one thread for each picture: replicas have their own
pi_heif.register_heif_opener(decode_threads=1, thumbnails=False, depth_images=False, aux_images=False)
#: Pillow's names of formats where they differ from ours
_PILLOW_FORMATS = {"HEIC": "HEIF"}
#: formats whose decoder applies the orientation
_DECODED_UPRIGHT = ("TIFF", "HEIC")

#: the process has one list of warning filters, so one thread at a time may change it
_WARNING_FILTERS = threading.Lock()

_TRUNCATED = ("truncat", "premature", "unexpected end", "not enough", "end of file")


def decode(data: bytes, limits: Limits) -> Pixels:
    """The picture in ``data``: sRGB, orientation applied, its own transparency kept.

    The bytes pass the admission check again first, so nothing is decoded that exceeds ``limits``. Raises what
    :func:`matte_core.pictures.probe.probe` raises; picture_truncated or picture_corrupt where only decoding shows it;
    unsupported_format for samples of 32 bits; out_of_memory.
    """
    picture = probe(data, limits)
    try:
        pixels = _decode_jpeg(data) if picture.format == "JPEG" else _decode_other(data, picture.format)
    except Problem:
        raise
    except MemoryError as error:
        raise Problem("out_of_memory", "The picture needs more memory than there is.") from error
    except Exception as error:  # codecs raise anything: OSError, SyntaxError, ValueError, struct.error, zlib.error, …
        if isinstance(error, EOFError) or _says_truncated(error):
            detail = "The picture's data ends before its last pixel. Send it again, whole."
            raise Problem("picture_truncated", detail) from error
        detail = f"The picture cannot be decoded ({type(error).__name__}). Save it anew."
        raise Problem("picture_corrupt", detail) from error
    if picture.format not in _DECODED_UPRIGHT:
        alpha = None if pixels.alpha is None else apply_orientation(pixels.alpha, picture.orientation)
        pixels = Pixels(apply_orientation(pixels.rgb, picture.orientation), alpha)
    if (pixels.width, pixels.height) != (picture.width, picture.height):
        raise Problem("picture_corrupt", "The picture is not as large as it says. Save it anew.")
    return pixels


def _says_truncated(error: Exception) -> bool:
    text = str(error).lower()
    return any(word in text for word in _TRUNCATED)


def apply_orientation(array: UInt8Array, orientation: int) -> UInt8Array:
    """The stored array (H, W[, 3]) turned upright by EXIF orientation 1 … 8; contiguous."""
    if 5 <= orientation <= 8:
        array = cv2.transpose(array)
    flip = {2: 1, 6: 1, 3: -1, 7: -1, 4: 0, 8: 0}.get(orientation)  # left to right, both ways, upside down
    return np.ascontiguousarray(array if flip is None else cv2.flip(array, flip))


def _decode_jpeg(data: bytes) -> Pixels:
    colors = read_jpeg_colors(data)
    if colors.components != 4:
        try:
            rgb: UInt8Array = simplejpeg.decode_jpeg(data, "RGB")
        except ValueError as error:
            if _says_truncated(error):
                raise
            # stray bytes between segments, wrong numbers of a profile's parts: every viewer shows such files
            rgb = simplejpeg.decode_jpeg(_without_profile(data), "RGB", strict=False)
        return Pixels(_rgb_to_srgb(rgb, colors.icc))
    # CMYK and YCCK. Pillow takes every such file for Adobe's, which stores ink inverted: the others are inverted back
    image = _open(data, "JPEG")
    image.load()
    ink = image if colors.adobe else ImageChops.invert(image)
    return Pixels(np.asarray(_to_srgb(ink, colors.icc)))


_STANDALONE = frozenset({0x01, *range(0xD0, 0xD9)})
_START_OF_SCAN, _END_OF_IMAGE = 0xDA, 0xD9
_PROFILE, _PROFILE_HEAD = 0xE2, b"ICC_PROFILE\0"
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}


@dataclass(frozen=True, slots=True)
class JpegColors:
    """``components`` per pixel, the embedded ``icc`` profile, and whether Adobe's marker is there."""

    components: int = 3
    icc: bytes | None = None
    adobe: bool = False


def read_jpeg_colors(data: bytes) -> JpegColors:
    """The colors of a JPEG file; malformed segments are skipped. Never raises.

    Reading the few segments here costs microseconds and, unlike Pillow, never warns or allocates for them. A profile's
    parts count as Pillow counts them: those before the frame, in the order of their numbers, whatever these are, if the
    first says how many there are.
    """
    components, adobe = 3, False
    parts: list[bytes] = []
    icc: list[bytes] = []
    for at, end in _segments(data):
        marker, body = data[at + 1], data[at + 4 : end]
        if marker in _FRAMES and len(body) >= 6:
            components, icc = body[5], sorted(parts)
        elif _is_profile(data, at) and len(body) > 14:
            parts.append(body)
        elif marker == 0xEE and body.startswith(b"Adobe"):
            adobe = True
    complete = bool(icc) and icc[0][13] == len(icc)
    return JpegColors(components, b"".join(part[14:] for part in icc) if complete else None, adobe)


def _without_profile(data: bytes) -> bytes:
    """The file without its color profile: libjpeg refuses files with a profile whose parts are misnumbered."""
    pieces, done = [], 0
    for at, end in _segments(data):
        if _is_profile(data, at):
            pieces.append(data[done:at])
            done = end
    return b"".join((*pieces, data[done:])) if pieces else data


def _is_profile(data: bytes, at: int) -> bool:
    return data[at + 1] == _PROFILE and data.startswith(_PROFILE_HEAD, at + 4)


def _segments(data: bytes) -> Iterator[tuple[int, int]]:
    """(offset of the marker, end of the body) of every segment before the first scan."""
    at = 2
    while at + 4 <= len(data) and data[at] == 0xFF:
        marker = data[at + 1]
        if marker == 0xFF or marker in _STANDALONE:  # padding, or a marker without a body
            at += 1 if marker == 0xFF else 2
            continue
        if marker in (_START_OF_SCAN, _END_OF_IMAGE):
            return
        length = int.from_bytes(data[at + 2 : at + 4], "big")
        yield at, at + 2 + length
        at += 2 + max(2, length)


def _open(data: bytes, name: str) -> Image.Image:
    """The picture, not loaded yet. Pillow's warnings, about odd metadata or many pixels, are dropped."""
    with _WARNING_FILTERS, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return Image.open(io.BytesIO(data), formats=(_PILLOW_FORMATS.get(name, name),))
        except Image.DecompressionBombError as error:  # Pillow's own bound, which limits may exceed
            raise Problem("too_many_pixels", "The picture has too many pixels.") from error


def _decode_other(data: bytes, name: str) -> Pixels:
    image = _open(data, name)
    icc = image.info.get("icc_profile")
    tags = getattr(image, "tag_v2", {})  # of TIFF, to be read before it is loaded
    bits, white_is_zero = tags.get(258, (16,)), tags.get(262) == 0
    image.load()
    # Pillow's ``convert`` clips 16-bit gray: everything from 255 on is white. Here 65535 is, or the largest value of a
    # TIFF's 10, 12 or 14 bits
    if image.mode.startswith("I;16"):
        white = 2 ** int(bits[0] if isinstance(bits, tuple) else bits) - 1
        scaled = np.asarray(image).astype(np.float32) * (255 / white)
        gray = np.clip(np.rint(scaled), 0, 255).astype(np.uint8)
        return Pixels(cv2.cvtColor(255 - gray if white_is_zero else gray, cv2.COLOR_GRAY2RGB))
    if image.mode in ("I", "F"):
        raise Problem("unsupported_format", "Pictures with 32 bits per sample are not supported; use 8 or 16.")
    alpha: UInt8Array | None = None
    if image.has_transparency_data:
        image = image.convert("RGBA")
        alpha = np.asarray(image.getchannel("A"))
        image = image.convert("RGB")
    elif image.mode in ("P", "1", "YCbCr"):
        image = image.convert("RGB")
    return Pixels(np.asarray(_to_srgb(image, icc)), alpha)


_COLOR_SPACES = {"RGB": "RGB", "CMYK": "CMYK", "L": "GRAY", "LAB": "Lab"}


def _profile(icc: bytes | None, mode: str) -> ImageCms.ImageCmsProfile | None:
    """The profile if it fits pictures of ``mode`` and is not sRGB already, else None."""
    if not icc:
        return None
    profile = ImageCms.ImageCmsProfile(io.BytesIO(icc))
    if profile.profile.xcolor_space.strip() != _COLOR_SPACES.get(mode):
        return None
    description = profile.profile.profile_description or ""
    return None if "srgb" in description.lower() else profile


def _to_srgb(image: Image.Image, icc: bytes | None) -> Image.Image:
    """An RGB picture in sRGB, through the embedded profile; a broken profile is ignored. ValueError: the mode cannot be
    converted to RGB at all.
    """
    try:
        profile = _profile(icc, image.mode)
        if profile is None and image.mode == "LAB":
            profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB"))
        if profile is not None:
            target = ImageCms.createProfile("sRGB")
            converted = ImageCms.profileToProfile(image, profile, target, outputMode="RGB")
            assert converted is not None  # only None when done in place
            return converted
    except (ImageCms.PyCMSError, OSError, ValueError):
        pass
    return image.convert("RGB")


def _rgb_to_srgb(rgb: UInt8Array, icc: bytes | None) -> UInt8Array:
    """uint8 (H, W, 3) in the profile's space to sRGB; the same array if there is nothing to convert."""
    try:
        if _profile(icc, "RGB") is None:
            return rgb
    except (ImageCms.PyCMSError, OSError, ValueError):
        return rgb
    return np.asarray(_to_srgb(Image.fromarray(rgb), icc))
