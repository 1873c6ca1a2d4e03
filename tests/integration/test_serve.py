"""Inference on a real Ray Serve: weights move in place, a bad table is refused, pins and retries hold."""

from __future__ import annotations

import json
import signal
import time
from collections import Counter
from itertools import pairwise
from typing import Any

import cv2
import httpx
import numpy as np
import pytest
from served import Served, eventually
from skimage import data
from stack import Stack

pytestmark = [pytest.mark.integration, pytest.mark.timeout(400)]


@pytest.fixture
def stack(served: Served) -> Stack:
    return served.stack


@pytest.fixture(scope="module")
def photo() -> bytes:
    small = cv2.resize(data.astronaut(), (200, 200), interpolation=cv2.INTER_AREA)
    return bytes(cv2.imencode(".jpg", cv2.cvtColor(small, cv2.COLOR_RGB2BGR))[1].tobytes())


def cut(stack: Stack, photo: bytes, path: str = "/models/grabcut/predict") -> httpx.Response:
    return httpx.post(stack.url + path, content=photo, headers={"Content-Type": "image/jpeg"}, timeout=60)


def versions(stack: Stack, photo: bytes, n: int) -> Counter[str]:
    return Counter(cut(stack, photo).headers["X-Model-Version"] for _ in range(n))


def weights(stack: Stack) -> dict[str, int]:
    model = httpx.get(f"{stack.url}/models/grabcut").json()
    return {version["version"]: version["weight"] for version in model["versions"]}


def reload(stack: Stack, text: str) -> None:
    (stack.folder / "matte.yaml").write_text(text)
    assert stack.inference is not None
    stack.inference.send_signal(signal.SIGHUP)


def test_a_cut_out_has_the_pictures_size_and_a_subject(stack: Stack, photo: bytes) -> None:
    answer = cut(stack, photo)
    assert answer.status_code == 200, answer.text
    array = cv2.imdecode(np.frombuffer(answer.content, np.uint8), cv2.IMREAD_UNCHANGED)
    assert array is not None
    assert array.shape == (200, 200, 4)
    assert 0.1 < (array[..., 3] > 128).mean() < 0.9
    assert answer.headers["X-Model-Digest"].startswith("sha256:")


def test_pins_go_where_they_say(stack: Stack, photo: bytes) -> None:
    assert cut(stack, photo, "/v1/predict").headers["X-Model-Version"] == "1.0.0"
    assert cut(stack, photo, "/v2/predict").headers["X-Model-Version"] == "2.0.0"
    assert cut(stack, photo, "/models/grabcut/predict?version=2").headers["X-Model-Version"] == "2.0.0"
    assert cut(stack, photo, "/v3/predict").json()["code"] == "version_not_found"


def test_weights_move_without_a_restart_and_a_bad_table_is_refused(served: Served, photo: bytes) -> None:
    stack = served.stack
    before = [process.pid for name in ("Router", "ModelVersion") for process in stack.serve_processes(name)]
    assert versions(stack, photo, 6) == {"1.0.0": 6}
    reload(stack, served.config(one=0, two=100))
    eventually(lambda: weights(stack) == {"1.0.0": 0, "2.0.0": 100})
    assert versions(stack, photo, 6) == {"2.0.0": 6}

    log = stack.folder / "inference.log"
    reload(stack, served.config(one=10, two=40))
    eventually(lambda: "weights sum to 50" in log.read_text())
    unknown = served.config(one=0, two=0) + "- {model: grabcut, version: 9.0.0, family: grabcut, weight: 100}\n"
    read = log.read_text().count("was read again")
    reload(stack, unknown)
    eventually(lambda: log.read_text().count("was read again") > read)
    time.sleep(2)
    assert weights(stack) == {"1.0.0": 0, "2.0.0": 100}
    assert versions(stack, photo, 4) == {"2.0.0": 4}
    after = [process.pid for name in ("Router", "ModelVersion") for process in stack.serve_processes(name)]
    assert after == before

    reload(stack, served.config(one=50, two=50))
    eventually(lambda: weights(stack) == {"1.0.0": 50, "2.0.0": 50})
    assert set(versions(stack, photo, 24)) == {"1.0.0", "2.0.0"}
    reload(stack, served.config(one=100, two=0))
    eventually(lambda: weights(stack) == {"1.0.0": 100, "2.0.0": 0})


def test_a_picture_that_breaks_in_the_decoder_hurts_nobody_else(stack: Stack, photo: bytes) -> None:
    import corpus

    case = next(case for case in corpus.CASES if case.ok and case.decode == {"picture_corrupt"})
    bad = httpx.post(f"{stack.url}/v1/predict", content=case.data, timeout=60)
    assert (bad.status_code, bad.json()["code"]) == (422, "picture_corrupt")
    assert cut(stack, photo).status_code == 200


@pytest.fixture(scope="module")
def large() -> bytes:
    """36 megapixels: takes much longer than a quarter of a second."""
    whole = cv2.resize(data.astronaut(), (6000, 6000), interpolation=cv2.INTER_LINEAR)
    return bytes(cv2.imencode(".jpg", cv2.cvtColor(whole, cv2.COLOR_RGB2BGR))[1].tobytes())


def events(stack: Stack, job: str) -> list[tuple[str, dict[str, Any]]]:
    """Type and data of each event of a job."""
    lines = httpx.get(f"{stack.url}/v1/jobs/{job}/events", timeout=60).text.splitlines()
    kinds = [line.removeprefix("event: ") for line in lines if line.startswith("event: ")]
    found = [json.loads(line.removeprefix("data: ")) for line in lines if line.startswith("data: ")]
    return [(kind, value) for kind, value in zip(kinds, found, strict=True) if kind != "position"]


@pytest.mark.parametrize("prefer", ["", "preview"])
def test_a_job_tells_its_progress_and_on_request_a_preview(stack: Stack, large: bytes, prefer: str) -> None:
    headers = {"Content-Type": "image/jpeg", "Prefer": prefer}
    job = httpx.post(f"{stack.url}/v1/jobs", content=large, headers=headers, timeout=60).json()["id"]
    received = events(stack, job)
    kinds = [kind for kind, _ in received]
    assert (kinds[0], kinds[-1]) == ("queued", "finished")
    assert kinds.count("preview") == (prefer == "preview")
    steps = [value for kind, value in received if kind == "progress"]
    assert len(steps) >= 2
    fractions, moments = [step["fraction"] for step in steps], [step["at"] for step in steps]
    assert fractions[0] > 0
    assert all(before < after for before, after in pairwise([*fractions, 1]))
    assert all(after - before >= 0.249 for before, after in pairwise(moments))  # times are in ms
    started = next(value["at"] for kind, value in received if kind == "started")
    assert moments[0] - started >= 0.2  # what is over sooner tells nothing; the start is written beside the run
    assert {step["stage"] for step in steps} <= {"fetch", "decode", "forward", "encode", "store"}


def test_who_waits_for_the_picture_pays_for_no_progress(stack: Stack, large: bytes) -> None:
    job = cut(stack, large).headers["X-Job-Id"]
    assert [kind for kind, _ in events(stack, job)] == ["queued", "started", "finished"]
