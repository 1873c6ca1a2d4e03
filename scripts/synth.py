"""Pictures with an exactly known alpha, made from a seed alone: what the U-Net learns from.

A subject (blobs, polygons, limbs, rings, hair) with its own texture and light stands before a background of noise
octaves, gradients, stripes or clutter, mostly out of focus; then comes what a camera does: blur, noise, JPEG.
No photograph is used.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

Rng = np.random.Generator
Float32Array = NDArray[Any]


def sample(seed: int, size: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """A picture (size, size, 3) and its alpha (size, size), both uint8, from the seed."""
    rng = np.random.default_rng(seed)
    alpha = subject(rng, size)
    front = _lit(rng, _materials(rng, size), size)
    back, weight = background(rng, size), alpha[..., None]
    if rng.random() < 0.35:  # a shadow
        shift = np.array(((1, 0, rng.normal(0, 0.05) * size), (0, 1, abs(rng.normal(0, 0.05)) * size)), np.float32)
        soft = cv2.GaussianBlur(cv2.warpAffine(alpha, shift, (size, size)), (0, 0), size * rng.uniform(0.01, 0.06))
        back = back * (1 - soft[..., None] * np.float32(rng.uniform(0.2, 0.6)))
    inside = (front * weight).sum((0, 1)) / (weight.sum() + 1e-6)
    outside = (back * (1 - weight)).sum((0, 1)) / ((1 - weight).sum() + 1e-6)
    if float(np.linalg.norm(inside - outside)) <= 0.15:  # the subject would be indistinguishable from the background
        front = front + np.full(3, 0.25 * rng.choice((-1.0, 1.0)), np.float32)
    picture = weight * front + (1 - weight) * back
    return _camera(rng, picture), np.rint(alpha * 255).astype(np.uint8)


def octaves(rng: Rng, size: int, channels: int = 1, *, coarse: int = 2, falloff: float = 0.55) -> Float32Array:
    """Noise summed over doubling frequencies, (size, size, channels), about -1 … 1."""
    total = np.zeros((size, size, channels), np.float32)
    cells, gain = coarse, 1.0
    while cells <= size:
        grid = rng.uniform(-1, 1, (cells + 1, cells + 1, channels)).astype(np.float32)
        total += gain * cv2.resize(grid, (size, size), interpolation=cv2.INTER_CUBIC).reshape(size, size, channels)
        cells, gain = cells * 2, gain * falloff
    return total


def _color(rng: Rng) -> Float32Array:
    hsv = np.array([[[rng.uniform(0, 360), rng.beta(1.3, 1.6), rng.beta(1.6, 1.3)]]], np.float32)
    return cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB)[0, 0]  # type: ignore[no-any-return]


def _ramp(rng: Rng, size: int) -> Float32Array:
    y, x = np.mgrid[-1 : 1 : size * 1j, -1 : 1 : size * 1j].astype(np.float32)
    turn = rng.uniform(0, 2 * np.pi)
    ramp: Float32Array = x * np.float32(np.cos(turn)) + y * np.float32(np.sin(turn))
    return ramp


def texture(rng: Rng, size: int) -> Float32Array:
    """One material, (size, size, 3) in 0 … 1: plain, mottled, two-colored or striped."""
    one, two, kind, falloff = _color(rng), _color(rng), rng.random(), rng.uniform(0.3, 0.85)
    if kind < 0.25:
        mix: Float32Array = np.zeros((size, size), np.float32)
    elif kind < 0.65:
        mix = 0.5 + 0.5 * octaves(rng, size, coarse=int(rng.integers(1, 8)), falloff=falloff)[..., 0]
    elif kind < 0.8:
        edge = octaves(rng, size, coarse=int(rng.integers(1, 6)), falloff=0.4)[..., 0]
        mix = 1 / (1 + np.exp(-edge * rng.uniform(3, 25)))
    else:
        wave = np.sin(_ramp(rng, size) * rng.uniform(8, 50) + octaves(rng, size)[..., 0] * rng.uniform(0, 2))
        other = np.sin(_ramp(rng, size) * rng.uniform(8, 50)) if rng.random() < 0.4 else 1.0
        mix = 0.5 + 0.5 * np.tanh(wave * other * rng.uniform(1, 6)).astype(np.float32)
    base: Float32Array = one + (two - one) * np.clip(mix, 0, 1)[..., None]
    grain = octaves(rng, size, coarse=int(rng.integers(4, 24)), falloff=falloff)
    return base + grain * np.float32(rng.uniform(0, 0.12))


def _materials(rng: Rng, size: int) -> Float32Array:
    """One to three materials side by side, like skin, cloth and hair."""
    whole = texture(rng, size)
    for _ in range(int(rng.choice(3, p=(0.45, 0.35, 0.2)))):
        edge = _ramp(rng, size) - rng.uniform(-0.4, 0.4) + 0.3 * octaves(rng, size, falloff=0.3)[..., 0]
        part = 1 / (1 + np.exp(-np.clip(edge * 60, -50, 50)))[..., None].astype(np.float32)
        whole = whole + part * (texture(rng, size) - whole)
    return whole


def _lit(rng: Rng, material: Float32Array, size: int) -> Float32Array:
    light = 1 + _ramp(rng, size) * rng.uniform(0, 0.35) + octaves(rng, size, falloff=0.4)[..., 0] * rng.uniform(0, 0.2)
    return material * light[..., None].astype(np.float32)


def _cluttered(rng: Rng, size: int) -> Float32Array:
    """Many small things anywhere, which are not the subject however sharp."""
    scene = texture(rng, size)
    for _ in range(int(rng.integers(3, 14))):
        reach, where = rng.uniform(0.03, 0.2), rng.uniform(0, 1, 2)
        mask = _filled(size, _outline(rng, where, reach))[..., None]
        scene = scene + mask * (_color(rng) - scene) * np.float32(rng.uniform(0.4, 1))
    return scene


def _parted(rng: Rng, size: int) -> Float32Array:
    """Two or three regions such as ground, wall and sky."""
    scene = texture(rng, size)
    for _ in range(int(rng.integers(1, 3))):
        edge = _ramp(rng, size) - rng.uniform(-0.6, 0.6) + octaves(rng, size, falloff=0.4)[..., 0] * rng.uniform(0, 0.2)
        side = 1 / (1 + np.exp(-np.clip(edge * rng.uniform(20, 90), -50, 50)))[..., None].astype(np.float32)
        scene = scene + side * (texture(rng, size) - scene)
    return scene


def _graded(rng: Rng, size: int) -> Float32Array:
    one, two = _color(rng), _color(rng)
    return one + (two - one) * (0.5 + 0.5 * _ramp(rng, size))[..., None]


def background(rng: Rng, size: int) -> Float32Array:
    """(size, size, 3), about 0 … 1; out of focus two times in three."""
    kinds: tuple[Callable[[Rng, int], Float32Array], ...] = (texture, _cluttered, _parted, _graded)
    scene = _lit(rng, kinds[rng.choice(4, p=(0.25, 0.35, 0.25, 0.15))](rng, size), size)
    if rng.random() < 0.65:
        scene = cv2.GaussianBlur(scene, (0, 0), size * rng.uniform(0.005, 0.05))
    return scene


def _outline(rng: Rng, center: NDArray[np.float64], reach: float) -> NDArray[np.float64]:
    """A closed outline (n, 2) around ``center``, in units of the side: a wavy blob, or one time in three a polygon."""
    angle = np.linspace(0, 2 * np.pi, 90, endpoint=False)
    if rng.random() < 0.33:
        angle = np.sort(rng.uniform(0, 2 * np.pi, int(rng.integers(3, 10))))
        radius = rng.uniform(0.7, 1.1, len(angle))
    else:
        radius = np.ones_like(angle)
        for k in range(1, 7):
            radius += rng.normal(0, 0.22 / k) * np.cos(k * angle + rng.uniform(0, 2 * np.pi))
    stretch = np.array((1.0, rng.uniform(0.5, 1.6)))
    turn = rng.uniform(0, 2 * np.pi)
    spin = np.array(((np.cos(turn), -np.sin(turn)), (np.sin(turn), np.cos(turn))))
    ring = reach * radius.clip(0.2)[:, None] * np.stack((np.cos(angle), np.sin(angle)), axis=1) * stretch
    return center + ring @ spin.T  # type: ignore[no-any-return]


def _points(size: int, outline: NDArray[np.float64]) -> NDArray[np.int32]:
    return np.rint(outline * size * 16).astype(np.int32)


def _filled(size: int, outline: NDArray[np.float64]) -> Float32Array:
    mask = np.zeros((size, size), np.uint8)
    cv2.fillPoly(mask, [_points(size, outline)], 255, cv2.LINE_AA, shift=4)
    return mask.astype(np.float32) / 255


def _line(mask: NDArray[np.uint8], path: NDArray[np.float64], width: float) -> None:
    points, thick = [_points(mask.shape[0], path)], max(1, round(width))
    cv2.polylines(mask, points, isClosed=False, color=255, thickness=thick, lineType=cv2.LINE_AA, shift=4)


def _blobs(rng: Rng, size: int) -> Float32Array:
    center, reach = 0.5 + rng.normal(0, 0.09, 2), rng.uniform(0.14, 0.38)
    mask = _filled(size, _outline(rng, center, reach))
    for _ in range(int(rng.integers(0, 4))):
        near = center + rng.normal(0, 0.7, 2) * reach
        mask = np.maximum(mask, _filled(size, _outline(rng, near, reach * rng.uniform(0.3, 0.8))))
    return mask


def _limbs(rng: Rng, size: int, center: NDArray[np.float64], reach: float) -> Float32Array:
    mask = np.zeros((size, size), np.uint8)
    for _ in range(int(rng.integers(1, 6))):
        turn, bend = rng.uniform(0, 2 * np.pi), rng.normal(0, 0.6)
        along = np.linspace(0, reach * rng.uniform(1.0, 2.2), 9)[:, None]
        heading = turn + bend * np.linspace(0, 1, 9)
        _line(mask, center + along * np.stack((np.cos(heading), np.sin(heading)), 1), size * rng.uniform(0.015, 0.1))
    return mask.astype(np.float32) / 255


def _branched(rng: Rng, size: int) -> Float32Array:
    center, reach = 0.5 + rng.normal(0, 0.07, 2), rng.uniform(0.14, 0.28)
    return np.maximum(_filled(size, _outline(rng, center, reach)), _limbs(rng, size, center, reach))


def _bust(rng: Rng, size: int) -> Float32Array:
    """Head, neck and shoulders cut off by the frame, or a whole standing figure."""
    x, y, head = rng.uniform(0.35, 0.65), rng.uniform(0.2, 0.42), rng.uniform(0.08, 0.17)
    mask = _filled(size, _outline(rng, np.array((x, y)), head))
    wide, foot = head * rng.uniform(1.4, 3), rng.choice((1.1, rng.uniform(0.75, 1.0)))
    lean = rng.normal(0, 0.05)
    torso = np.array([
        (x - 0.4 * head, y), (x + 0.4 * head, y), (x + 0.5 * head, y + 1.2 * head), (x + wide, y + 1.9 * head),
        (x + wide * 1.2 + lean, foot), (x - wide * 1.2 + lean, foot), (x - wide, y + 1.9 * head),
        (x - 0.5 * head, y + 1.2 * head),
    ])  # fmt: skip
    mask = np.maximum(mask, _filled(size, torso))
    if rng.random() < 0.5:
        mask = np.maximum(mask, _limbs(rng, size, np.array((x, y + 2.2 * head)), head))
    return mask


def _vessel(rng: Rng, size: int) -> Float32Array:
    """A body with a ring as a handle: the background shows through."""
    center, reach = 0.5 + rng.normal(0, 0.06, 2), rng.uniform(0.14, 0.28)
    mask = _filled(size, _outline(rng, center, reach))
    ring = np.zeros((size, size), np.uint8)
    at = center + reach * np.array((rng.choice((-1.0, 1.0)), rng.normal(0, 0.3)))
    axes = reach * rng.uniform(0.3, 0.7, 2)
    turn = np.linspace(0, 2 * np.pi, 40)[:, None]
    _line(ring, at + axes * np.concatenate((np.cos(turn), np.sin(turn)), 1), size * rng.uniform(0.015, 0.06))
    return np.maximum(mask, ring.astype(np.float32) / 255)


def _filling(rng: Rng, size: int) -> Float32Array:
    """A close-up cut off by the frame on one or more sides."""
    center, reach = 0.5 + rng.normal(0, 0.22, 2), rng.uniform(0.38, 0.6)
    return np.maximum(_filled(size, _outline(rng, center, reach)), _limbs(rng, size, center, reach * 0.6))


def _haired(rng: Rng, mask: Float32Array) -> Float32Array:
    """Strands that grow outwards from the mask's edge."""
    size = mask.shape[0]
    edges, _ = cv2.findContours((mask > 0.5).astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    if not edges:
        return mask
    ring = max(edges, key=len)[:, 0].astype(np.float64)
    start = int(rng.integers(len(ring)))
    part = np.roll(ring, -start, axis=0)[: max(2, int(len(ring) * rng.uniform(0.2, 1)))]
    middle, strands, long = ring.mean(0), np.zeros((size, size), np.uint8), size * rng.uniform(0.02, 0.12)
    for root in part[rng.integers(0, len(part), int(rng.integers(30, 220)))]:
        out = (root - middle) / (np.linalg.norm(root - middle) + 1e-6)
        bend = np.array((-out[1], out[0])) * rng.normal(0, 0.6)
        along = np.linspace(0, 1, 5)[:, None] * long * rng.uniform(0.4, 1.2)
        _line(strands, (root + along * out + (along**2 / long) * bend) / size, 1)
    return np.maximum(mask, strands.astype(np.float32) / 255 * np.float32(rng.uniform(0.4, 1)))


def subject(rng: Rng, size: int) -> Float32Array:
    """The alpha of a subject, (size, size) in 0 … 1, drawn at twice the size."""
    kinds: tuple[Callable[[Rng, int], Float32Array], ...] = (_blobs, _branched, _bust, _vessel, _filling)
    mask = kinds[rng.choice(5, p=(0.25, 0.2, 0.27, 0.13, 0.15))](rng, size * 2)
    if rng.random() < 0.4:
        mask = _haired(rng, mask)
    if rng.random() < 0.3:
        mask = cv2.GaussianBlur(mask, (0, 0), rng.uniform(0.5, 2.5))
    small: Float32Array = cv2.resize(mask, (size, size), interpolation=cv2.INTER_AREA)
    return small


def _camera(rng: Rng, picture: Float32Array) -> NDArray[np.uint8]:
    """White balance, contrast, blur, sensor noise and JPEG."""
    seen = picture * rng.normal(1, 0.07, 3) * rng.uniform(0.75, 1.15) + rng.normal(0, 0.04)
    if rng.random() < 0.4:
        seen = cv2.GaussianBlur(seen, (0, 0), rng.uniform(0.3, 1.0))
    seen = seen + rng.normal(0, rng.uniform(0, 0.04), picture.shape)
    if rng.random() < 0.08:
        seen = np.broadcast_to(seen.mean(2, keepdims=True), picture.shape)
    eight: NDArray[np.uint8] = np.rint(np.clip(seen, 0, 1) * 255).astype(np.uint8)
    if rng.random() < 0.5:
        _, data = cv2.imencode(".jpg", eight, (cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(45, 95))))
        return np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR), np.uint8)
    return eight
