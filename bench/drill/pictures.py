"""Test pictures, and deterministic models that need no GPU."""

from __future__ import annotations

import cv2
import numpy as np

VERSIONS = ("1.0.0", "1.1.0")
CONFIG = """
default_model: grabcut
versions:
- {model: grabcut, version: 1.0.0, family: grabcut, weight: 50, slots: 2}
- {model: grabcut, version: 1.1.0, family: grabcut, weight: 50, slots: 2, parameters: {refine: guided}}
"""
#: sides in pixels; every third picture is a noisy PNG, so that it and its result go to the object store
SIDES = (240, 320, 360)
COUNT = 12


def picture(number: int, side: int, *, noisy: bool = False) -> bytes:
    """A circle on a smooth background, different for each number: a JPEG, or a PNG with noise."""
    draw = np.random.default_rng(number)
    array = cv2.resize(draw.integers(0, 256, (6, 6, 3), dtype=np.uint8), (side, side), interpolation=cv2.INTER_CUBIC)
    color = tuple(int(c) for c in draw.integers(0, 256, 3))
    cv2.circle(array, (side // 2, side // 2), side // 6 + number % (side // 5), color, -1)
    if not noisy:
        return bytes(cv2.imencode(".jpg", array)[1].tobytes())
    noise = draw.integers(-20, 21, array.shape)
    return bytes(cv2.imencode(".png", np.clip(array + noise, 0, 255).astype(np.uint8))[1].tobytes())


def pictures() -> list[bytes]:
    return [picture(n, SIDES[n % 3], noisy=n % 3 == 2) for n in range(COUNT)]


def content_type(data: bytes) -> str:
    return "image/png" if data.startswith(b"\x89PNG") else "image/jpeg"
