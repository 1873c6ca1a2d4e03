"""Compares two masks of one picture, finds masks that show nothing, and prepares both for storage and for people."""

from __future__ import annotations

import base64
import math
from enum import StrEnum

import cv2
import numpy as np
from matte_core.contracts.evidence import Agreement, MaskComparison
from matte_core.contracts.k8s.rollout import AgreementCheck
from numpy.typing import NDArray

from matte_inference.pixels.arrays import UInt8Array, fit_within

BoolArray = NDArray[np.bool_]

#: alpha from which a pixel belongs to the subject
THRESHOLD = 128
#: a mask with less subject, or less background, shows nothing
MIN_SHARE = 0.001
#: boundaries this near match, as a share of the diagonal: the value of the DAVIS benchmark
TOLERANCE = 0.008
#: masks are compared at this size (pixels of the longer side), which bounds the time for large pictures
MAX_SIDE = 1024
#: pixels at most that coverage and uncertainty are estimated from
SAMPLED_PIXELS = 500_000
#: size of stored golden masks and of pictures for people (pixels of the longer side)
PREVIEW_SIDE = 512
#: whether masks differ so much that people should see them: by the default check of a rollout
is_rejected = AgreementCheck().rejects


class Coverage(StrEnum):
    OK = ""
    EMPTY = "empty mask"
    FULL = "full mask"


def coverage(alpha: UInt8Array) -> Coverage:
    """EMPTY or FULL if less than 0.1 % of the picture is subject, or background; ValueError if there are no pixels."""
    if alpha.size == 0:
        raise ValueError("a mask without pixels")
    return coverage_by_share(np.count_nonzero(alpha >= THRESHOLD) / alpha.size)


def coverage_by_share(share: float) -> Coverage:
    """:func:`coverage` of a mask by the share of the picture that is subject."""
    if share < MIN_SHARE:
        return Coverage.EMPTY
    return Coverage.FULL if share > 1 - MIN_SHARE else Coverage.OK


def agreement(mask: UInt8Array, other: UInt8Array) -> Agreement:
    """How far two alpha masks (uint8, H × W) agree; symmetric. ValueError if they differ in size or have no pixels."""
    if mask.shape != other.shape or mask.ndim != 2 or mask.size == 0:
        raise ValueError(f"masks of {mask.shape} and {other.shape} cannot be compared")
    a, b = shrink(mask), shrink(other)
    hard_a, hard_b = a >= THRESHOLD, b >= THRESHOLD
    return Agreement(
        iou=iou(hard_a, hard_b),
        boundary=boundary_f(hard_a, hard_b),
        alpha_difference=float(cv2.absdiff(a, b).mean()) / 255,
    )


def iou(a: BoolArray, b: BoolArray) -> float:
    """Intersection over union; 1 where both are empty."""
    union = np.count_nonzero(a | b)
    return np.count_nonzero(a & b) / union if union else 1.0


def boundary_f(a: BoolArray, b: BoolArray, tolerance: float = TOLERANCE) -> float:
    """F measure of the boundaries: what share of each lies within ``tolerance`` (of the diagonal) of the other.

    1 if neither has a boundary, 0 if only one has. Source: F. Perazzi et al., A Benchmark Dataset and Evaluation
    Methodology for Video Object Segmentation, CVPR 2016, section 4; exact Euclidean distances in place of its dilation.
    """
    edge_a, edge_b = _boundary(a), _boundary(b)
    if not (edge_a.any() and edge_b.any()):
        return float(edge_a.any() == edge_b.any())
    reach = max(1.0, tolerance * math.hypot(*a.shape))
    precision, recall = _share_near(edge_a, edge_b, reach), _share_near(edge_b, edge_a, reach)
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def _boundary(mask: BoolArray) -> BoolArray:
    """Pixels of the subject that touch the background; the picture's edge is not a boundary."""
    solid = mask.astype(np.uint8)
    inner = cv2.erode(solid, np.ones((3, 3), np.uint8), borderType=cv2.BORDER_REPLICATE)
    edge: BoolArray = solid != inner
    return edge


def _share_near(edge: BoolArray, other: BoolArray, reach: float) -> float:
    """The share of an edge that lies within ``reach`` pixels of the other."""
    distance = cv2.distanceTransform((~other).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    return float((distance[edge] <= reach).mean())


def shrink(array: UInt8Array, max_side: int = MAX_SIDE) -> UInt8Array:
    """A mask or a picture, its longer side at most ``max_side`` pixels."""
    if max(array.shape[:2]) <= max_side:
        return array
    height, width = fit_within(*array.shape[:2], side=max_side)
    small: UInt8Array = cv2.resize(array, (width, height), interpolation=cv2.INTER_AREA)
    return small


def sample(alpha: UInt8Array) -> UInt8Array:
    """The pixels of an even grid: all of a small mask, and about :data:`SAMPLED_PIXELS` of a large one, contiguous.

    A grid rather than whole rows, which a small subject lies between.
    """
    step = math.ceil(math.sqrt(alpha.size / SAMPLED_PIXELS))
    return np.ascontiguousarray(alpha[::step, ::step])


def encode_mask(mask: UInt8Array) -> bytes:
    encoded: UInt8Array = cv2.imencode(".png", mask, [cv2.IMWRITE_PNG_COMPRESSION, 1])[1]
    return encoded.tobytes()


def decode_mask(data: bytes) -> UInt8Array | None:
    """The mask that :func:`encode_mask` encoded; None for anything that is no picture."""
    array = np.frombuffer(data, np.uint8)
    return cv2.imdecode(array, cv2.IMREAD_GRAYSCALE) if array.size else None


def compare_masks(
    name: str, stable: str, agreed: Agreement, pictures: tuple[UInt8Array, UInt8Array, UInt8Array], at: float
) -> MaskComparison:
    """For people. ``pictures``: the picture (H, W, 3) in RGB, the mask of the version ``stable``, the new version's."""
    rgb, stable_mask, canary_mask = (shrink(array, PREVIEW_SIDE) for array in pictures)
    jpeg = cv2.imencode(".jpg", cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, 80])[1].tobytes()
    masks = (stable_mask, canary_mask, cv2.absdiff(canary_mask, stable_mask))
    picture, *encoded = (base64.b64encode(data).decode() for data in (jpeg, *map(encode_mask, masks)))
    return MaskComparison(
        at=at, name=name, stable=stable, agreement=agreed, picture=picture, stable_mask=encoded[0],
        canary_mask=encoded[1], difference=encoded[2],
    )  # fmt: skip
