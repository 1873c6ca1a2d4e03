"""How far two masks of one picture agree, and whether a mask shows anything."""

from __future__ import annotations

import math
from enum import StrEnum

import cv2
import numpy as np
from matte_core.contracts.evidence import Agreement
from numpy.typing import NDArray

from matte_inference.pixels.types import Bytes

_Truths = NDArray[np.bool_]

#: alpha from which a pixel belongs to the subject
THRESHOLD = 128
#: boundaries this near match, as a share of the diagonal: the value of the DAVIS benchmark
TOLERANCE = 0.008
#: masks are compared at this size (pixels of the longer side), which bounds the time whatever the picture
MAX_SIDE = 1024
#: pixels that a mask's coverage is known by
SAMPLED = 500_000


class Coverage(StrEnum):
    """Whether a mask has both a subject and a background."""

    SOUND = ""
    EMPTY = "empty mask"
    FULL = "full mask"


def coverage(alpha: Bytes, least: float = 0.001) -> Coverage:
    """Empty or full, where less than ``least`` of the picture is subject, or background.

    Raises:
        ValueError: it has no pixels.
    """
    if alpha.size == 0:
        raise ValueError("a mask without pixels")
    share = np.count_nonzero(alpha >= THRESHOLD) / alpha.size
    if share < least:
        return Coverage.EMPTY
    return Coverage.FULL if share > 1 - least else Coverage.SOUND


def agreement(ours: Bytes, theirs: Bytes, tolerance: float = TOLERANCE, max_side: int = MAX_SIDE) -> Agreement:
    """Two alpha masks (uint8, H × W) of one picture, side by side; which is which does not matter.

    Raises:
        ValueError: they differ in size, or have no pixels.
    """
    if ours.shape != theirs.shape or ours.ndim != 2 or ours.size == 0:
        raise ValueError(f"masks of {ours.shape} and {theirs.shape} cannot be compared")
    a, b = shrunk(ours, max_side), shrunk(theirs, max_side)
    hard_a, hard_b = a >= THRESHOLD, b >= THRESHOLD
    return Agreement(
        iou=iou(hard_a, hard_b),
        boundary=boundary_f(hard_a, hard_b, tolerance),
        alpha_difference=float(cv2.absdiff(a, b).mean()) / 255,
    )


def iou(a: _Truths, b: _Truths) -> float:
    """Intersection over union; 1 where both are empty."""
    union = np.count_nonzero(a | b)
    return np.count_nonzero(a & b) / union if union else 1.0


def boundary_f(a: _Truths, b: _Truths, tolerance: float = TOLERANCE) -> float:
    """F measure of the boundaries: what share of each lies within ``tolerance`` (of the diagonal) of the other.

    1 where neither has a boundary, 0 where only one has. Source: F. Perazzi et al., A Benchmark Dataset and Evaluation
    Methodology for Video Object Segmentation, CVPR 2016, section 4; exact Euclidean distances in place of its dilation.
    """
    edge_a, edge_b = _boundary(a), _boundary(b)
    if not (edge_a.any() and edge_b.any()):
        return float(edge_a.any() == edge_b.any())
    reach = max(1.0, tolerance * math.hypot(*a.shape))
    precision, recall = _near(edge_a, edge_b, reach), _near(edge_b, edge_a, reach)
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def shrunk(array: Bytes, max_side: int = MAX_SIDE) -> Bytes:
    """A mask or a picture, its longer side at most ``max_side`` pixels."""
    scale = max_side / max(array.shape[:2])
    if scale >= 1:
        return array
    height, width = (max(1, round(side * scale)) for side in array.shape[:2])
    small: Bytes = cv2.resize(array, (width, height), interpolation=cv2.INTER_AREA)
    return small


def sampled(alpha: Bytes, most: int = SAMPLED) -> Bytes:
    """Whole rows, evenly drawn, with about ``most`` pixels in all: enough to know the coverage by."""
    rows: Bytes = alpha[:: max(1, alpha.size // most)]
    return rows


def _boundary(mask: _Truths) -> _Truths:
    """Pixels of the subject that touch the background; the picture's edge is not a boundary."""
    solid = mask.astype(np.uint8)
    inner = cv2.erode(solid, np.ones((3, 3), np.uint8), borderType=cv2.BORDER_REPLICATE)
    edge: _Truths = solid != inner
    return edge


def _near(edge: _Truths, other: _Truths, reach: float) -> float:
    """The share of an edge that lies within ``reach`` pixels of the other."""
    distance = cv2.distanceTransform((~other).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    return float((distance[edge] <= reach).mean())
