"""The bench of quality itself: its metrics by hand, its composites, its page."""

from __future__ import annotations

import math
import re
from functools import cache
from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml
from matte_core.contracts.registry import ModelMetadata
from matte_inference.pixels.arrays import UInt8Array

from bench.quality.__main__ import configuration, parse
from bench.quality.composites import KINDS, Composite, composite
from bench.quality.measure import MeasureError, run_model
from bench.quality.metrics import Scores, color_error, score
from bench.quality.page import ModelFigures, models_section, write_section
from bench.quality.parity import REMBG_METADATA, Pair, compare, parity_section
from bench.quality.peers import Measured, blocks, peers_section
from bench.quality.photographs import BACKGROUNDS, SUBJECTS
from bench.quality.rembg_environment import LOCK, locked_version


@cache
def of_kind(kind: str) -> Composite:
    return composite(KINDS.index(kind))


def soft_disc(x: int = 150) -> tuple[UInt8Array, UInt8Array]:
    """An alpha (200, 300) with a soft edge, and colors."""
    hard = cv2.circle(np.zeros((200, 300), np.uint8), (x, 100), 60, 255, -1)
    alpha = np.asarray(cv2.GaussianBlur(hard, (0, 0), 4), np.uint8)
    return alpha, np.full((200, 300, 3), (200, 100, 50), np.uint8)


def test_an_alpha_against_itself_is_perfect() -> None:
    alpha, colors = soft_disc()
    found = score(np.dstack((colors, alpha)), alpha, colors)
    assert found == Scores(iou=1, boundary=1, mae=0, sad=0, color=0)


def test_an_inverted_alpha_is_as_wrong_as_can_be() -> None:
    alpha, colors = soft_disc()
    found = score(np.dstack((colors, 255 - alpha)), alpha, colors)
    assert found.iou < 0.02
    assert found.mae == pytest.approx(np.abs(255 - 2 * alpha.astype(int)).mean() / 255)


def test_a_shifted_alpha_loses_by_its_shift() -> None:
    alpha, colors = soft_disc()
    near, far = (score(np.dstack((colors, soft_disc(x)[0])), alpha, colors) for x in (153, 170))
    assert 1 > near.iou > far.iou > 0.5
    assert near.boundary > far.boundary
    assert 0 < near.mae < far.mae
    assert far.sad == pytest.approx(far.mae * alpha.size / 1000)


def test_color_error_by_hand() -> None:
    """Two soft pixels: one 30 off and visible, one 90 off and a third as visible. Opaque ones do not count."""
    alpha = np.array([[255, 150, 150, 0]], np.uint8)
    foreground = np.full((1, 4, 3), 100, np.uint8)
    cutout = np.array([[(0, 0, 0, 255), (130, 70, 130, 150), (190, 190, 190, 50), (9, 9, 9, 255)]], np.uint8)
    assert color_error(cutout, alpha, foreground) == pytest.approx((30 * 150 + 90 * 50) / 200)


def test_no_color_error_where_nothing_soft_was_kept() -> None:
    alpha, colors = soft_disc()
    empty = np.zeros((200, 300, 4), np.uint8)
    assert math.isnan(color_error(empty, alpha, colors))
    kept = Scores(iou=1, boundary=1, mae=0, sad=0, color=8)
    assert Scores.mean([kept, score(empty, alpha, colors)]).color == 8


@pytest.mark.parametrize("kind", KINDS)
def test_a_composite_is_what_its_parts_say(kind: str) -> None:
    """The picture is the blend of the known colors with the background, which shows alone where alpha is 0."""
    made = of_kind(kind)
    assert made.kind == kind
    picture = cv2.cvtColor(cv2.imdecode(np.frombuffer(made.picture, np.uint8), cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)
    assert picture.shape == made.foreground.shape == (*made.alpha.shape, 3)
    share = (made.alpha >= 128).mean()
    assert 0.03 < share < 0.7, f"{share:.0%} is subject"
    soft = ((made.alpha > 0) & (made.alpha < 255)).mean()
    assert soft > 0.002, f"only {soft:.2%} is soft"
    opaque = made.alpha == 255
    off = np.abs(picture[opaque].astype(int) - made.foreground[opaque])
    assert off.mean() < 3, "only noise apart"


def test_kinds_have_what_they_are_named_after() -> None:
    """Soft area of motion, veil and hair; background enclosed by a wheel, basket or cup."""
    soft = {kind: ((made.alpha > 25) & (made.alpha < 230)).mean() for kind in KINDS for made in [of_kind(kind)]}
    assert min(soft["hair"], soft["veil"], soft["motion"]) > 0.01
    enclosed = (of_kind("holes").alpha < 128).astype(np.uint8)
    assert cv2.connectedComponents(enclosed)[0] > 3


def test_composites_are_the_same_every_time() -> None:
    first, again = of_kind("hair"), composite(0)
    assert again.picture == first.picture
    assert np.array_equal(again.alpha, first.alpha)
    assert composite(6).picture != first.picture


def test_no_photograph_is_both_subject_and_background() -> None:
    assert not SUBJECTS.keys() & BACKGROUNDS.keys()
    contents = [photo.read().tobytes() for photo in (*SUBJECTS.values(), *BACKGROUNDS.values())]
    assert len(set(contents)) == len(contents)


def test_a_real_model_runs_in_a_process_of_its_own() -> None:
    def small(made: Composite) -> bytes:
        array = cv2.imdecode(np.frombuffer(made.picture, np.uint8), cv2.IMREAD_COLOR)
        return bytes(cv2.imencode(".png", cv2.resize(array, (120, 160)))[1])

    seen: list[int] = []
    run = run_model(configuration("grabcut@2.0.0"), [small(of_kind("hair")), small(of_kind("fur"))], seen.append)
    assert [cutout.shape for cutout in run.cutouts] == [(160, 120, 4)] * 2
    assert seen == [1, 2]
    assert len(run.seconds) == 2
    assert 20e6 < run.peak < 2e9


def test_a_model_that_cannot_be_loaded_says_why() -> None:
    with pytest.raises(MeasureError, match=r"nowhere"):
        run_model(configuration("nowhere@1.0.0"), [b""], lambda _: None)


def test_the_page_keeps_the_sections_of_other_runs(tmp_path: Path) -> None:
    page = tmp_path / "quality.md"
    write_section(page, "peers", "## Peers\n\nold")
    write_section(page, "models", "## Models")
    write_section(page, "peers", "## Peers\n\nnew")
    text = page.read_text()
    assert text.index("## Models") < text.index("## Peers")
    assert "new" in text
    assert "old" not in text
    assert text.count("# Quality") == 1


def test_models_are_in_one_table_and_failures_are_named() -> None:
    scores = {"01 hair": Scores(0.9, 0.8, 0.01, 12.3, 20.5), "02 fur": Scores(0.7, 0.6, 0.03, 20.3, math.nan)}
    figures = [
        ModelFigures("isnet@1.0.0", scores, 2.5, 900_000_000),
        ModelFigures("u2net@1.0.0", {}, failure="no place has it"),
    ]
    text = models_section(figures, {"01 hair": "hair", "02 fur": "fur"}, "today", ["- one"])
    assert "| isnet@1.0.0 | 0.800 | 0.700 | 0.0200 | 16.3 | 20.5 | 2.50 | 900 MB |" in text
    assert "| isnet@1.0.0 | 0.900, 0.0100 | 0.700, 0.0300 |" in text
    assert "- u2net@1.0.0: no place has it" in text


def test_arguments() -> None:
    assert parse([]).pictures % len(KINDS) == 0
    assert parse(["--models", "isnet@1.0.0"]).models == "isnet@1.0.0"
    for wrong in (["--models", "isnet"], ["--pictures", "0"]):
        with pytest.raises(SystemExit):
            parse(wrong)


def test_parity_names_the_least_agreement() -> None:
    pairs = [
        Pair("cat", 0.14, 0.9994, 0.001, 2.0, 2.2),
        Pair("plant", 1.2, 0.95, 0.02, 2.0, 3.0),
        Pair("grass", 1, 0, 1, 1, 1.3),
    ]
    text = parity_section(pairs, "today")
    assert "Least IoU 0.9500 (plant), and 1 of 2 at 0.995 or above. rembg takes 1.30 times as long" in text
    assert "| grass (no subject) | 1.00 | 0.0000" in text
    assert "| cat | 0.14 | 0.9994 | 0.0010 | 2.00 | 2.20 |" in text


def test_pairs_are_compared_at_full_size() -> None:
    alpha, colors = soft_disc()
    png, shifted = (
        bytes(cv2.imencode(".png", np.dstack((colors, mask)))[1]) for mask in (alpha, np.roll(alpha, 10, axis=1))
    )
    same, other = compare("one", (1.0, png), (2.0, png)), compare("two", (1.0, png), (2.0, shifted))
    assert (same.iou, same.difference, same.megapixels) == (1, 0, 0.06)
    assert 0.7 < other.iou < 0.95


def test_rembg_is_given_its_own_constants() -> None:
    """matte.yaml of the comparison is one that the family onnx accepts, and says what rembg's dis_custom does."""
    metadata = ModelMetadata.model_validate(yaml.safe_load(REMBG_METADATA))
    stated = metadata.family_parameters
    assert (stated["filter"], stated["scale"], stated["normalize"], stated["refine"]) == (
        "lanczos", "max", "min-max", "none"
    )  # fmt: skip
    assert tuple(stated["mean"]) == (0.5, 0.5, 0.5)


def test_blocks_send_a_third_one_at_a_time() -> None:
    for count in (6, 10, 300):
        made = list(blocks(count))
        assert sum(size for _, size in made) == count
        assert sum(size for concurrency, size in made if concurrency == 1) == count // 3
        assert all(0 < size <= 5 * concurrency for concurrency, size in made)


def test_peers_are_compared_as_far_as_they_got() -> None:
    matte = Measured({1: [2.0, 4.0], 8: [10.0] * 6}, {1: 6.0, 8: 12.0}, [(0, 1e9), (8, 1.1e9)])
    rembg = Measured({1: [3.0, 3.0], 8: [12.0] * 5}, {1: 6.0, 8: 20.0}, [(0, 5e8), (8, 2e9)], ["ReadTimeout: late"])
    text = peers_section({"Matte": matte, "rembg": rembg}, 10, "today")
    assert "**Not finished: 8 of 10 pictures.**" in text
    assert "| Matte | 1 | 2 | 0.333 | 3.00 | 3.90 | – |" in text
    assert "| rembg | 8 | 5 | 0.250 | 12.00 | 12.00 | 1 |" in text
    assert "| rembg | 500 MB | 2000 MB |" in text
    assert "rembg: ReadTimeout: late" in text
    assert "Not finished" not in peers_section({"Matte": matte, "rembg": rembg}, 8, "today")


def test_rembg_is_locked_with_hashes() -> None:
    blocks_ = re.split(r"^(?=[a-zA-Z0-9])", LOCK.read_text(), flags=re.MULTILINE)[1:]
    assert all("--hash=sha256:" in block for block in blocks_)
    assert "://" not in LOCK.read_text()
    assert re.fullmatch(r"[\d.]+", locked_version("rembg"))
