"""GrabCut on real photographs: what must be kept is kept, what must go is gone."""

from __future__ import annotations

import time
from collections.abc import Callable

import cv2
import numpy as np
import pytest
from matte_core.contracts.catalog import VersionConfig
from matte_core.contracts.options import Options
from matte_core.errors import Problem
from matte_inference.families.base import Segmenter, to_size
from matte_inference.families.grabcut import remove_specks
from matte_inference.families.registry import load
from matte_inference.pixels.arrays import Pixels, UInt8Array
from matte_inference.pixels.graph_cut import barrier_distance
from matte_inference.replica.stages import DecodedJob, finish_and_render
from skimage import data
from sklearn.datasets import load_sample_image

Places = list[tuple[int, int]]


def grabcut(version: str, **parameters: object) -> Segmenter:
    return load(VersionConfig(model="grabcut", version=version, family="grabcut", parameters=parameters))


def alpha_of(segmenter: Segmenter, rgb: UInt8Array) -> UInt8Array:
    pixels = Pixels(rgb)
    return segmenter.finish(pixels, segmenter.forward([segmenter.prepare(pixels)])[0])


#: picture, (y, x) that belong to the subject, (y, x) that do not
PHOTOGRAPHS: dict[str, tuple[Callable[[], UInt8Array], Places, Places]] = {
    "astronaut": (
        data.astronaut,
        [(30, 220), (110, 220), (200, 200), (330, 60), (360, 160), (320, 290), (480, 120)],
        [(100, 20), (60, 340), (100, 440), (230, 480), (20, 20)],
    ),
    "coffee": (
        data.coffee,
        [(50, 300), (130, 290), (230, 400), (320, 300), (290, 230), (280, 360), (330, 330), (200, 130)],
        [(20, 20), (380, 20), (200, 30), (100, 560), (20, 500)],
    ),
    "chelsea": (
        data.chelsea,
        [(110, 180), (130, 310), (230, 270), (60, 230), (200, 150), (150, 60), (280, 200)],
        [(20, 430), (150, 420), (280, 430), (80, 390)],
    ),
    "flower": (
        lambda: load_sample_image("flower.jpg"),
        [(220, 310), (110, 310), (330, 310), (220, 190), (220, 420)],
        [(30, 30), (30, 600), (400, 30), (200, 560), (200, 80)],
    ),
}


@pytest.mark.parametrize("name", PHOTOGRAPHS)
def test_photographs(name: str) -> None:
    picture, inside, outside = PHOTOGRAPHS[name]
    rgb = picture()
    alpha = alpha_of(grabcut("2.0.0"), rgb)
    assert alpha.shape == rgb.shape[:2]
    assert {place: int(alpha[place]) for place in inside if alpha[place] < 200} == {}
    assert {place: int(alpha[place]) for place in outside if alpha[place] > 30} == {}
    assert ((alpha > 30) & (alpha < 225)).mean() < 0.08


def test_version_1_keeps_what_is_central() -> None:
    alpha = alpha_of(grabcut("1.0.0"), load_sample_image("flower.jpg"))
    assert alpha[220, 310] > 200
    assert alpha[30, 30] < 30


def test_the_same_picture_gives_the_same_answer() -> None:
    rgb = data.coffee()[::2, ::2]
    one, two = grabcut("2.0.0"), grabcut("2.0.0")
    first = alpha_of(one, np.ascontiguousarray(rgb))
    alpha_of(two, np.ascontiguousarray(rgb[:, ::-1]))
    assert np.array_equal(alpha_of(two, np.ascontiguousarray(rgb)), first)
    assert one.digest == two.digest
    assert one.digest != grabcut("1.0.0").digest


@pytest.mark.parametrize("version", ["1.0.0", "2.0.0"])
@pytest.mark.parametrize("shape", [(1, 1), (1, 900), (900, 1), (7, 7), (8, 8), (40, 2000)])
@pytest.mark.parametrize("fill", ["plain", "noise"])
def test_any_shape_and_no_contents(version: str, shape: tuple[int, int], fill: str) -> None:
    rng = np.random.default_rng(0)
    rgb = np.full((*shape, 3), 128, np.uint8) if fill == "plain" else rng.integers(0, 256, (*shape, 3), dtype=np.uint8)
    alpha = alpha_of(grabcut(version), rgb)
    assert alpha.shape == shape
    assert alpha.dtype == np.uint8


def test_a_result_says_whether_there_was_a_subject() -> None:
    model = grabcut("2.0.0")
    for name, found in (("nothing", False), ("disc", True)):
        opened = DecodedJob(Pixels(drawn(name)), model.prepare(Pixels(drawn(name))), None)
        rendered = finish_and_render(model, opened, model.forward([opened.prepared])[0], Options())
        assert (rendered.assessment.foreground == "found") is found


def test_barrier_distance_sees_what_edges_close_off() -> None:
    lab = np.zeros((40, 50, 3), np.float32)
    lab[..., 0] = np.linspace(0, 40, 50)[None]  # a gradient: near the border everywhere, however it goes on
    lab[10:30, 15:35, 1] = 60
    seeds = np.zeros((40, 50), bool)
    seeds[[0, -1]] = seeds[:, [0, -1]] = True
    distance = barrier_distance(lab, seeds)
    assert distance[20, 25] >= 60
    assert distance[5, 25] < 5
    assert not distance[seeds].any()


def test_cleaning_drops_specks_and_closes_pinholes_but_keeps_rings() -> None:
    mask = np.zeros((100, 100), np.uint8)
    mask[20:80, 20:80] = 1
    mask[50, 50] = 0  # a pinhole
    mask[30:45, 30:45] = 0  # a hole through which the background is seen
    mask[5:9, 5:9] = 1  # a speck
    out = remove_specks(mask, np.ones((100, 100), np.float32))
    assert (out[50, 50], out[37, 37], out[6, 6], out[60, 60]) == (1, 0, 0, 1)
    assert not remove_specks(np.zeros((100, 100), np.uint8), np.ones((100, 100), np.float32)).any()


def test_not_a_number_is_a_problem() -> None:
    pixels = Pixels(np.zeros((4, 4, 3), np.uint8))
    with pytest.raises(Problem, match="not a number"):
        to_size(pixels, np.full((2, 2), np.nan, np.float32), guided=False)


def test_parameters_are_not_ignored() -> None:
    with pytest.raises(ValueError, match="unknown parameter 'tpyo'"):
        grabcut("1.0.0", tpyo=1)
    with pytest.raises(ValueError, match="refine"):
        grabcut("1.0.0", refine="magic")


def seconds_of_cpu(segmenter: Segmenter, rgb: UInt8Array) -> float:
    begun = time.thread_time()
    alpha_of(segmenter, rgb)
    return time.thread_time() - begun


def drawn(name: str) -> UInt8Array:
    """A picture without noise, on white."""
    rgb = np.full((300, 300, 3), 255, np.uint8)
    if name == "disc":
        cv2.circle(rgb, (150, 150), 80, (30, 120, 200), -1)
    if name == "dot":
        cv2.circle(rgb, (150, 150), 4, (0, 0, 0), -1)
    if name == "word":
        cv2.putText(rgb, "Hello", (60, 160), cv2.FONT_HERSHEY_SIMPLEX, 2, (0, 0, 0), 4)
    return rgb


@pytest.mark.parametrize("name", ["nothing", "dot", "word"])
def test_a_drawing_costs_about_as_much_as_a_photograph(name: str) -> None:
    model, photograph = grabcut("2.0.0"), np.ascontiguousarray(data.chelsea())
    usual = min(seconds_of_cpu(model, photograph) for _ in range(3))
    assert min(seconds_of_cpu(model, drawn(name)) for _ in range(2)) < 5 * usual


@pytest.mark.parametrize("version", ["1.0.0", "2.0.0"])
def test_where_nothing_stands_out_there_is_no_subject(version: str) -> None:
    noise = np.random.default_rng(0).normal(0, 1, (300, 300, 3))
    for rgb in (drawn("nothing"), np.full((300, 300, 3), 128, np.uint8), (200 + noise).astype(np.uint8)):
        assert not alpha_of(grabcut(version), rgb).any()
    assert alpha_of(grabcut(version), drawn("disc")).max() > 200
