"""From a picture and its alpha to the requested output."""

from __future__ import annotations

import io
from typing import Any

import cv2
import numpy as np
import pytest
from matte_core.contracts.options import Options
from matte_inference.pixels.arrays import Pixels, UInt8Array, fit_within, normalize, resize
from matte_inference.pixels.compose import compose, cover, crop_box, output_size
from matte_inference.pixels.encode import encode, preview
from matte_inference.pixels.foreground import estimate_foreground
from matte_inference.pixels.guided import refine
from PIL import Image

RNG = np.random.default_rng(5)
PICTURE = Pixels(RNG.integers(1, 256, (60, 80, 3), dtype=np.uint8))
ALPHA = np.zeros((60, 80), np.uint8)
ALPHA[20:40, 30:70] = 255
ALPHA[19, 30:70] = 128


def made(
    alpha: UInt8Array = ALPHA, pixels: Pixels = PICTURE, background: Pixels | None = None, **options: Any
) -> UInt8Array:
    return compose(pixels, alpha, Options(**options), background)["result"]


def opened(data: bytes) -> Image.Image:
    return Image.open(io.BytesIO(data))


def test_cutout_keeps_colors_inside_and_leaks_nothing_outside() -> None:
    cut = made(decontaminate=False)
    assert cut.shape == (60, 80, 4)
    assert np.array_equal(cut[..., 3], ALPHA)
    assert np.array_equal(cut[ALPHA > 0][:, :3], PICTURE.rgb[ALPHA > 0])
    assert not cut[ALPHA == 0].any()


def test_outputs() -> None:
    assert np.array_equal(made(output="mask"), ALPHA)
    assert np.array_equal(made(channels="alpha"), ALPHA)
    both = compose(PICTURE, ALPHA, Options(output="both"))
    assert {name: array.shape for name, array in both.items()} == {"result": (60, 80, 4), "mask": (60, 80)}


def test_the_inputs_own_alpha_counts() -> None:
    own = np.full((60, 80), 51, np.uint8)
    cut = made(pixels=Pixels(PICTURE.rgb, own))
    assert np.array_equal(cut[..., 3][ALPHA == 255], np.full((ALPHA == 255).sum(), 51))
    assert set(np.unique(cut[..., 3])) == {0, 26, 51}


def test_a_cutout_that_comes_back_keeps_its_colors() -> None:
    own = cv2.GaussianBlur(ALPHA, (0, 0), 2)
    cut = made(np.full((60, 80), 255, np.uint8), Pixels(PICTURE.rgb, own))
    assert np.array_equal(cut[own > 0][:, :3], PICTURE.rgb[own > 0])


def test_an_opaque_color_gives_rgb() -> None:
    out = made(bg_color="#ff0000", decontaminate=False)
    assert out.shape == (60, 80, 3)
    assert (out[0, 0] == (255, 0, 0)).all()
    assert np.array_equal(out[30, 50], PICTURE.rgb[30, 50])
    half = PICTURE.rgb[19, 50] * (128 / 255) + np.array((255, 0, 0)) * (127 / 255)
    assert np.abs(out[19, 50] - half).max() <= 1


def test_a_clear_color_keeps_its_opacity() -> None:
    out = made(bg_color="0000ff80")
    assert out.shape == (60, 80, 4)
    assert tuple(out[0, 0]) == (0, 0, 255, 128)
    assert out[30, 50, 3] == 255


def test_a_background_picture_covers() -> None:
    back = np.zeros((30, 100, 3), np.uint8)
    back[:, :50], back[:, 50:] = (10, 20, 30), (200, 210, 220)
    out = made(background=Pixels(back))
    assert out.shape == (60, 80, 3)
    assert tuple(out[0, 0]) == (10, 20, 30)
    assert tuple(out[0, 79]) == (200, 210, 220)
    assert np.array_equal(out[30, 50], PICTURE.rgb[30, 50])


def test_a_background_with_holes_shows_the_color_or_nothing() -> None:
    back = Pixels(np.full((60, 80, 3), 90, np.uint8), np.zeros((60, 80), np.uint8))
    assert tuple(made(background=back, bg_color="white")[0, 0]) == (255, 255, 255)
    assert tuple(made(background=back)[0, 0]) == (0, 0, 0, 0)


@pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 500), (500, 1), (33, 47)])
def test_cover_fits_any_shape(height: int, width: int) -> None:
    rgb, alpha = cover(PICTURE, height, width)
    assert rgb.shape == (height, width, 3)
    assert alpha.shape == (height, width)


@pytest.mark.parametrize(
    ("margin", "box"),
    [(None, (19, 40, 30, 70)), ("5px", (14, 45, 25, 75)), ("10%", (17, 42, 26, 74)), ("500px", (0, 60, 0, 80))],
)
def test_crop(margin: str | None, box: tuple[int, int, int, int]) -> None:
    top, bottom, left, right = box
    cut = made(crop=True, crop_margin=margin)
    assert cut.shape == (bottom - top, right - left, 4)
    assert np.array_equal(cut[..., 3], ALPHA[top:bottom, left:right])


@pytest.mark.parametrize("haze", [0, 5])
def test_crop_of_nothing_keeps_the_frame(haze: int) -> None:
    empty = np.full((60, 80), haze, np.uint8)
    assert made(empty, crop=True, crop_margin="10%").shape == (60, 80, 4)
    assert crop_box(empty, None) == (slice(None), slice(None))


def test_sizes() -> None:
    assert output_size(1000, 2000, "auto") == (1000, 2000)
    height, width = output_size(1000, 2000, "preview")
    assert height * width <= 250_000 < (height + 2) * (width + 2)
    assert output_size(100, 100, "preview") == (100, 100)
    big = Pixels(np.zeros((800, 900, 3), np.uint8), np.full((800, 900), 255, np.uint8))
    out = made(np.full((800, 900), 255, np.uint8), big, size="preview")
    assert out.shape[:2] == output_size(800, 900, "preview")


def test_shrinking_does_not_bleed_what_transparent_pixels_hold() -> None:
    rgb = np.zeros((1000, 1000, 3), np.uint8)
    rgb[:, 501:] = 255
    own = np.zeros((1000, 1000), np.uint8)
    own[:, 501:] = 255
    out = made(np.full((1000, 1000), 255, np.uint8), Pixels(rgb, own), size="preview")
    assert (out[out[..., 3] > 0][:, :3] >= 254).all()


def test_decontamination_takes_the_background_out_of_soft_edges() -> None:
    ramp = np.clip((np.arange(120) - 50) * 13, 0, 255).astype(np.uint8)
    alpha = np.repeat(ramp[None], 80, axis=0)
    weight = alpha[..., None] / 255
    red, green = np.array((200.0, 40, 40)), np.array((20.0, 220, 20))
    rgb = np.rint(weight * red + (1 - weight) * green).astype(np.uint8)
    edge = (alpha > 40) & (alpha < 215)
    before = np.abs(rgb[edge] - red).mean()
    after = np.abs(estimate_foreground(rgb, alpha)[edge] - red).mean()
    assert after < before / 4
    cut = made(alpha, Pixels(rgb))
    assert np.abs(cut[edge][:, :3] - red).mean() < before / 4
    assert np.array_equal(cut[alpha == 255][:, :3], rgb[alpha == 255])


def test_a_large_picture_is_decontaminated_at_a_bounded_size() -> None:
    alpha = np.zeros((1500, 3000), np.uint8)
    alpha[:, 1000:], alpha[:, 980:1000] = 255, 128
    rgb = np.full((1500, 3000, 3), (20, 220, 20), np.uint8)
    rgb[:, 1000:], rgb[:, 980:1000] = (200, 40, 40), (110, 130, 30)
    out = estimate_foreground(rgb, alpha)
    assert np.array_equal(out[:, 1000:], rgb[:, 1000:])
    assert np.abs(out[100:1400, 982:998] - np.array((200.0, 40, 40))).mean() < 12


@pytest.mark.parametrize("shape", [(7, 9), (7, 9, 3), (7, 9, 4)])
def test_png_is_lossless_and_bare(shape: tuple[int, ...]) -> None:
    array = RNG.integers(0, 256, shape, dtype=np.uint8)
    image = opened(encode(array, "auto"))
    assert image.format == "PNG"
    assert image.info == {}
    assert np.array_equal(np.asarray(image), array)


def test_webp_keeps_alpha_exactly_and_colors_nearly() -> None:
    smooth = cv2.resize(RNG.integers(0, 256, (4, 5, 3), dtype=np.uint8), (80, 60), interpolation=cv2.INTER_CUBIC)
    cut = made(pixels=Pixels(smooth))
    image = opened(encode(cut, "webp"))
    back = np.asarray(image)
    assert image.format == "WEBP"
    assert np.array_equal(back[..., 3], ALPHA)
    assert np.abs(back[25:35, 40:60, :3].astype(int) - cut[25:35, 40:60, :3]).mean() < 6
    mask = np.asarray(opened(encode(ALPHA, "webp")).convert("L"))
    assert np.array_equal(mask, ALPHA)


def test_preview_is_small() -> None:
    data = preview(np.dstack((np.zeros((1000, 500, 3), np.uint8), np.full((1000, 500), 255, np.uint8))))
    assert opened(data).size == (128, 256)
    assert len(data) < 10_000


def test_resizing_down_does_not_alias() -> None:
    checker = np.indices((400, 400)).sum(0).astype(np.uint8) % 2 * 255
    small = resize(checker.astype(np.uint8), 50, 50)
    assert np.abs(small.astype(int) - 127).max() <= 1
    assert resize(checker, 400, 400) is checker
    assert fit_within(3000, 1000, side=300) == (300, 100)
    assert fit_within(10_000, 1, side=100) == (100, 1)


def test_normalized() -> None:
    rgb = np.array([[[0, 127, 255]]], np.uint8)
    out = normalize(rgb, (0.5, 0.5, 0.5), (0.25, 0.5, 1.0))
    assert out.shape == (3, 1, 1)
    assert out.dtype == np.float32
    assert out.ravel() == pytest.approx([-2, (127 / 255 - 0.5) / 0.5, 0.5], abs=1e-5)


def test_refinement_finds_the_edge_of_the_picture() -> None:
    y, x = np.mgrid[:300, :400]
    truth = (np.hypot(y - 150, x - 200) < 90).astype(np.float32)
    rgb = np.where(truth[..., None] > 0, (200, 60, 40), (40, 90, 160)).astype(np.uint8)
    coarse = cv2.resize(truth, (100, 75), interpolation=cv2.INTER_AREA)
    plain = np.abs(resize(coarse, 300, 400) - truth).mean()
    fine = np.abs(refine(rgb, coarse).astype(np.float32) / 255 - truth).mean()
    assert fine < plain / 2


@pytest.mark.parametrize("shape", [(1, 1), (1, 900), (900, 1), (2, 3)])
def test_every_step_takes_thin_pictures(shape: tuple[int, int]) -> None:
    pixels = Pixels(np.full((*shape, 3), 90, np.uint8))
    alpha = refine(pixels.rgb, np.ones((5, 5), np.float32))
    assert alpha.shape == shape
    out = made(alpha, pixels, decontaminate=True, crop=True, size="preview")
    assert opened(encode(out, "png")).size == (out.shape[1], out.shape[0])
    assert opened(preview(out)).size[0] <= 256
