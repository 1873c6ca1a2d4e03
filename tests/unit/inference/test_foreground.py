"""The subject's own colors under soft edges."""

from __future__ import annotations

import subprocess
import sys
import time

import cv2
import numpy as np
import pytest
from matte_inference.pixels import foreground
from matte_inference.pixels.arrays import Float32Array, UInt8Array, to_float32
from matte_inference.pixels.foreground import estimate_foreground
from skimage import data
from sklearn.datasets import load_sample_image


def hair(height: int, width: int, hairs: int = 300) -> UInt8Array:
    """An alpha, uint8 (H, W): a disc with hairs of different widths and opacities."""
    rng = np.random.default_rng(7)
    center, radius = np.array((width / 2, height / 2)), min(height, width) / 4
    alpha = cv2.circle(np.zeros((height, width), np.uint8), (width // 2, height // 2), round(radius), 255, -1)
    for angle in rng.uniform(0, 2 * np.pi, hairs):
        turns = angle + np.cumsum(rng.normal(0, 0.05, 12))
        way = np.stack((np.cos(turns), np.sin(turns)), axis=1) * np.linspace(0.9, rng.uniform(1.2, 1.7), 12)[:, None]
        points = np.rint((center + radius * way) * 16).astype(np.int32)
        line = np.zeros_like(alpha)
        opacity, thickness = int(rng.uniform(120, 256)), int(rng.integers(1, 3))
        cv2.polylines(line, [points], isClosed=False, color=opacity, thickness=thickness, lineType=cv2.LINE_AA, shift=4)
        alpha = np.maximum(alpha, line)
    blurred: UInt8Array = cv2.GaussianBlur(alpha, (0, 0), 0.7)
    return blurred


def composite(size: tuple[int, int], background: UInt8Array) -> tuple[UInt8Array, UInt8Array, Float32Array]:
    """A picture, its alpha, and the subject's true colors."""
    alpha = hair(*size)
    front = cv2.resize(data.coffee()[100:300, 150:450], size[::-1], interpolation=cv2.INTER_CUBIC).astype(np.float32)
    back = cv2.resize(background, size[::-1], interpolation=cv2.INTER_CUBIC).astype(np.float32)
    weight = to_float32(alpha)[..., None]
    return np.rint(front * weight + back * (1 - weight)).astype(np.uint8), alpha, front


def color_error(colors: UInt8Array, truth: Float32Array, alpha: UInt8Array) -> float:
    """The mean difference, 0 … 255, where the alpha is soft, weighted by it."""
    soft = (alpha > 5) & (alpha < 250)
    weight = alpha[soft].astype(np.float32)
    return float((np.abs(colors[soft] - truth[soft]).mean(axis=1) * weight).sum() / weight.sum())


@pytest.mark.parametrize("background", ["green", "china.jpg", "flower.jpg"])
@pytest.mark.parametrize("size", [(600, 800), (1500, 2000)])
def test_hair_takes_no_color_from_what_was_behind_it(background: str, size: tuple[int, int]) -> None:
    green = np.full((10, 10, 3), (30, 220, 40), np.uint8)
    rgb, alpha, truth = composite(size, green if background == "green" else load_sample_image(background))
    colors = estimate_foreground(rgb, alpha)
    assert color_error(colors, truth, alpha) < 0.5 * color_error(rgb, truth, alpha)
    hard = (alpha == 0) | (alpha == 255)
    assert np.array_equal(colors[hard], rgb[hard])


def test_tiles_leave_no_seams(monkeypatch: pytest.MonkeyPatch) -> None:
    rgb, alpha, _ = composite((1500, 2000), load_sample_image("china.jpg"))
    tiled = estimate_foreground(rgb, alpha)
    monkeypatch.setattr(foreground, "_TILE", 10_000)
    assert np.abs(tiled.astype(int) - estimate_foreground(rgb, alpha)).max() <= 1


def test_hard_edges_cost_nothing() -> None:
    rgb = np.zeros((4000, 5000, 3), np.uint8)
    alpha = cv2.circle(np.zeros((4000, 5000), np.uint8), (2500, 2000), 1500, 255, -1)
    begun = time.thread_time()
    assert estimate_foreground(rgb, alpha) is rgb
    assert time.thread_time() - begun < 0.1


@pytest.mark.parametrize("value", [128, 254])
def test_an_alpha_that_is_soft_everywhere(value: int) -> None:
    rgb = np.ascontiguousarray(data.chelsea())
    colors = estimate_foreground(rgb, np.full(rgb.shape[:2], value, np.uint8))
    assert np.abs(colors.astype(int) - rgb).mean() < 3  # no background is seen that could be taken out


def test_a_picture_of_50_megapixels_needs_little_memory_beyond_its_own() -> None:
    script = """
import resource
import cv2
import numpy as np
from matte_inference.pixels.foreground import estimate_foreground

rgb = np.random.default_rng(0).integers(0, 256, (6000, 8330, 3), dtype=np.uint8)
small = np.random.default_rng(1).integers(0, 256, (300, 400), dtype=np.uint8)  # soft everywhere
alpha = cv2.resize(small, (8330, 6000))
estimate_foreground(rgb[:1500, :1500].copy(), alpha[:1500, :1500])  # what libraries keep for good
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
estimate_foreground(rgb, alpha)
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024 - rgb.size)
"""
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert int(ran.stdout) < 100e6
