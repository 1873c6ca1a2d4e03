from __future__ import annotations

import cv2
import numpy as np
import pytest
from matte_inference.analysis.masks import THRESHOLD, Coverage, agreement, boundary_f, coverage, iou
from matte_inference.pixels.arrays import UInt8Array


def disc(x: int = 200, y: int = 150, radius: int = 80, shape: tuple[int, int] = (300, 400)) -> UInt8Array:
    mask = np.zeros(shape, np.uint8)
    cv2.circle(mask, (x, y), radius, 255, -1)
    return mask


def test_a_mask_agrees_with_itself() -> None:
    found = agreement(disc(), disc())
    assert (found.iou, found.boundary, found.alpha_difference) == (1, 1, 0)


def test_squares_by_hand() -> None:
    a, b = np.zeros((10, 10), np.uint8), np.zeros((10, 10), np.uint8)
    a[2:6, 2:6] = 255
    b[2:6, 4:8] = 255
    found = agreement(a, b)
    assert found.iou == 8 / 24
    assert found.alpha_difference == pytest.approx(16 / 100)


def test_boundary_within_and_beyond_the_tolerance() -> None:
    """4 pixels are the tolerance of a diagonal of 500."""
    near = agreement(disc(), disc(x=203))
    far = agreement(disc(), disc(x=230))
    assert near.boundary == 1
    assert far.boundary < 0.4
    assert near.iou > 0.93
    assert far.iou < 0.65


def test_boundary_by_hand() -> None:
    """Half planes, 10 columns apart: no part of the boundaries is near; with a tolerance of 10 pixels all is."""
    a, b = np.zeros((60, 80), np.bool_), np.zeros((60, 80), np.bool_)
    a[:, 30:] = True
    b[:, 40:] = True
    assert boundary_f(a, b, 9 / 100) == 0
    assert boundary_f(a, b, 10 / 100) == 1


def test_half_a_boundary_too_much() -> None:
    """A second square of the same outline far away: recall 1, precision one half."""
    a = np.zeros((200, 200), np.bool_)
    a[20:60, 20:60] = True
    b = a.copy()
    b[120:160, 120:160] = True
    assert boundary_f(a, b) == pytest.approx(2 * 0.5 / 1.5)
    assert boundary_f(b, a) == boundary_f(a, b)


def test_empty_masks() -> None:
    empty = np.zeros((300, 400), np.uint8)
    both, one = agreement(empty, empty), agreement(empty, disc())
    assert (both.iou, both.boundary, both.alpha_difference) == (1, 1, 0)
    assert (one.iou, one.boundary) == (0, 0)


def test_soft_alpha_counts_where_the_hard_masks_are_the_same() -> None:
    soft = disc() // 255 * 150
    found = agreement(soft.astype(np.uint8), disc())
    assert found.iou == 1
    assert found.alpha_difference == pytest.approx((disc() > 0).mean() * 105 / 255)


def test_large_masks_are_compared_small() -> None:
    large = agreement(disc(2000, 1500, 800, (3000, 4000)), disc(2100, 1500, 800, (3000, 4000)))
    small = agreement(disc(500, 375, 200, (750, 1000)), disc(525, 375, 200, (750, 1000)))
    assert large.iou == pytest.approx(small.iou, abs=0.01)
    assert large.boundary == pytest.approx(small.boundary, abs=0.05)


@pytest.mark.parametrize(
    ("pixels", "expected"),
    [(0, Coverage.EMPTY), (9, Coverage.EMPTY), (11, Coverage.OK), (9989, Coverage.OK), (9991, Coverage.FULL)],
)
def test_coverage(pixels: int, expected: Coverage) -> None:
    mask = np.full(10_000, THRESHOLD - 1, np.uint8)
    mask[:pixels] = THRESHOLD
    assert coverage(mask.reshape(100, 100)) is expected


def test_iou_of_nothing() -> None:
    nothing = np.zeros((3, 3), np.bool_)
    assert iou(nothing, nothing) == 1
    assert iou(nothing, ~nothing) == 0


def test_what_cannot_be_compared() -> None:
    with pytest.raises(ValueError, match="cannot be compared"):
        agreement(disc(), disc(shape=(300, 401)))
    with pytest.raises(ValueError, match="without pixels"):
        coverage(np.zeros((0, 4), np.uint8))
