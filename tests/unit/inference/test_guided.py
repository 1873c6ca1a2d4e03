"""An alpha that follows the edges of the picture, at any size of the picture."""

from __future__ import annotations

import subprocess
import sys

import cv2
import numpy as np
import pytest
from matte_inference.pixels import guided
from matte_inference.pixels.arrays import Float32Array, UInt8Array, to_float32
from matte_inference.pixels.compose import EMPTY
from matte_inference.pixels.guided import guided_model, refine
from skimage import data
from sklearn.datasets import load_sample_image


def spotted(height: int, width: int) -> tuple[UInt8Array, Float32Array]:
    """A photograph at any size, and an alpha of soft spots at 1024 × 1024."""
    rgb = cv2.resize(load_sample_image("china.jpg"), (width, height), interpolation=cv2.INTER_CUBIC)
    noise = np.random.default_rng(3).random((24, 24), dtype=np.float32)
    smooth = cv2.resize(noise, (1024, 1024), interpolation=cv2.INTER_CUBIC)
    alpha: Float32Array = np.clip((smooth - 0.55) * 6, 0, 1).astype(np.float32)
    return rgb, alpha


def test_tiles_and_strips_leave_no_seams(monkeypatch: pytest.MonkeyPatch) -> None:
    rgb, alpha = spotted(1500, 2000)
    tiled = refine(rgb, alpha)
    monkeypatch.setattr(guided, "_TILE", 10_000)
    monkeypatch.setattr(guided, "_STRIP", 10_000)
    difference = np.abs(tiled.astype(int) - refine(rgb, alpha))
    assert difference.max() <= 1  # tiles without an edge are enlarged after rounding, not before


def test_gray_pictures_are_fitted_as_exactly_as_colored_ones() -> None:
    """Three channels that say the same leave nothing but epsilon to tell them apart."""
    rgb, alpha = spotted(300, 400)
    gray = np.repeat(cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY)[..., None], 3, axis=2)
    guide = to_float32(gray)
    source = cv2.resize(alpha, (400, 300), interpolation=cv2.INTER_AREA)
    a, b = guided_model(guide, source, 4)
    exact_a, exact_b = exact_model(guide[..., 0].astype(np.float64), source.astype(np.float64), 4)
    fitted = (a * guide).sum(-1) + b
    assert np.abs(fitted - (exact_a * guide[..., 0] + exact_b)).max() < 1e-3


def exact_model(
    gray: np.ndarray[tuple[int, int], np.dtype[np.float64]],
    source: np.ndarray[tuple[int, int], np.dtype[np.float64]],
    radius: int,
) -> tuple[cv2.typing.MatLike, cv2.typing.MatLike]:
    """The same model in closed form: for a gray picture, equations 5 and 6 with a third of epsilon."""
    size = (2 * radius + 1,) * 2
    mean, mean_p = cv2.blur(gray, size), cv2.blur(source, size)
    a = (cv2.blur(gray * source, size) - mean * mean_p) / (cv2.blur(gray * gray, size) - mean * mean + 1e-4 / 3)
    return cv2.blur(a, size), cv2.blur(mean_p - a * mean, size)


@pytest.mark.parametrize("side", [320, 1024])
@pytest.mark.parametrize("haze", [0.04, 0.12])
def test_a_faint_haze_does_not_become_a_subject(side: int, haze: float) -> None:
    rgb = data.astronaut()
    blob = np.zeros((side, side), np.float32)
    cv2.circle(blob, (side // 2, side // 3), side // 5, haze, -1)
    for alpha in (np.full((side, side), haze, np.float32), blob):
        assert refine(rgb, alpha).max() <= round(haze * 255)
    assert refine(rgb, np.full((side, side), 0.04, np.float32)).max() <= EMPTY


def test_a_picture_of_50_megapixels_needs_little_memory_beyond_its_own() -> None:
    script = """
import resource
import numpy as np
from matte_inference.pixels.guided import refine

rgb = np.random.default_rng(0).integers(0, 256, (6000, 8330, 3), dtype=np.uint8)
alpha = np.random.default_rng(1).random((1024, 1024), dtype=np.float32)  # edges everywhere
refine(rgb[:1500, :1500].copy(), alpha)  # what libraries keep for good
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
assert refine(rgb, alpha).shape == rgb.shape[:2]
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024 - rgb[..., 0].size)
"""
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert int(ran.stdout) < 100e6
