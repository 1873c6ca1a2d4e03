"""Alphas that are known because they are drawn: hair, fur, motion blur, veils, holes and thin structures.

All are drawn at twice the size, so that a strand of half a pixel covers half of one. Positions are shares of the
shorter side, with x to the right and y down.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import cv2
import numpy as np
from matte_inference.pixels.arrays import Float32Array, UInt8Array
from numpy.typing import NDArray
from skimage import data

Rng = np.random.Generator
Points = NDArray[np.float64]

_SUPERSAMPLING = 2
#: fixed-point bits of OpenCV's coordinates
_SHIFT = 4


class Canvas:
    """Draws shapes; ``alpha`` is what they cover, float32 (height, width) in 0 … 1."""

    def __init__(self, height: int, width: int) -> None:
        self.height, self.width = height, width
        self.unit = min(height, width) * _SUPERSAMPLING
        self._drawn = np.zeros((height * _SUPERSAMPLING, width * _SUPERSAMPLING), np.uint8)

    def _fixed(self, points: Points) -> NDArray[np.int32]:
        fixed: NDArray[np.int32] = np.rint(np.asarray(points) * self.unit * 2**_SHIFT).astype(np.int32)
        return fixed

    def fill(self, outline: Points, opacity: float = 1.0) -> None:
        cv2.fillPoly(self._drawn, [self._fixed(outline)], round(opacity * 255), cv2.LINE_AA, _SHIFT)

    def line(self, path: Points, pixels: float, opacity: float = 1.0, *, closed: bool = False) -> None:
        """A line of a width in pixels of the result; half a pixel is the thinnest."""
        thick = max(1, round(pixels * _SUPERSAMPLING))
        cv2.polylines(
            self._drawn, [self._fixed(path)], closed, round(opacity * 255), thick, cv2.LINE_AA, _SHIFT
        )  # fmt: skip

    def silhouette(self, mask: UInt8Array, left: float, top: float, height: float) -> None:
        """Draws a mask scaled to ``height``."""
        scale = height * self.unit / mask.shape[0]
        matrix = np.array(((scale, 0, left * self.unit), (0, scale, top * self.unit)), np.float32)
        warped = cv2.warpAffine(mask, matrix, self._drawn.shape[::-1], flags=cv2.INTER_CUBIC)
        np.maximum(self._drawn, warped, out=self._drawn)

    @property
    def alpha(self) -> Float32Array:
        small = cv2.resize(self._drawn, (self.width, self.height), interpolation=cv2.INTER_AREA)
        alpha: Float32Array = small.astype(np.float32) / 255
        return alpha

    def contour(self) -> Points:
        """The longest outline, (n, 2)."""
        found, _ = cv2.findContours((self._drawn > 127).astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
        longest: Points = max(found, key=len)[:, 0].astype(np.float64) / self.unit
        return longest


def ellipse(x: float, y: float, across: float, down: float, waves: Sequence[tuple[float, float]] = ()) -> Points:
    """An outline (120, 2); ``waves`` are amplitude and phase of its harmonics from the second on."""
    turn = np.linspace(0, 2 * np.pi, 120, endpoint=False)
    radius = np.ones_like(turn)
    for k, (amplitude, phase) in enumerate(waves, 2):
        radius += amplitude * np.cos(k * turn + phase)
    return np.stack((x + across * radius * np.cos(turn), y + down * radius * np.sin(turn)), axis=1)


def _wavy(rng: Rng, strength: float) -> list[tuple[float, float]]:
    return [(rng.normal(0, strength / k), rng.uniform(0, 2 * np.pi)) for k in range(2, 7)]


def bust(rng: Rng, canvas: Canvas) -> tuple[float, float, float]:
    """Head, neck and shoulders; returns the head's center and radius."""
    middle = canvas.width / min(canvas.height, canvas.width) / 2
    x, y, head = middle + rng.normal(0, 0.04), rng.uniform(0.36, 0.42), rng.uniform(0.14, 0.17)
    canvas.fill(ellipse(x, y, head, head * 1.3, _wavy(rng, 0.02)))
    foot, wide = canvas.height / min(canvas.height, canvas.width) + 0.1, head * rng.uniform(2.1, 2.6)
    canvas.fill(np.array([(x - 0.55 * head, y), (x + 0.55 * head, y), (x + 0.6 * head, foot), (x - 0.6 * head, foot)]))
    top = y + head * rng.uniform(1.9, 2.2)
    canvas.fill(ellipse(x, foot, wide, foot - top, _wavy(rng, 0.02)))
    return x, y, head


def _strands(
    rng: Rng, canvas: Canvas, roots: Iterable[tuple[Points, Points]], length: float, fall: float, pixels: float
) -> None:
    """Curved hairs that taper: ``roots`` are positions and directions; ``fall`` bends them down."""
    along = np.linspace(0, 1, 7)[:, None]
    for root, direction in roots:
        long = length * rng.uniform(0.4, 1.2)
        side = np.array((-direction[1], direction[0])) * rng.normal(0, 0.35)
        path = root + long * (along * direction + along**2 * (side + np.array((0.0, fall))))
        opacity, width = rng.uniform(0.55, 1), pixels * rng.uniform(0.6, 1.4)
        canvas.line(path[:5], width, opacity)
        canvas.line(path[4:], width / 2, opacity * 0.7)


def hair(rng: Rng, canvas: Canvas) -> None:
    """A bust with loose hair."""
    x, y, head = bust(rng, canvas)
    turn = rng.uniform(np.pi * 0.85, np.pi * 2.15, 1100)
    direction = np.stack((np.cos(turn), np.sin(turn)), axis=1)
    roots = np.array((x, y)) + direction * np.array((head * 0.93, head * 1.22))
    _strands(rng, canvas, zip(roots, direction, strict=True), head * 0.75, rng.uniform(0.9, 1.6), 1.1)
    loose = rng.choice(len(roots), 160)
    _strands(rng, canvas, zip(roots[loose], direction[loose], strict=True), head * 1.15, 0.5, 0.6)


def fur(rng: Rng, canvas: Canvas) -> None:
    """An animal: a horse's silhouette, or a round body with a head; short hairs all around."""
    middle = canvas.width / min(canvas.height, canvas.width) / 2
    if rng.random() < 0.5:
        mask = np.where(data.horse(), 0, 255).astype(np.uint8)
        canvas.silhouette(mask, middle - 0.42, 0.14, 0.72)
        length = 0.018
    else:
        lean = rng.normal(0, 0.03)
        canvas.fill(ellipse(middle, 0.72, 0.27, 0.24, _wavy(rng, 0.03)))
        canvas.fill(ellipse(middle + lean, 0.4, 0.2, 0.19, _wavy(rng, 0.03)))
        for side in (-1, 1):
            canvas.fill(ellipse(middle + lean + side * 0.15, 0.23, 0.06, 0.09))
        length = 0.035
    ring = canvas.contour()
    picked = rng.integers(0, len(ring), 3500)
    outward = np.roll(ring, -9, axis=0) - np.roll(ring, 9, axis=0)
    normal = np.stack((outward[:, 1], -outward[:, 0]), axis=1)
    normal /= np.linalg.norm(normal, axis=1, keepdims=True) + 1e-9
    # OpenCV's outer contours run counterclockwise on the screen, so this normal points inward
    _strands(rng, canvas, zip(ring[picked], -normal[picked], strict=True), length, 0.4, 0.8)


def solid(rng: Rng, canvas: Canvas) -> None:
    """An object without openings: a vase, a ball or a bust."""
    middle, kind = canvas.width / min(canvas.height, canvas.width) / 2, rng.integers(3)
    if kind == 0:
        bust(rng, canvas)
    elif kind == 1:
        canvas.fill(ellipse(middle, 0.52, 0.24, 0.25, _wavy(rng, 0.01)))
    else:
        height = np.linspace(0, 1, 40)
        half = 0.1 + 0.13 * np.sin(np.pi * height**0.7) ** 2 + 0.05 * height
        right = np.stack((middle + half, 0.18 + 0.66 * height), axis=1)
        canvas.fill(np.concatenate((right, (right * (-1, 1) + (2 * middle, 0))[::-1])))


def holes(rng: Rng, canvas: Canvas) -> None:
    """The background shows through: a spoked wheel, a basket's lattice, or a cup with its handle."""
    middle, kind = canvas.width / min(canvas.height, canvas.width) / 2, rng.integers(3)
    pixels = canvas.unit / _SUPERSAMPLING / 100
    if kind == 0:
        center = np.array((middle, 0.5))
        canvas.line(ellipse(middle, 0.5, 0.34, 0.34), 4.5 * pixels, closed=True)
        canvas.fill(ellipse(middle, 0.5, 0.06, 0.06))
        for turn in np.linspace(0, 2 * np.pi, int(rng.integers(9, 15)), endpoint=False) + rng.uniform(0, 1):
            canvas.line(np.array((center, center + 0.33 * np.array((np.cos(turn), np.sin(turn))))), 1.3 * pixels)
    elif kind == 1:
        for share in np.linspace(-0.3, 0.3, 8):
            canvas.line(np.array(((middle + share, 0.4), (middle + share * 0.75, 0.84))), 2 * pixels)
        for y in np.linspace(0.4, 0.84, 6):
            half = 0.31 - (y - 0.4) * 0.17
            canvas.line(np.array(((middle - half, y), (middle + half, y))), 2.4 * pixels)
        canvas.line(ellipse(middle, 0.4, 0.28, 0.26)[60:], 2.6 * pixels)
    else:
        canvas.fill(np.array([
            (middle - 0.26, 0.28), (middle + 0.2, 0.28), (middle + 0.14, 0.78), (middle - 0.2, 0.78)
        ]))  # fmt: skip
        canvas.fill(ellipse(middle - 0.03, 0.28, 0.23, 0.05))
        canvas.line(ellipse(middle + 0.2, 0.48, 0.13, 0.14), 4 * pixels, closed=True)


def thin(rng: Rng, canvas: Canvas) -> None:
    """A plant in a pot: stems and leaves down to two pixels."""
    middle, pixels = canvas.width / min(canvas.height, canvas.width) / 2, canvas.unit / _SUPERSAMPLING / 1000
    canvas.fill(np.array([
        (middle - 0.15, 0.68), (middle + 0.15, 0.68), (middle + 0.11, 0.92), (middle - 0.11, 0.92)
    ]))  # fmt: skip

    def grow(root: Points, heading: float, long: float, width: float, depth: int) -> None:
        steps = np.cumsum(np.full(6, long / 6))
        bend = heading + np.cumsum(rng.normal(0, 0.09, 6))
        path = np.concatenate((root[None], root + steps[:, None] * np.stack((np.sin(bend), -np.cos(bend)), axis=1)))
        canvas.line(path, width)
        if depth == 0:
            tip, turn = path[-1], bend[-1]
            leaf = ellipse(0, 0, rng.uniform(0.008, 0.014), rng.uniform(0.03, 0.045))
            spin = np.array(((np.cos(turn), -np.sin(turn)), (np.sin(turn), np.cos(turn))))
            canvas.fill(leaf @ spin.T + tip)
            return
        for _ in range(int(rng.integers(2, 4))):
            start = path[rng.integers(3, 7)]
            grow(start, bend[-1] + rng.normal(0, 0.5), long * 0.62, max(2.0, width * 0.6), depth - 1)

    for heading in np.linspace(-0.5, 0.5, 5) + rng.normal(0, 0.08, 5):
        grow(np.array((middle + heading * 0.12, 0.69)), heading, 0.24, 8 * pixels, 2)


def veil(rng: Rng, height: int, width: int) -> Float32Array:
    """A translucent cloth with folds, 0.2 … 0.8 where it is."""
    canvas, middle = Canvas(height, width), width / min(height, width) / 2
    foot = height / min(height, width)
    left, right = middle - rng.uniform(0.3, 0.38), middle + rng.uniform(0.3, 0.38)
    top = rng.uniform(0.16, 0.2)
    canvas.fill(np.array([
        (middle - 0.13, top + 0.05), (middle, top), (middle + 0.13, top + 0.05), (right, foot * 0.9), (left, foot * 0.9)
    ]))  # fmt: skip
    x = (np.arange(width) / width - 0.5)[None, :] / (0.25 + np.arange(height) / height)[:, None]
    folds = 0.5 + 0.22 * np.sin(x * rng.uniform(28, 45) + rng.uniform(0, 6)) + 0.08 * np.sin(x * 97)
    return canvas.alpha * folds.astype(np.float32)


def motion_kernel(rng: Rng, longest: int) -> Float32Array:
    """A straight shake of the camera or the subject: a line through the middle, sums to 1."""
    length, turn = rng.integers(longest // 2, longest + 1), rng.normal(0, 0.35)
    side = int(length) | 1
    kernel = np.zeros((side, side), np.float32)
    reach = side / 2 * np.array((np.cos(turn), np.sin(turn)))
    ends = [tuple(int(v) for v in np.rint(side // 2 + sign * reach)) for sign in (-1, 1)]
    cv2.line(kernel, ends[0], ends[1], 1.0, 1, cv2.LINE_AA)
    kernel /= kernel.sum()
    return kernel
