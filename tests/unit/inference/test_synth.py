"""The pictures that the U-Net learns from."""

from __future__ import annotations

import numpy as np
import pytest
from synth import sample


@pytest.mark.parametrize("size", [96, 256])
def test_a_seed_makes_one_picture(size: int) -> None:
    picture, alpha = sample(3, size)
    assert picture.shape == (size, size, 3)
    assert alpha.shape == (size, size)
    assert picture.dtype == alpha.dtype == np.uint8
    again, _ = sample(3, size)
    assert np.array_equal(picture, again)
    assert not np.array_equal(picture, sample(4, size)[0])


def test_subjects_differ_from_what_is_behind() -> None:
    shares, gaps = [], []
    for seed in range(40):
        picture, alpha = sample(seed, 96)
        inside, outside = picture[alpha > 200], picture[alpha < 50]
        shares.append((alpha > 127).mean())
        if len(inside) and len(outside):
            gaps.append(np.linalg.norm(inside.mean(0) - outside.mean(0)))
    assert 0.1 < np.mean(shares) < 0.6
    assert np.median(gaps) > 30
