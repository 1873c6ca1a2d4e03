"""Picture and alpha to what was asked for: cut-out, mask or both, cropped, sized, before a background."""

from __future__ import annotations

import math

import cv2
import numpy as np
from matte_core.contracts.options import SIZE_MEGAPIXELS, Options

from matte_inference.pixels.foreground import estimate_foreground
from matte_inference.pixels.resize import resized
from matte_inference.pixels.types import Bytes, Floats, Pixels, bytes_of, floats

#: alpha up to this (of 255) counts as empty: a network's faint haze is not the subject
EMPTY = 12
#: rows composed at once
_STRIP = 128
_NOTHING = np.zeros(4, np.float32)


def compose(pixels: Pixels, alpha: Bytes, options: Options, background: Pixels | None = None) -> dict[str, Bytes]:
    """The pictures to send, by name: ``result``, and for ``output=both`` also ``mask``.

    Args:
        pixels: the input.
        alpha: uint8 (H, W), the input's size; multiplied with the input's own alpha.
        options: what was asked for.
        background: a picture behind the cut-out, scaled to cover it and cut at its center; where it is
            transparent, ``bg_color`` shows.

    Returns:
        Masks are uint8 (H, W); cut-outs (H, W, 4), black where alpha is 0 so that nothing of the background
        leaks; before an opaque background (H, W, 3).
    """
    rgb, alpha = _arranged(pixels, alpha, options)
    files: dict[str, Bytes] = {}
    if options.effective_output == "mask":
        return {"result": alpha}
    if options.decontaminate:
        rgb = estimate_foreground(rgb, alpha)
    bare = options.bg_color is None and background is None
    files["result"] = _cut(rgb, alpha) if bare else _laid(rgb, alpha, options.bg_color, background)
    if options.effective_output == "both":
        files["mask"] = alpha
    return files


# --- crop and size ------------------------------------------------------------------------------------------------


def _arranged(pixels: Pixels, alpha: Bytes, options: Options) -> tuple[Bytes, Bytes]:
    """Colors and whole alpha, cropped and scaled down as asked."""
    if pixels.alpha is not None:
        alpha = cv2.multiply(alpha, pixels.alpha, scale=1 / 255)
    rgb, own = pixels.rgb, pixels.alpha
    if options.crop:
        part = crop_box(alpha, options.crop_margin)
        rgb, alpha, own = rgb[part], alpha[part], None if own is None else own[part]
    height, width = sized(alpha.shape[0], alpha.shape[1], options.size)
    if (height, width) == alpha.shape:
        return rgb, alpha
    return _scaled(rgb, own, height, width), resized(alpha, height, width)


def _scaled(rgb: Bytes, own: Bytes | None, height: int, width: int) -> Bytes:
    """Scaled colors; what lies under transparent input pixels does not bleed into visible ones."""
    if own is None:
        return resized(rgb, height, width)
    weight = floats(own)
    total = resized(rgb * weight[..., None], height, width)
    share = np.maximum(resized(weight, height, width), np.float32(1e-3))
    straight: Floats = total / (share[..., None] * np.float32(255))
    return bytes_of(straight)


def crop_box(alpha: Bytes, margin: str | None) -> tuple[slice, slice]:
    """Rows and columns of the subject and its margin (``30px``, or ``10%`` of the subject's size), in the picture.

    An empty alpha keeps the whole picture.
    """
    left, top, width, height = cv2.boundingRect((alpha > EMPTY).view(np.uint8))
    if not width:
        return slice(None), slice(None)
    x, y = _margin(margin, width), _margin(margin, height)
    return slice(max(0, top - y), top + height + y), slice(max(0, left - x), left + width + x)


def _margin(text: str | None, length: int) -> int:
    if not text:
        return 0
    if text.endswith("%"):
        return round(float(text[:-1]) / 100 * length)
    return round(float(text.removesuffix("px")))


def sized(height: int, width: int, size: str) -> tuple[int, int]:
    """(height, width) of the result under ``options.size``: never larger than it was, never below 1."""
    most = SIZE_MEGAPIXELS.get(size, math.inf) * 1e6
    scale = min(1.0, math.sqrt(most / (height * width)))
    return (height, width) if scale == 1.0 else (max(1, int(height * scale)), max(1, int(width * scale)))


# --- background ---------------------------------------------------------------------------------------------------


def cover(picture: Pixels, height: int, width: int) -> tuple[Bytes, Bytes]:
    """The picture's colors and alpha, scaled to cover height × width, its center kept."""
    scale = max(height / picture.height, width / picture.width)
    tall, wide = min(picture.height, round(height / scale)), min(picture.width, round(width / scale))
    top, left = (picture.height - tall) // 2, (picture.width - wide) // 2
    part = (slice(top, top + max(1, tall)), slice(left, left + max(1, wide)))
    rgb = resized(np.ascontiguousarray(picture.rgb[part]), height, width)
    if picture.alpha is None:
        return rgb, np.full((height, width), 255, np.uint8)
    return rgb, resized(np.ascontiguousarray(picture.alpha[part]), height, width)


def _cut(rgb: Bytes, alpha: Bytes) -> Bytes:
    cut = cv2.merge((*cv2.split(rgb), alpha))
    clean: Bytes = cv2.bitwise_and(cut, cut, mask=alpha)
    return clean


def _laid(rgb: Bytes, alpha: Bytes, color: str | None, picture: Pixels | None) -> Bytes:
    """The subject over its background: RGBA, or RGB where nothing shines through. Strip by strip: floats are large."""
    plain = _NOTHING if color is None else floats(np.frombuffer(bytes.fromhex(color), np.uint8))
    plain = np.append(plain[:3] * plain[3], plain[3])
    back = None if picture is None else cover(picture, alpha.shape[0], alpha.shape[1])
    opaque = plain[3] == 1 or (back is not None and back[1].min() == 255)
    channels = 3 if opaque else 4
    out = np.empty((*alpha.shape, channels), np.uint8)
    for top in range(0, len(alpha), _STRIP):
        rows = slice(top, top + _STRIP)
        behind = plain if back is None else _over(_premultiplied(back[0][rows], back[1][rows]), plain)
        mixed = _over(_premultiplied(rgb[rows], alpha[rows]), behind)
        out[rows, :, :3] = bytes_of(np.divide(mixed[..., :3], np.maximum(mixed[..., 3:], 1 / 255), dtype=np.float32))
        if not opaque:
            out[rows, :, 3] = bytes_of(mixed[..., 3])
    return out


def _premultiplied(rgb: Bytes, alpha: Bytes) -> Floats:
    """float32 (H, W, 4) in 0 … 1."""
    weight = floats(alpha)[..., None]
    return np.concatenate((floats(rgb) * weight, weight), axis=2)


def _over(front: Floats, back: Floats) -> Floats:
    """Porter and Duff's operator on premultiplied colors."""
    return front + back * (1 - front[..., 3:])
