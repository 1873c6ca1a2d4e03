"""Where the subject is, before anything is known about it: the priors that GrabCut starts from.

All maps are float32 (H, W) in 0 … 1; ``lab`` is CIE L*a*b*, float32 (H, W, 3).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from matte_inference.pixels.resize import fitted, resized
from matte_inference.pixels.types import Bytes, Floats

_SIDE = 200
#: colors this far apart (CIE76) are different materials
_COLOR_SCALE = 14.0
_CLUSTERS = 6
_BINS = (16, 24, 24)


@dataclass(frozen=True, slots=True)
class Saliency:
    """``likely`` says where the subject is. ``trust`` is 1 where the border of the picture is background, and 0
    where it looks like the center, as in a close-up that fills the frame. ``contrast`` is how far the subject is at
    most from what is around it, in units of L*a*b*.
    """

    likely: Floats
    trust: float
    contrast: float


def find_subject(rgb: Bytes) -> Saliency:
    """The subject of a picture, uint8 (H, W, 3): what is closed off from the border, unlike it, sharp and central.

    In a close-up the border says nothing; what is sharp, and colored as the center is, counts there.
    """
    lab = smooth_lab(rgb)
    height, width = lab.shape[:2]
    center = center_prior(height, width)
    border = unlike_border(lab)
    trust = float(np.clip((np.average(border, weights=center**3) - 0.42) / 0.08, 0, 1))
    sharp = resized(sharpness(rgb), height, width)
    seeds = np.ones((height, width), bool)
    seeds[2:, 2:-2] = False  # not the bottom: subjects stand on it
    barrier = barrier_distance(lab, seeds)
    apart = stretched(barrier, 97)
    away = (0.4 * apart + 0.3 * border + 0.3 * stretched(sharp, 97)) * center**0.7
    broad = stretched(cv2.GaussianBlur(stretched(sharp, 97), (0, 0), 3), 70)
    close = (0.6 * like_center(lab, center) + 0.4 * broad) * center_prior(height, width, spread=0.8)
    likely = np.clip(trust * away + (1 - trust) * close, 0, 1).astype(np.float32)
    return Saliency(resized(likely, *rgb.shape[:2]), trust, float(barrier.max()))


def central_subject(rgb: Bytes) -> Saliency:
    """What is in the middle of a picture, uint8 (H, W, 3), whatever it is."""
    lab = smooth_lab(rgb)
    return Saliency(center_prior(*rgb.shape[:2]), 1.0, float(np.ptp(lab, axis=(0, 1)).sum()))


def smooth_lab(rgb: Bytes) -> Floats:
    """The picture at 200 px along its longer side, without its noise."""
    small = cv2.bilateralFilter(resized(rgb, *fitted(*rgb.shape[:2], side=_SIDE)), 5, 25, 5)
    lab: Floats = cv2.cvtColor(small.astype(np.float32) / 255, cv2.COLOR_RGB2LAB)
    return lab


def stretched(values: Floats, percentile: float) -> Floats:
    """Scaled so that ``percentile`` becomes 1; more is cut."""
    top = max(1e-6, float(np.percentile(values, percentile)))
    out: Floats = np.clip(values / top, 0, 1).astype(np.float32)
    return out


def center_prior(height: int, width: int, *, spread: float = 0.33) -> Floats:
    """A Gaussian about the center, 1 at its top; ``spread`` is its deviation over the side."""
    y = np.linspace(-0.5, 0.5, height, dtype=np.float32)[:, None]
    x = np.linspace(-0.5, 0.5, width, dtype=np.float32)[None, :]
    out: Floats = np.exp(-(x * x + y * y) / np.float32(2 * spread * spread))
    return out


def barrier_distance(lab: Floats, seeds: NDArray[np.bool_], *, rounds: int = 3) -> Floats:
    """The minimum barrier distance of every pixel to the seeds, float32 (H, W), not scaled.

    The barrier of a path is the range of values on it, summed over the channels: a subject that edges close off is
    far from the border although its colors vary. Source: J. Zhang et al., "Minimum Barrier Salient Object
    Detection at 80 FPS", ICCV 2015; here every step of a sweep moves a whole row or column.
    """
    height, width = seeds.shape
    distance = np.where(seeds, 0, np.inf).astype(np.float32)
    high, low = lab.copy(), lab.copy()
    upright = _Paths(lab, distance, high, low)
    turned = _Paths(*(array.swapaxes(0, 1) for array in (lab, distance, high, low)))  # views
    for _ in range(rounds):
        upright.sweep(range(1, height), -1)
        upright.sweep(range(height - 2, -1, -1), 1)
        turned.sweep(range(1, width), -1)
        turned.sweep(range(width - 2, -1, -1), 1)
    return distance


@dataclass(frozen=True, slots=True)
class _Paths:
    """Per pixel: its color, the barrier of the best path so far, and the extremes on that path."""

    lab: Floats
    distance: Floats
    high: Floats
    low: Floats

    def sweep(self, lines: Iterable[int], step: int) -> None:
        """Offers every line, in turn, the paths of the line ``step`` further."""
        for line in lines:
            high = np.maximum(self.high[line + step], self.lab[line])
            low = np.minimum(self.low[line + step], self.lab[line])
            barrier = np.where(np.isfinite(self.distance[line + step]), (high - low).sum(-1), np.inf)
            better = barrier < self.distance[line]
            self.distance[line] = np.where(better, barrier, self.distance[line])
            self.high[line] = np.where(better[:, None], high, self.high[line])
            self.low[line] = np.where(better[:, None], low, self.low[line])


def unlike_border(lab: Floats) -> Floats:
    """1 where the color is none of the main colors of the top, left and right borders."""
    reach = max(2, round(0.03 * max(lab.shape)))
    strips = (lab[:reach], lab[:, :reach], lab[:, -reach:])
    colors = np.concatenate([strip.reshape(-1, 3) for strip in strips])
    count = min(_CLUSTERS, len(colors))
    stop = (cv2.TERM_CRITERIA_COUNT + cv2.TERM_CRITERIA_EPS, 20, 0.5)
    cv2.setRNGSeed(1)
    _, labels, centers = cv2.kmeans(colors, count, None, stop, 2, cv2.KMEANS_PP_CENTERS)
    share = np.bincount(labels[:, 0], minlength=count) / len(colors)
    apart = ((lab[:, :, None] - centers) ** 2).sum(-1)
    alike = np.minimum(1, share / 0.08) * np.exp(-apart / _COLOR_SCALE**2)
    out: Floats = (1 - alike.max(-1)).astype(np.float32)
    return out


def sharpness(rgb: Bytes) -> Floats:
    """How much fine detail there is about every pixel, not scaled: what is out of focus is background."""
    gray = cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY).astype(np.float32) / 255
    detail = np.minimum(np.abs(gray - cv2.GaussianBlur(gray, (0, 0), 1.2)), 0.06)
    blurred: Floats = cv2.GaussianBlur(detail, (0, 0), max(1.0, max(gray.shape) * 0.02))
    return blurred


def like_center(lab: Floats, center: Floats) -> Floats:
    """The share of the center in every color, against the rim of the picture."""
    scaled = np.stack((lab[..., 0] / 100, (lab[..., 1] + 60) / 120, (lab[..., 2] + 60) / 120), axis=-1)
    cells = np.clip(scaled * np.subtract(_BINS, 1), 0, np.subtract(_BINS, 1)).astype(np.intp)
    flat = np.ravel_multi_index(tuple(np.moveaxis(cells, -1, 0)), _BINS)
    rim = (1 - center_prior(*center.shape, spread=0.3)) ** 3
    inside, outside = (_histogram(flat, weight)[flat] for weight in (center**2, rim))
    blurred: Floats = cv2.GaussianBlur((inside / (inside + outside + 1e-9)).astype(np.float32), (0, 0), 1.5)
    return blurred


def _histogram(cells: NDArray[np.intp], weight: Floats) -> NDArray[np.float64]:
    """The weights per cell, smoothed over neighboring cells, summing to 1; flat."""
    counts = np.bincount(cells.ravel(), weight.ravel(), minlength=int(np.prod(_BINS))).reshape(_BINS)
    for axis in range(3):
        ahead, behind = np.roll(counts, 1, axis), np.roll(counts, -1, axis)
        counts = 0.5 * counts + 0.25 * (ahead + behind)
    return (counts / counts.sum()).ravel()  # type: ignore[no-any-return]
