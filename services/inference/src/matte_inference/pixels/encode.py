"""Encodes pictures, without metadata."""

from __future__ import annotations

import io

import cv2
import fpng
import numpy as np
from PIL import Image

from matte_inference.pixels.arrays import UInt8Array, fit_within, resize

CONTENT_TYPES = {"png": "image/png", "webp": "image/webp"}
PREVIEW_SIDE = 256


def encode(array: UInt8Array, format: str) -> bytes:  # noqa: A002 - the option's name
    """A mask (H, W), picture (H, W, 3) or cut-out (H, W, 4), uint8, as ``png``, ``webp`` or ``auto`` (png).

    PNG is lossless, by fpng (10 ms per megapixel of RGBA), masks by OpenCV. WebP keeps masks and alpha lossless,
    colors at quality 90.
    """
    if format == "webp":
        return _webp(array, quality=90)
    if array.ndim == 2:
        encoded: UInt8Array = cv2.imencode(".png", array)[1]
        return encoded.tobytes()
    png: bytes = fpng.from_ndarray(np.ascontiguousarray(array))
    return png


def preview(array: UInt8Array) -> bytes:
    """A WebP of the same picture, at most 256 px along its longer side: a few kilobytes."""
    height, width = fit_within(*array.shape[:2], side=PREVIEW_SIDE)
    return _webp(resize(array, height, width), quality=75)


def _webp(array: UInt8Array, *, quality: int) -> bytes:
    sink = io.BytesIO()
    Image.fromarray(array).save(sink, "WEBP", lossless=array.ndim == 2, quality=quality, alpha_quality=100, method=1)
    return sink.getvalue()
