"""GrabCut (C. Rother, V. Kolmogorov, A. Blake, 2004): needs no weights, so it is the embedded default.

1.x starts from a prior for the center. 2.x starts from saliency and fits the alpha to the picture's edges.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import semver
from matte_core.contracts.catalog import VersionConfig
from matte_registry.manifest import text_digest
from numpy.typing import NDArray

from matte_inference.families.base import Alpha, FamilyParameters, LocalSegmenter, Prepared, to_size, validate
from matte_inference.pixels.arrays import Float32Array, Pixels, UInt8Array, fit_within, resize
from matte_inference.pixels.graph_cut import barrier_distance, cut_graph

#: to be raised whenever an answer changes: the digest of a version is derived from it
_CODE = "grabcut/3"
#: working size, pixels of the longer side
_SIDES = {"center": 256, "salient": 320}
_ROUNDS = 4
#: parts lighter than this share of the heaviest are specks; holes smaller than this share of the picture are closed
_SPECK, _HOLE = 0.15, 0.01
#: a subject that differs less from its surroundings is noise (units of L*a*b*)
_MIN_CONTRAST = 5.0
#: saliency is computed at this size, pixels of the longer side
_SALIENCY_SIDE = 200
#: colors this far apart (CIE76) are different materials
_COLOR_SCALE = 14.0
_CLUSTERS = 6
_BINS = (16, 24, 24)


class GrabCut(LocalSegmenter):
    """Segments with OpenCV alone, at 320 px or less along the longer side."""

    device = "cpu"

    def __init__(self, *, salient: bool, guided: bool) -> None:
        self._salient, self._guided = salient, guided
        self._side = _SIDES["salient" if salient else "center"]
        self.digest = text_digest(f"{_CODE} salient={salient} guided={guided}")

    def prepare(self, pixels: Pixels) -> Prepared:
        """The picture at working size, uint8 (h, w, 3)."""
        return resize(pixels.rgb, *fit_within(pixels.height, pixels.width, side=self._side))

    def forward(self, batch: Sequence[Prepared]) -> list[Alpha]:
        """Alphas at working size, float32; one after the other."""
        return [self._segment(rgb) for rgb in batch]

    def finish(self, pixels: Pixels, alpha: Alpha) -> UInt8Array:
        return to_size(pixels, alpha, guided=self._guided)

    def _segment(self, rgb: UInt8Array) -> Alpha:
        if min(rgb.shape[:2]) < 8:  # nothing to tell apart: a line, a dot
            return np.ones(rgb.shape[:2], np.float32)
        if self._salient:
            where = find_subject(rgb)
        else:  # the center, whatever the picture shows
            lab = smooth_lab(rgb)
            where = Saliency(center_prior(*rgb.shape[:2]), 1.0, float(np.ptp(lab, axis=(0, 1)).sum()))
        if where.contrast < _MIN_CONTRAST:
            return np.zeros(rgb.shape[:2], np.float32)
        mask = remove_specks(run_grabcut(rgb, where), where.likely)
        alpha: Float32Array = cv2.GaussianBlur(mask.astype(np.float32), (0, 0), 0.8)
        return alpha


def run_grabcut(rgb: UInt8Array, where: Saliency) -> UInt8Array:
    """The subject, uint8 (H, W) of 0 and 1, that GrabCut finds. It starts from the most salient part as subject and the
    least salient one as background.
    """
    likely = where.likely
    cut = cv2.threshold((likely * 255).astype(np.uint8), 0, 255, cv2.THRESH_OTSU)[0] / 255
    subject = likely > cut * (0.8 + 0.2 * where.trust)
    mask = np.where(subject, cv2.GC_PR_FGD, cv2.GC_PR_BGD).astype(np.uint8)
    if subject.any() and not subject.all():
        mask[likely >= np.quantile(likely[subject], 0.7)] = cv2.GC_FGD
        mask[likely <= np.quantile(likely[~subject], 0.2 + 0.3 * where.trust)] = cv2.GC_BGD
    kinds = np.unique(mask)
    if not {cv2.GC_FGD, cv2.GC_PR_FGD} & set(kinds) or not {cv2.GC_BGD, cv2.GC_PR_BGD} & set(kinds):
        return np.ones(mask.shape, np.uint8)
    return cut_graph(rgb, mask, _ROUNDS)


def remove_specks(mask: UInt8Array, likely: Float32Array) -> UInt8Array:
    """The mask without thin lines, without parts that are small or unlikely, and without small holes."""
    opened = cv2.morphologyEx(mask, cv2.MORPH_OPEN, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (3, 3)))
    count, labels = cv2.connectedComponents(opened, connectivity=4)
    if count > 1:
        weight = np.bincount(labels.ravel(), likely.ravel(), minlength=count)
        weight[0] = 0
        opened = (weight >= _SPECK * weight.max())[labels].astype(np.uint8) * (labels > 0)
    count, labels, stats, _ = cv2.connectedComponentsWithStats(1 - opened.astype(np.uint8), connectivity=4)
    small = stats[:, cv2.CC_STAT_AREA] < _HOLE * mask.size
    small[0] = False
    return np.where(small[labels] & (labels > 0), 1, opened).astype(np.uint8)


def load(config: VersionConfig) -> GrabCut:
    parameters = validate(FamilyParameters, config.parameters, config.app)
    later = semver.Version.parse(config.version).major >= 2
    return GrabCut(salient=later, guided=later or parameters.refine == "guided")


# Saliency: all maps are float32 (H, W) in 0 … 1; ``lab`` is CIE L*a*b*, float32 (H, W, 3).
@dataclass(frozen=True, slots=True)
class Saliency:
    likely: Float32Array  # the likelihood of each pixel
    trust: float  # 1 if the border of the picture is background, 0 if it looks like the center, as in a close-up
    contrast: float  # the largest distance of the subject from its surroundings, in units of L*a*b*


def find_subject(rgb: UInt8Array) -> Saliency:
    """The subject of a picture, uint8 (H, W, 3): enclosed by edges, unlike the border, sharp and central. In a close-up
    the border is no background: there the subject is sharp, and colored like the center.
    """
    lab = smooth_lab(rgb)
    height, width = lab.shape[:2]
    center = center_prior(height, width)
    border = unlike_border(lab)
    trust = float(np.clip((np.average(border, weights=center**3) - 0.42) / 0.08, 0, 1))
    sharp = resize(sharpness(rgb), height, width)
    seeds = np.ones((height, width), bool)
    seeds[2:, 2:-2] = False  # not the bottom: subjects stand on it
    barrier = barrier_distance(lab, seeds)
    apart = stretch(barrier, 97)
    away = (0.4 * apart + 0.3 * border + 0.3 * stretch(sharp, 97)) * center**0.7
    broad = stretch(cv2.GaussianBlur(stretch(sharp, 97), (0, 0), 3), 70)
    close = (0.6 * like_center(lab, center) + 0.4 * broad) * center_prior(height, width, spread=0.8)
    likely = np.clip(trust * away + (1 - trust) * close, 0, 1).astype(np.float32)
    return Saliency(resize(likely, *rgb.shape[:2]), trust, float(barrier.max()))


def smooth_lab(rgb: UInt8Array) -> Float32Array:
    """The picture at 200 px along its longer side, denoised."""
    small = cv2.bilateralFilter(resize(rgb, *fit_within(*rgb.shape[:2], side=_SALIENCY_SIDE)), 5, 25, 5)
    lab: Float32Array = cv2.cvtColor(small.astype(np.float32) / 255, cv2.COLOR_RGB2LAB)
    return lab


def stretch(values: Float32Array, percentile: float) -> Float32Array:
    """Scaled so that ``percentile`` becomes 1; larger values are clipped."""
    top = max(1e-6, float(np.percentile(values, percentile)))
    out: Float32Array = np.clip(values / top, 0, 1).astype(np.float32)
    return out


def center_prior(height: int, width: int, *, spread: float = 0.33) -> Float32Array:
    """A Gaussian around the center, 1 at its maximum; ``spread`` is its standard deviation over the side."""
    y = np.linspace(-0.5, 0.5, height, dtype=np.float32)[:, None]
    x = np.linspace(-0.5, 0.5, width, dtype=np.float32)[None, :]
    out: Float32Array = np.exp(-(x * x + y * y) / np.float32(2 * spread * spread))
    return out


def unlike_border(lab: Float32Array) -> Float32Array:
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
    out: Float32Array = (1 - alike.max(-1)).astype(np.float32)
    return out


def sharpness(rgb: UInt8Array) -> Float32Array:
    """The amount of fine detail around every pixel, not scaled: background is out of focus."""
    gray = cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY).astype(np.float32) / 255
    detail = np.minimum(np.abs(gray - cv2.GaussianBlur(gray, (0, 0), 1.2)), 0.06)
    blurred: Float32Array = cv2.GaussianBlur(detail, (0, 0), max(1.0, max(gray.shape) * 0.02))
    return blurred


def like_center(lab: Float32Array, center: Float32Array) -> Float32Array:
    """The share of the center in every color, against the rim of the picture."""
    scaled = np.stack((lab[..., 0] / 100, (lab[..., 1] + 60) / 120, (lab[..., 2] + 60) / 120), axis=-1)
    cells = np.clip(scaled * np.subtract(_BINS, 1), 0, np.subtract(_BINS, 1)).astype(np.intp)
    flat = np.ravel_multi_index(tuple(np.moveaxis(cells, -1, 0)), _BINS)
    rim = (1 - center_prior(*center.shape, spread=0.3)) ** 3
    inside, outside = (_histogram(flat, weight)[flat] for weight in (center**2, rim))
    blurred: Float32Array = cv2.GaussianBlur((inside / (inside + outside + 1e-9)).astype(np.float32), (0, 0), 1.5)
    return blurred


def _histogram(cells: NDArray[np.intp], weight: Float32Array) -> NDArray[np.float64]:
    """The weights per cell, smoothed over neighboring cells, summing to 1; flat."""
    counts = np.bincount(cells.ravel(), weight.ravel(), minlength=int(np.prod(_BINS))).reshape(_BINS)
    for axis in range(3):
        ahead, behind = np.roll(counts, 1, axis), np.roll(counts, -1, axis)
        counts = 0.5 * counts + 0.25 * (ahead + behind)
    return (counts / counts.sum()).ravel()  # type: ignore[no-any-return]
