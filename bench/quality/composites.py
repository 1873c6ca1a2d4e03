"""Pictures with a known alpha: a photograph's colors in a drawn matte, over another photograph. Made from seeds alone.

No model here was trained on them: ``scripts/synth.py``, which makes the U-Net's training pictures, uses no photograph
and none of this code.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache

import cv2
import numpy as np
from matte_inference.pixels.arrays import Float32Array, UInt8Array, to_float32, to_uint8

from bench.quality import mattes
from bench.quality.mattes import Canvas, Rng
from bench.quality.photographs import BACKGROUNDS, SUBJECTS

KINDS = ("hair", "fur", "motion", "veil", "holes", "thin")
#: (height, width), used in turn
SIZES = ((1200, 900), (960, 1280), (1080, 1080), (1500, 1100))
_SEED = 12_000
_NOISE = 0.006


@dataclass(frozen=True, slots=True)
class Composite:
    """``picture``: a PNG; ``alpha``: uint8 (H, W); ``foreground``: the subject's own colors, uint8 (H, W, 3), known
    wherever alpha is not 0. ``subject`` and ``background`` name the photographs.
    """

    name: str
    kind: str
    subject: str
    background: str
    picture: bytes
    alpha: UInt8Array
    foreground: UInt8Array


@cache
def _photograph(name: str) -> Float32Array:
    found = SUBJECTS[name] if name in SUBJECTS else BACKGROUNDS[name]
    return to_float32(found.read())


def composites(count: int) -> Iterator[Composite]:
    """The first ``count`` composites: every kind in turn, always the same ones."""
    for number in range(count):
        yield composite(number)


def composite(number: int) -> Composite:
    rng, kind = np.random.default_rng(_SEED + number), KINDS[number % len(KINDS)]
    height, width = SIZES[(number // len(KINDS) + number) % len(SIZES)]
    subject = str(rng.choice(_SUITABLE[kind]))
    background = list(BACKGROUNDS)[(number * 3 + number // len(BACKGROUNDS)) % len(BACKGROUNDS)]
    canvas = Canvas(height, width)
    _DRAW[kind](rng, canvas)
    alpha = canvas.alpha
    color = _colors(rng, subject, alpha)
    if kind == "motion":
        alpha, color = _shaken(rng, alpha, color)
    if kind == "veil":
        cloth = mattes.veil(rng, height, width)
        behind = (1 - alpha) * cloth
        tone: Float32Array = np.array(rng.uniform(0.75, 1.0, 3), np.float32)
        total = alpha + behind
        mixed = alpha[..., None] * color + behind[..., None] * tone
        color = np.asarray(mixed / np.maximum(total, 1e-6)[..., None], np.float32)
        alpha = np.asarray(total, np.float32)
    # the truth is what 8 bits can hold
    hard, solid = to_uint8(alpha), to_uint8(color)
    weight = to_float32(hard)[..., None]
    blend = weight * to_float32(solid) + (1 - weight) * _scene(rng, background, height, width)
    seen = to_uint8(np.asarray(blend + rng.normal(0, _NOISE, blend.shape), np.float32))
    encoded = cv2.imencode(".png", cv2.cvtColor(seen, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_PNG_COMPRESSION, 1])[1]
    return Composite(f"{number + 1:02} {kind}", kind, subject, background, bytes(encoded), hard, solid)


def _scene(rng: Rng, name: str, height: int, width: int) -> Float32Array:
    """A part of a photograph that covers the picture, out of focus, further so if it shows an object of its own; gray
    textures get a tint.
    """
    photo = _photograph(name)
    blur = rng.uniform(0.008, 0.02)
    if np.array_equal(photo[..., 0], photo[..., 1]):
        photo = photo * np.array(rng.uniform(0.6, 1.1, 3), np.float32)
        blur = rng.uniform(0.002, 0.01)
    scale = max(height / photo.shape[0], width / photo.shape[1]) * rng.uniform(1.0, 1.3)
    large = cv2.resize(photo, None, fx=scale, fy=scale, interpolation=cv2.INTER_CUBIC)
    top, left = (
        int(rng.integers(0, max(1, have - want))) for have, want in zip(large.shape, (height, width), strict=False)
    )
    part = cv2.resize(large[top : top + height, left : left + width], (width, height))
    if rng.random() < 0.5:
        part = part[:, ::-1]
    blurred: Float32Array = cv2.GaussianBlur(np.clip(part, 0, 1), (0, 0), min(height, width) * blur)
    return blurred


def _colors(rng: Rng, subject: str, alpha: Float32Array) -> Float32Array:
    """A photograph's colors over the box of an alpha, float32 (H, W, 3); hairs around the body are darker."""
    height, width = alpha.shape
    left, top, wide, tall = cv2.boundingRect((alpha > 0.02).astype(np.uint8))
    part = _photograph(subject)
    y0, y1, x0, x1 = _CROPS.get(subject, (0.0, 1.0, 0.0, 1.0))
    rows, columns = part.shape[:2]
    part = part[int(y0 * rows) : int(y1 * rows), int(x0 * columns) : int(x1 * columns)]
    out = np.empty((height, width, 3), np.float32)
    out[:] = part.mean((0, 1))
    out[top : top + tall, left : left + wide] = cv2.resize(part, (wide, tall), interpolation=cv2.INTER_CUBIC)
    # structures that a body would not have: thinner than a fiftieth of the side
    element = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (max(3, min(height, width) // 50),) * 2)
    body = cv2.GaussianBlur(cv2.morphologyEx(alpha, cv2.MORPH_OPEN, element), (0, 0), 3)[..., None]
    dark = np.quantile(part.reshape(-1, 3), 0.35, axis=0).astype(np.float32)
    grain = cv2.GaussianBlur(rng.normal(0, 1, (height, width)).astype(np.float32), (0, 0), 2)[..., None]
    outer = dark * (1 + 0.8 * grain)
    mixed: Float32Array = np.clip(body * out + (1 - body) * outer, 0.02, 0.98)
    return mixed


def _shaken(rng: Rng, alpha: Float32Array, color: Float32Array) -> tuple[Float32Array, Float32Array]:
    """Motion blur that grows from one side of the picture to the other, as when an arm moves and the body does not."""
    kernel = mattes.motion_kernel(rng, min(alpha.shape) // 12)
    ramp = np.clip(np.linspace(-0.4, 1.4, alpha.shape[1], dtype=np.float32), 0, 1)[None, :]
    premultiplied = color * alpha[..., None]
    soft = alpha + ramp * (cv2.filter2D(alpha, -1, kernel) - alpha)
    light = premultiplied + ramp[..., None] * (cv2.filter2D(premultiplied, -1, kernel) - premultiplied)
    return soft, np.clip(np.where(soft[..., None] > 1e-3, light / np.maximum(soft, 1e-3)[..., None], color), 0, 1)


_DRAW: Mapping[str, Callable[[Rng, Canvas], object]] = {
    "hair": mattes.hair,
    "fur": mattes.fur,
    "motion": mattes.solid,
    "veil": mattes.bust,
    "holes": mattes.holes,
    "thin": mattes.thin,
}
_SUITABLE: Mapping[str, tuple[str, ...]] = {
    "hair": ("astronaut", "cat", "lion", "cub"),
    "fur": ("cat", "cheetah", "lion", "cub"),
    "motion": ("astronaut", "coffee", "retina", "cheetah"),
    "veil": ("astronaut", "cat", "cub"),
    "holes": ("coffee", "retina", "lion"),
    "thin": ("flower", "coffee", "cheetah"),
}
#: top, bottom, left, right of the part of a photograph that is a subject's surface
_CROPS: Mapping[str, tuple[float, float, float, float]] = {
    "astronaut": (0.04, 0.95, 0.2, 0.62),
    "coffee": (0.3, 0.75, 0.3, 0.7),
    "retina": (0.2, 0.8, 0.2, 0.8),
    "flower": (0.25, 0.78, 0.33, 0.66),
    "lion": (0.05, 0.6, 0.2, 0.7),
    "cheetah": (0.1, 0.95, 0.15, 0.85),
    "cub": (0.2, 0.9, 0.25, 0.75),
    "cat": (0.1, 0.95, 0.2, 0.75),
}
