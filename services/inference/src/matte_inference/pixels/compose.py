"""Picture and alpha to the requested output: cut-out, mask or both, cropped, scaled, over a background."""

from __future__ import annotations

import math

import cv2
import numpy as np
from matte_core.contracts.options import SIZE_MEGAPIXELS, Options

from matte_inference.pixels.arrays import Float32Array, Pixels, UInt8Array, resize, to_float32, to_uint8
from matte_inference.pixels.foreground import estimate_foreground

#: alpha up to this (of 255) counts as empty: a network's faint haze is not the subject
EMPTY = 12
#: rows composed at once
_STRIP = 128


def compose(
    pixels: Pixels, alpha: UInt8Array, options: Options, background: Pixels | None = None
) -> dict[str, UInt8Array]:
    """The pictures to send, by name: ``result``, and for ``output=both`` also ``mask``.

    ``alpha``, uint8 (H, W) at the input's size, is multiplied with the input's own. A ``background`` is scaled to cover
    the result and cropped around its center; where it is transparent, ``bg_color`` shows. Masks are uint8 (H, W);
    cut-outs (H, W, 4), black where alpha is 0 so that nothing leaks; over an opaque background (H, W, 3).
    """
    rgb, alpha = _crop_and_scale(pixels, alpha, options)
    if options.effective_output == "mask":
        return {"result": alpha}
    if options.decontaminate and (pixels.alpha is None or pixels.alpha.min() == 255):  # a cut-out's colors are pure
        rgb = estimate_foreground(rgb, alpha)
    if options.bg_color is None and background is None:
        cutout = cv2.merge((*cv2.split(rgb), alpha))
        result: UInt8Array = cv2.bitwise_and(cutout, cutout, mask=alpha)
    else:
        result = _over_background(rgb, alpha, options.bg_color, background)
    return {"result": result, "mask": alpha} if options.effective_output == "both" else {"result": result}


def _crop_and_scale(pixels: Pixels, alpha: UInt8Array, options: Options) -> tuple[UInt8Array, UInt8Array]:
    """Colors, and the alpha multiplied with the input's own, cropped and scaled down as requested."""
    rgb, own = pixels.rgb, pixels.alpha
    if own is not None:
        alpha = cv2.multiply(alpha, own, scale=1 / 255)
    if options.crop:
        part = crop_box(alpha, options.crop_margin)
        rgb, alpha, own = rgb[part], alpha[part], None if own is None else own[part]
    height, width = output_size(alpha.shape[0], alpha.shape[1], options.size)
    if (height, width) == alpha.shape:
        return rgb, alpha
    if own is None:
        return resize(rgb, height, width), resize(alpha, height, width)
    # weighted by the input's alpha, so that colors under transparent pixels do not bleed into visible ones
    weight = to_float32(own)
    total = resize(rgb * weight[..., None], height, width)
    share = np.maximum(resize(weight, height, width), np.float32(1e-3))
    straight: Float32Array = total / (share[..., None] * np.float32(255))
    return to_uint8(straight), resize(alpha, height, width)


def crop_box(alpha: UInt8Array, margin: str | None) -> tuple[slice, slice]:
    """Rows and columns of the subject and its margin (``30px``, or ``10%`` of its size); all if the alpha is empty."""
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


def output_size(height: int, width: int, size: str) -> tuple[int, int]:
    """(height, width) of the result under ``options.size``: never larger than the input, never below 1."""
    most = SIZE_MEGAPIXELS.get(size, math.inf) * 1e6
    scale = min(1.0, math.sqrt(most / (height * width)))
    return (height, width) if scale == 1.0 else (max(1, int(height * scale)), max(1, int(width * scale)))


def cover(picture: Pixels, height: int, width: int) -> tuple[UInt8Array, UInt8Array]:
    """The picture's colors and alpha, scaled to cover height × width and cropped around its center."""
    scale = max(height / picture.height, width / picture.width)
    tall, wide = min(picture.height, round(height / scale)), min(picture.width, round(width / scale))
    top, left = (picture.height - tall) // 2, (picture.width - wide) // 2
    part = (slice(top, top + max(1, tall)), slice(left, left + max(1, wide)))
    rgb = resize(np.ascontiguousarray(picture.rgb[part]), height, width)
    if picture.alpha is None:
        return rgb, np.full((height, width), 255, np.uint8)
    return rgb, resize(np.ascontiguousarray(picture.alpha[part]), height, width)


def _over_background(rgb: UInt8Array, alpha: UInt8Array, color: str | None, picture: Pixels | None) -> UInt8Array:
    """The subject over its background: RGBA, or RGB if the background is opaque. In strips: floats are large."""
    plain = np.zeros(4, np.float32) if color is None else to_float32(np.frombuffer(bytes.fromhex(color), np.uint8))
    plain = np.append(plain[:3] * plain[3], plain[3])
    back = None if picture is None else cover(picture, alpha.shape[0], alpha.shape[1])
    opaque = plain[3] == 1 or (back is not None and back[1].min() == 255)
    channels = 3 if opaque else 4
    out = np.empty((*alpha.shape, channels), np.uint8)
    for top in range(0, len(alpha), _STRIP):
        rows = slice(top, top + _STRIP)
        behind = plain if back is None else _over(_premultiply(back[0][rows], back[1][rows]), plain)
        mixed = _over(_premultiply(rgb[rows], alpha[rows]), behind)
        out[rows, :, :3] = to_uint8(np.divide(mixed[..., :3], np.maximum(mixed[..., 3:], 1 / 255), dtype=np.float32))
        if not opaque:
            out[rows, :, 3] = to_uint8(mixed[..., 3])
    return out


def _premultiply(rgb: UInt8Array, alpha: UInt8Array) -> Float32Array:
    """float32 (H, W, 4) in 0 … 1."""
    weight = to_float32(alpha)[..., None]
    return np.concatenate((to_float32(rgb) * weight, weight), axis=2)


def _over(front: Float32Array, back: Float32Array) -> Float32Array:
    """Porter and Duff's operator on premultiplied colors."""
    return front + back * (1 - front[..., 3:])
