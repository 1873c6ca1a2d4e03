"""Hints for models that take none: what GrabCut makes of them on real photographs."""

from __future__ import annotations

import time

import cv2
import numpy as np
import pytest
from matte_core.contracts.catalog import VersionConfig
from matte_core.contracts.job import Limits
from matte_core.contracts.options import Options, parse_hints
from matte_inference.families.registry import load
from matte_inference.pixels.arrays import Float32Array, Pixels, UInt8Array
from matte_inference.pixels.hints import refine_with_hints
from matte_inference.replica.stages import decode_job
from skimage import data
from sklearn.datasets import load_sample_image

#: the outline of the astronaut, (x, y) in pixels: as a network sees her, and the shuttle beside her not
ASTRONAUT = [
    (230, 12), (295, 60), (300, 110), (270, 150), (300, 210), (350, 260), (365, 350), (420, 345), (480, 390),
    (511, 470), (511, 511), (20, 511), (30, 330), (60, 250), (120, 205), (125, 170), (185, 150), (155, 100), (165, 50),
]  # fmt: skip


def astronaut() -> tuple[UInt8Array, Float32Array]:
    rgb: UInt8Array = data.astronaut()
    seen = cv2.fillPoly(np.zeros(rgb.shape[:2], np.uint8), [np.array(ASTRONAUT, np.int32)], 255)
    alpha = cv2.GaussianBlur(cv2.resize(seen, (1024, 1024)), (0, 0), 2).astype(np.float32) / 255
    return rgb, alpha


def at(alpha: Float32Array | UInt8Array, x: float, y: float) -> float:
    return float(alpha[int(y * alpha.shape[0]), int(x * alpha.shape[1])])


def test_a_point_on_a_second_object_adds_it() -> None:
    rgb, alpha = astronaut()
    changed = refine_with_hints(rgb, alpha, parse_hints("0.81,0.15"))
    assert changed.shape == alpha.shape
    assert at(alpha, 0.81, 0.08) == 0
    assert at(changed, 0.81, 0.08) > 0.9  # the tank of the shuttle, beyond the point
    assert (changed >= alpha - 1e-6).all()
    assert at(changed, 0.66, 0.20) < 0.1  # the wall
    assert (changed > 0.5).mean() < (alpha > 0.5).mean() + 0.08


def test_a_background_stroke_removes_a_part() -> None:
    rgb, alpha = astronaut()
    changed = refine_with_hints(rgb, alpha, parse_hints("!0.70,0.80:0.80,0.85@0.03"))
    assert at(alpha, 0.65, 0.90) > 0.9
    assert at(changed, 0.65, 0.90) < 0.1  # the helmet
    for place in ((0.43, 0.18), (0.34, 0.75), (0.15, 0.85)):  # face, emblem, forearm
        assert at(changed, *place) > 0.9
    assert (changed <= alpha + 1e-6).all()


def test_a_box_leaves_nothing_outside_but_what_is_marked() -> None:
    rgb, alpha = astronaut()
    changed = refine_with_hints(rgb, alpha, parse_hints("0.28,0,0.62,0.37"))
    assert at(changed, 0.43, 0.18) > 0.9
    assert at(changed, 0.34, 0.75) == 0
    marked = refine_with_hints(rgb, alpha, parse_hints("0.28,0,0.62,0.37 0.34,0.75"))
    assert at(marked, 0.34, 0.75) > 0.9


def test_a_box_around_what_the_model_did_not_see_finds_it() -> None:
    rgb = load_sample_image("flower.jpg")
    changed = refine_with_hints(rgb, np.zeros((1024, 1024), np.float32), parse_hints("0.25,0.2,0.75,0.85"))
    assert at(changed, 310 / 640, 220 / 427) > 0.9
    assert changed[:, :200].max() == 0
    assert (changed > 0.5).mean() < 0.3


@pytest.mark.parametrize("hints", ["0.34,0.75", "!0.66,0.20", "0.15,0.85:0.3,0.9 !0.95,0.1:0.95,0.3@0.01"])
def test_hints_that_the_alpha_agrees_with_change_nothing(hints: str) -> None:
    rgb, alpha = astronaut()
    assert np.array_equal(refine_with_hints(rgb, alpha, parse_hints(hints)), alpha)


@pytest.mark.parametrize("shape", [(1, 1), (1, 900), (7, 7), (8, 8), (30, 1500)])
@pytest.mark.parametrize("hints", ["0,0 !1,1", "1,1 0,0", "0.9,0.9,1,1", "0,0:1,1 !0,1:1,0@0.25", "!0,0:1,1@0.25"])
def test_any_shape_and_corner(shape: tuple[int, int], hints: str) -> None:
    rgb = np.full((*shape, 3), 128, np.uint8)
    for value in (0, 0.5, 1):
        changed = refine_with_hints(rgb, np.full((64, 64), value, np.float32), parse_hints(hints))
        assert changed.shape == (64, 64)
        assert np.isfinite(changed).all()
        assert 0 <= changed.min() <= changed.max() <= 1


def test_hints_reach_a_family_that_takes_none_itself() -> None:
    segmenter = load(VersionConfig(model="grabcut", version="2.0.0", family="grabcut"))
    png = cv2.imencode(".png", data.astronaut()[..., ::-1])[1].tobytes()
    alphas = []
    for text in (None, "0.81,0.15"):
        job = decode_job(segmenter, [png], Limits(), Options(hints=text).parsed_hints)
        alphas.append(segmenter.finish(job.pixels, segmenter.forward([job.prepared])[0]))
    assert at(alphas[0], 0.81, 0.12) < 30
    assert at(alphas[1], 0.81, 0.12) > 200


def test_as_many_hints_as_can_be_sent_take_seconds_at_most() -> None:
    rgb, alpha = astronaut()
    zigzag = ":".join(f"0.{i % 90 + 5:02d},0.{i * 37 % 90 + 5:02d}" for i in range(16))
    hints = parse_hints(" ".join([zigzag, "!" + zigzag.replace("0.1", "0.2")] * 32))
    begun = time.thread_time()
    refine_with_hints(Pixels(rgb).rgb, alpha, hints)
    assert time.thread_time() - begun < 10
