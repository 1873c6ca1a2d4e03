"""What an alpha says about itself."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from matte_inference.analysis.masks import Coverage
from matte_inference.analysis.uncertainty import Assessment, assess, calibrate, gray_share
from matte_inference.pixels.arrays import UInt8Array
from matte_inference.pixels.compose import EMPTY


def disc(side: int = 400, share: float = 0.25, *, blur: float = 0.0) -> UInt8Array:
    """A disc whose radius is a share of the side, with its edge softened by ``blur``, another one."""
    mask = cv2.circle(np.zeros((side, side), np.uint8), (side // 2, side // 2), round(side * share), 255, -1)
    return np.asarray(cv2.GaussianBlur(mask, (0, 0), side * blur) if blur else mask, np.uint8)


def shares(**by_level: float) -> np.typing.NDArray[np.float64]:
    found = np.zeros(256)
    for level, share in by_level.items():
        found[int(level[1:])] = share
    return found


def test_a_mask_of_black_and_white_is_sure() -> None:
    assert assess(disc()) == Assessment(0.0, Coverage.OK)
    assert assess(np.full((50, 50), 255, np.uint8)) == Assessment(0.0, Coverage.FULL)
    assert assess(np.zeros((50, 50), np.uint8)) == Assessment(0.0, Coverage.EMPTY)


def test_the_softer_the_edge_the_less_sure() -> None:
    found = [assess(disc(blur=blur)).uncertainty for blur in (0.0, 0.002, 0.01, 0.03, 0.1)]
    assert found == sorted(set(found))
    assert found[1] < 0.1
    assert found[-1] > 0.6


def test_gray_all_over_is_not_sure_at_all() -> None:
    assert assess(np.full((50, 50), 60, np.uint8)).uncertainty > 0.8
    assert assess(np.full((50, 50), 128, np.uint8)).coverage is Coverage.FULL


@pytest.mark.parametrize("side", [250, 1000, 4000])
def test_the_size_of_the_picture_does_not_matter(side: int) -> None:
    assert assess(disc(side, blur=0.01)).uncertainty == pytest.approx(
        assess(disc(500, blur=0.01)).uncertainty, abs=0.02
    )


def test_the_same_alpha_at_another_size_is_as_sure() -> None:
    alpha = disc(1024, blur=0.02)
    large = cv2.resize(alpha, (4000, 3000), interpolation=cv2.INTER_LINEAR)
    assert assess(np.asarray(large, np.uint8)).uncertainty == pytest.approx(assess(alpha).uncertainty, abs=0.01)


def test_the_share_by_hand() -> None:
    """Half the picture white, a tenth at 0.6: error 2 × 0.6 × 0.4 × 0.1, union 0.5 + 0.1 × 0.6 × 1.4."""
    assert gray_share(shares(_0=0.4, _153=0.1, _255=0.5)) == pytest.approx(0.048 / 0.584)
    assert gray_share(shares(_0=0.5, _12=0.4, _243=0.1)) == 0, "haze, and what is clearly in"
    assert gray_share(shares(_0=0.99999, _128=0.00001)) < 0.01, "a gray pixel or two in an empty mask"


def test_calibration_is_monotone_and_within_bounds() -> None:
    found = [calibrate(share) for share in np.linspace(0, 1, 101)]
    assert found[0] == 0
    assert found[-1] <= 1
    assert found == sorted(set(found))


@pytest.mark.parametrize(
    ("alpha", "foreground"),
    [
        (np.zeros((200, 200), np.uint8), "none"),
        (np.full((200, 200), EMPTY, np.uint8), "none"),
        (disc(200, 0.003), "none"),  # a stray pixel and its neighbors
        (disc(200, 0.03), "found"),
        (disc(4000, 0.03), "found"),
        (np.full((1, 1), 255, np.uint8), "found"),
    ],
    ids=["empty", "haze", "stray", "small", "small in a large picture", "one pixel, which is all"],
)
def test_whether_there_is_a_subject(alpha: UInt8Array, foreground: str) -> None:
    assert assess(alpha).foreground == foreground


def test_a_subject_between_the_sampled_rows_is_found() -> None:
    """Wide and flat: 0.2 % of the picture."""
    alpha = np.zeros((3000, 4000), np.uint8)
    alpha[1001:1009] = 255
    assert assess(alpha).foreground == "found"
    assert assess(np.ascontiguousarray(alpha.T)).foreground == "found"


def test_nothing_cannot_be_judged() -> None:
    with pytest.raises(ValueError, match="without pixels"):
        assess(np.zeros((0, 4), np.uint8))
