"""GrabCut (C. Rother, V. Kolmogorov, A. Blake, 2004): needs no weights, so it is the embedded default.

1.x starts from a prior for the center. 2.x starts from saliency and fits the alpha to the picture's edges.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import semver
from matte_core.contracts.catalog import VersionConfig
from matte_core.domain.manifest import text_digest

from matte_inference.families.base import Alpha, FamilyParameters, Local, Prepared, to_size, validated
from matte_inference.families.saliency import Saliency, central_subject, find_subject
from matte_inference.pixels.resize import fitted, resized
from matte_inference.pixels.types import Bytes, Floats, Pixels

#: raise it whenever an answer changes: it is what the digest of a version covers
_CODE = "grabcut/2"
#: working size, pixels of the longer side
_SIDES = {"center": 256, "salient": 320}
_ROUNDS = 4
_SEED = 7
#: parts lighter than this share of the heaviest are specks; holes smaller than this share of the picture are closed
_SPECK, _HOLE = 0.15, 0.01
#: units of L*a*b*: what differs less from what is around it is noise, not a subject
_LEAST_CONTRAST = 5.0
#: pixels that are exactly as their left neighbors: no photograph has more, at working size
_DRAWN = 0.5
_DITHER = 2


class GrabCut(Local):
    """Segments with OpenCV alone; every picture is worked on at 320 px or less along its longer side."""

    device = "cpu"

    def __init__(self, *, salient: bool, guided: bool) -> None:
        self._salient, self._guided = salient, guided
        self._side = _SIDES["salient" if salient else "center"]
        self.digest = text_digest(f"{_CODE} salient={salient} guided={guided}")

    def prepare(self, pixels: Pixels) -> Prepared:
        """The picture at working size, uint8 (h, w, 3)."""
        return resized(pixels.rgb, *fitted(pixels.height, pixels.width, side=self._side))

    def forward(self, batch: Sequence[Prepared]) -> list[Alpha]:
        """Alphas at working size, float32; one after the other."""
        return [self._cut(rgb) for rgb in batch]

    def finish(self, pixels: Pixels, alpha: Alpha) -> Bytes:
        """The alpha at the picture's size."""
        return to_size(pixels, alpha, guided=self._guided)

    def _cut(self, rgb: Bytes) -> Alpha:
        if min(rgb.shape[:2]) < 8:  # nothing to tell apart: a line, a dot
            return np.ones(rgb.shape[:2], np.float32)
        where = find_subject(rgb) if self._salient else central_subject(rgb)
        if where.contrast < _LEAST_CONTRAST:
            return np.zeros(rgb.shape[:2], np.float32)
        alpha: Floats = cv2.GaussianBlur(cleaned(grown(rgb, where), where.likely).astype(np.float32), (0, 0), 0.8)
        return alpha


def seeded(where: Saliency) -> Bytes:
    """GrabCut's start, uint8 (H, W) of ``cv2.GC_*``: the likeliest part is subject, the unlikeliest background."""
    likely = where.likely
    cut = cv2.threshold((likely * 255).astype(np.uint8), 0, 255, cv2.THRESH_OTSU)[0] / 255
    subject = likely > cut * (0.8 + 0.2 * where.trust)
    mask = np.where(subject, cv2.GC_PR_FGD, cv2.GC_PR_BGD).astype(np.uint8)
    if subject.any() and not subject.all():
        mask[likely >= np.quantile(likely[subject], 0.7)] = cv2.GC_FGD
        mask[likely <= np.quantile(likely[~subject], 0.2 + 0.3 * where.trust)] = cv2.GC_BGD
    return mask


def grown(rgb: Bytes, where: Saliency) -> Bytes:
    """The subject, uint8 (H, W) of 0 and 1, that GrabCut finds from a saliency."""
    mask = seeded(where)
    kinds = np.unique(mask)
    if not {cv2.GC_FGD, cv2.GC_PR_FGD} & set(kinds) or not {cv2.GC_BGD, cv2.GC_PR_BGD} & set(kinds):
        return np.ones(mask.shape, np.uint8)
    cv2.setRNGSeed(_SEED)  # this thread's: the same picture gives the same answer
    bgr = dithered(cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR))
    cv2.grabCut(bgr, mask, None, np.zeros((1, 65)), np.zeros((1, 65)), _ROUNDS, cv2.GC_INIT_WITH_MASK)
    return (mask & 1).astype(np.uint8)  # both kinds of subject are odd


def dithered(picture: Bytes) -> Bytes:
    """A drawing, uint8 (H, W, 3), with faint noise; a photograph as it is.

    Where many pixels are exactly alike, all cuts between them cost the same, and GrabCut's search for the least takes
    up to a hundred times as long.
    """
    if (picture[:, 1:] == picture[:, :-1]).all(-1).mean() <= _DRAWN:
        return picture
    noise = np.random.default_rng(_SEED).integers(-_DITHER, _DITHER + 1, picture.shape, np.int16)
    out: Bytes = np.clip(picture + noise, 0, 255).astype(np.uint8)
    return out


def cleaned(mask: Bytes, likely: Floats) -> Bytes:
    """Without threads, specks that are small or unlikely, and small holes."""
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
    """The version that ``config.version``'s major names: 1, or 2 and later.

    Raises:
        ValueError: an unknown parameter.
    """
    parameters = validated(FamilyParameters, config.parameters, config.app)
    later = semver.Version.parse(config.version).major >= 2
    return GrabCut(salient=later, guided=later or parameters.refine == "guided")
