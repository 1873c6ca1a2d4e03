"""What is taken from another Gradio app's answer."""

from __future__ import annotations

import io

import numpy as np
import pytest
from matte_core.contracts.catalog import VersionConfig
from matte_core.errors import Problem
from matte_inference.families.remote import GradioApp, Parameters, RemoteSegmenter, find_files, load, read_alpha
from matte_inference.pixels.arrays import Pixels
from PIL import Image

RAMP = np.tile(np.linspace(0, 255, 64).astype(np.uint8), (48, 1))


def saved(picture: Image.Image, kind: str, **options: int) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


def cutout() -> Image.Image:
    picture = Image.new("RGB", (64, 48), (200, 30, 40))
    picture.putalpha(Image.fromarray(RAMP))
    return picture


@pytest.mark.parametrize(
    ("data", "tolerance"),
    [
        (saved(cutout(), "PNG"), 0),
        (saved(cutout(), "WEBP"), 2),
        (saved(Image.fromarray(RAMP), "PNG"), 0),
        (saved(Image.fromarray(RAMP).convert("RGB"), "PNG"), 0),
        (saved(Image.fromarray(RAMP).convert("RGB"), "JPEG", quality=90), 6),
    ],
    ids=["rgba-png", "rgba-webp", "l-png", "gray-rgb-png", "gray-jpeg"],
)
def test_transparency_or_a_gray_picture_is_the_alpha(data: bytes, tolerance: int) -> None:
    assert np.abs(read_alpha(data).astype(int) - RAMP).max() <= tolerance


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (saved(Image.new("RGB", (64, 48), (200, 30, 40)), "PNG"), "color picture without transparency"),
        (b"<html>log in</html>", "answered:"),
        (saved(Image.effect_noise((64, 48), 50), "PNG")[:900], "answered:"),
        (saved(Image.new("L", (9000, 9000)), "PNG"), "pixels"),
    ],
    ids=["color", "html", "truncated", "huge"],
)
def test_anything_else_is_the_backends_failure(data: bytes, says: str) -> None:
    with pytest.raises(Problem, match=says) as refused:
        read_alpha(data)
    assert (refused.value.code, refused.value.status) == ("backend_failed", 502)


def test_files_are_found_in_any_nesting_and_only_the_first_few() -> None:
    file = {"path": "/tmp/a.png", "url": "http://elsewhere/a.png", "meta": {"_type": "gradio.FileData"}}
    assert find_files(file) == ["/tmp/a.png"]
    assert find_files(([{"image": file, "caption": None}], {"path": "/b.png"})) == ["/tmp/a.png", "/b.png"]
    assert find_files([{"path": str(i)} for i in range(9)]) == ["0", "1", "2", "3"]
    assert find_files(("a cat", 3, None, {"path": None})) == []


def test_an_answer_of_another_shape_is_refused() -> None:
    parameters = Parameters(url="http://127.0.0.1:1/")
    remote = RemoteSegmenter(GradioApp(parameters, slots=1), parameters)
    picture = Pixels(np.zeros((480, 641, 3), np.uint8))
    assert remote.finish(picture, np.full((240, 320), 7, np.uint8)).shape == (480, 641)
    assert remote.finish(Pixels(np.zeros((1, 3000, 3), np.uint8)), np.zeros((1, 2048), np.uint8)).shape == (1, 3000)
    with pytest.raises(Problem, match="641 × 480 pixels with one of 320 × 320"):
        remote.finish(picture, np.zeros((320, 320), np.uint8))


@pytest.mark.parametrize(
    ("parameters", "says"),
    [
        ({}, "m-1-0-0: url: Field required"),
        ({"url": "file:///etc/passwd"}, "url: String should match"),
        ({"url": "http://user:secret@host/"}, "url: .*leave it out"),
        ({"url": "http://host/", "api_nam": "/x"}, "api_nam: Extra inputs"),
    ],
)
def test_wrong_parameters_are_named_and_no_secret_is_repeated(parameters: dict[str, str], says: str) -> None:
    with pytest.raises(ValueError, match=says) as refused:
        load(VersionConfig(model="m", version="1.0.0", family="gradio", parameters=parameters))
    assert "secret" not in str(refused.value)
