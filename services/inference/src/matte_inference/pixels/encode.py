"""Pixels to bytes, without metadata."""

from __future__ import annotations

import io

import cv2
import fpng
import numpy as np
from PIL import Image

from matte_inference.pixels.resize import fitted, resized
from matte_inference.pixels.types import Bytes

CONTENT_TYPES = {"png": "image/png", "webp": "image/webp"}
PREVIEW_SIDE = 256


def encode(array: Bytes, format: str) -> bytes:  # noqa: A002 - the option's name
    """A mask (H, W), picture (H, W, 3) or cut-out (H, W, 4), uint8, as ``png``, ``webp`` or ``auto`` (png).

    PNG is lossless, by fpng (10 ms per megapixel of RGBA), masks by OpenCV. WebP keeps masks and alpha lossless,
    colors at quality 90.
    """
    if format == "webp":
        return _webp(array, quality=90)
    if array.ndim == 2:
        coded: Bytes = cv2.imencode(".png", array)[1]
        return coded.tobytes()
    png: bytes = fpng.from_ndarray(np.ascontiguousarray(array))
    return png


def preview(array: Bytes) -> bytes:
    """A WebP of the same picture, at most 256 px along its longer side: a few kilobytes."""
    height, width = fitted(*array.shape[:2], side=PREVIEW_SIDE)
    return _webp(resized(array, height, width), quality=75)


def _webp(array: Bytes, *, quality: int) -> bytes:
    sink = io.BytesIO()
    Image.fromarray(array).save(sink, "WEBP", lossless=array.ndim == 2, quality=quality, alpha_quality=100, method=1)
    return sink.getvalue()
