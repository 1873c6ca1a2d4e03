"""A model that another Gradio app serves, through the whole stack: a real app beside a real Matte."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import cv2
import httpx
import numpy as np
import pytest
from matte_core.contracts.catalog import VersionConfig
from matte_core.errors import Problem
from matte_inference.families.registry import load
from matte_inference.pixels.arrays import Pixels, UInt8Array
from numpy.typing import NDArray
from served import REMOTE_SECONDS, RemoteApp, Served, eventually
from skimage import data
from stack import Stack

pytestmark = [pytest.mark.integration, pytest.mark.timeout(400)]

MEANWHILE = 4


@pytest.fixture
def app(served: Served) -> RemoteApp:
    return served.remote


@pytest.fixture
def stack(served: Served) -> Stack:
    return served.stack


@pytest.fixture(scope="module")
def photo() -> bytes:
    small = cv2.resize(data.astronaut(), (240, 200), interpolation=cv2.INTER_AREA)
    return bytes(cv2.imencode(".jpg", cv2.cvtColor(small, cv2.COLOR_RGB2BGR))[1].tobytes())


def ellipse(height: int, width: int) -> UInt8Array:
    y, x = np.mgrid[:height, :width]
    inside: NDArray[np.bool_] = ((y - height / 2) / (height / 4)) ** 2 + ((x - width / 2) / (width / 4)) ** 2 <= 1
    return (inside * 255).astype(np.uint8)


def cut(stack: Stack, photo: bytes, path: str = "/models/portrait/predict") -> httpx.Response:
    return httpx.post(stack.url + path, content=photo, headers={"Content-Type": "image/jpeg"}, timeout=60)


def submit(stack: Stack, photo: bytes) -> str:
    headers = {"Content-Type": "image/jpeg"}
    answer = httpx.post(f"{stack.url}/v1/jobs?model=portrait", content=photo, headers=headers, timeout=60)
    assert answer.status_code == 202, answer.text
    return str(answer.json()["id"])


def job(stack: Stack, job_id: str) -> dict[str, Any]:
    found: dict[str, Any] = httpx.get(f"{stack.url}/v1/jobs/{job_id}").json()
    return found


def ready(stack: Stack) -> dict[str, bool]:
    return {model["name"]: model["ready"] for model in httpx.get(f"{stack.url}/models").json()["models"]}


def test_its_cut_out_is_ours(stack: Stack, photo: bytes) -> None:
    answer = cut(stack, photo)
    assert answer.status_code == 200, answer.text
    array = cv2.imdecode(np.frombuffer(answer.content, np.uint8), cv2.IMREAD_UNCHANGED)
    assert array is not None
    assert array.shape == (200, 240, 4)
    assert (np.abs(array[..., 3].astype(int) - ellipse(200, 240)) > 64).mean() < 0.01
    assert answer.headers["X-Model"] == "portrait"
    assert answer.headers["X-Model-Digest"].startswith("sha256:")
    version = httpx.get(f"{stack.url}/models/portrait").json()["versions"][0]
    assert (version["family"], version["device"], version["ready"], version["slots"]) == ("gradio", "remote", True, 4)


def test_it_works_on_several_pictures_at_once(stack: Stack, photo: bytes) -> None:
    cut(stack, photo)
    begun = time.monotonic()
    with ThreadPoolExecutor(MEANWHILE) as pool:
        statuses = [answer.status_code for answer in pool.map(lambda _: cut(stack, photo), range(MEANWHILE))]
    took = time.monotonic() - begun
    print(f"{MEANWHILE} pictures of {REMOTE_SECONDS} s each took {took:.2f} s")
    assert statuses == [200] * MEANWHILE
    assert took < MEANWHILE * REMOTE_SECONDS


def test_it_dies_its_jobs_wait_and_are_done_when_it_is_back(stack: Stack, app: RemoteApp, photo: bytes) -> None:
    running_one = submit(stack, photo)
    eventually(lambda: job(stack, running_one)["state"] == "running")
    app.kill()
    try:
        eventually(lambda: ready(stack) == {"grabcut": True, "batched": True, "portrait": False})
        waiting = submit(stack, photo)
        assert cut(stack, photo, "/models/grabcut/predict").status_code == 200
        eventually(lambda: job(stack, running_one)["state"] == "queued")
        time.sleep(4)
        for one in (running_one, waiting):  # a router may learn a second late that the replica stepped back
            assert job(stack, one)["state"] == "queued"
            assert job(stack, one)["attempts"] <= 1
    finally:
        app.start()
    eventually(lambda: ready(stack)["portrait"])
    for one in (running_one, waiting):
        eventually(lambda one=one: job(stack, one)["state"] == "succeeded")  # type: ignore[misc]


# the family alone, beside the real app ------------------------------------------------------------------------


def version(url: str, api_name: str, **parameters: Any) -> VersionConfig:
    given = {"url": url, "api_name": api_name, **parameters}
    return VersionConfig(model="m", version="1.0.0", family="gradio", parameters=given)


def answer(app: RemoteApp, api_name: str, **parameters: Any) -> UInt8Array:
    segmenter = load(version(app.url, api_name, **parameters))
    pixels = Pixels(cv2.resize(data.astronaut(), (300, 200)))
    return segmenter.finish(pixels, segmenter.forward([segmenter.prepare(pixels)])[0])


def test_a_gray_mask_is_an_alpha(app: RemoteApp) -> None:
    alpha = answer(app, "/mask", max_side=150)
    assert alpha.shape == (200, 300)
    assert (np.abs(alpha.astype(int) - ellipse(200, 300)) > 64).mean() < 0.02


@pytest.mark.parametrize(
    ("api_name", "says"),
    [
        ("/photograph", "color picture without transparency"),
        ("/words", "answered without a picture"),
        ("/broken", "failed on this picture: no GPU today"),
    ],
)
def test_an_answer_that_is_none_says_what_came(app: RemoteApp, api_name: str, says: str) -> None:
    with pytest.raises(Problem, match=says) as refused:
        answer(app, api_name)
    assert (refused.value.code, refused.value.status) == ("backend_failed", 502)


def test_one_that_takes_too_long(app: RemoteApp) -> None:
    with pytest.raises(Problem, match=r"gave no answer within 0\.2 s"):
        answer(app, "/remove_background", timeout_seconds=0.2)


def test_a_wrong_endpoint_is_found_at_start_and_names_those_there_are(app: RemoteApp) -> None:
    with pytest.raises(ValueError, match=r"no endpoint /nope; api_name can be: /broken, /mask, /photograph"):
        load(version(app.url, "/nope"))


def test_an_app_that_is_away_is_no_error_but_not_available(tmp_path: Path) -> None:
    absent = RemoteApp(tmp_path, seconds=0)
    segmenter = load(version(absent.url, "/mask"))
    assert not segmenter.available()
    with pytest.raises(Problem, match="backend_unavailable"):
        segmenter.forward([segmenter.prepare(Pixels(data.astronaut()))])
    before = segmenter.digest
    absent.start()
    try:
        assert segmenter.available()
        assert segmenter.digest != before  # now its version is known
        assert segmenter.forward([segmenter.prepare(Pixels(data.astronaut()))])[0].shape == (512, 512)
    finally:
        absent.kill()
    assert not segmenter.available()
