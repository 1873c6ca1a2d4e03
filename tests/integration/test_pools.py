"""Pools on a real Ray Serve, configured as the operator does it: by Serve's configuration alone."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import httpx
import pytest
from pool import Pool, PoolStack, router_app, table, version_app
from skimage import data
from stack import Stack

pytestmark = [pytest.mark.integration, pytest.mark.timeout(600)]

ONE, TWO = version_app("portrait", "1.0.0"), version_app("portrait", "2.0.0", slots=4, drain_seconds=5)
BOTH = table("portrait", portrait={"1.0.0": 0, "2.0.0": 100})


@dataclass
class PoolHarness:
    """A frontend, and the pool ``main``."""

    stack: Stack
    pool: Pool
    folder: Path

    def get(self, path: str) -> httpx.Response:
        return httpx.get(self.stack.url + path, timeout=30)

    def models(self) -> dict[str, bool]:
        return {model["name"]: model["ready"] for model in self.get("/models").json()["models"]}

    def cut(self, path: str, photo: bytes, timeout: float = 60) -> httpx.Response:
        headers = {"Content-Type": "image/jpeg"}
        return httpx.post(self.stack.url + path, content=photo, headers=headers, timeout=timeout)


@pytest.fixture(scope="module")
def harness(pool_stack: PoolStack) -> PoolHarness:
    return PoolHarness(pool_stack.stack, pool_stack.pool, pool_stack.folder)


@pytest.fixture(scope="module")
def photo() -> bytes:
    small = cv2.resize(data.astronaut(), (200, 200), interpolation=cv2.INTER_AREA)
    return bytes(cv2.imencode(".jpg", cv2.cvtColor(small, cv2.COLOR_RGB2BGR))[1].tobytes())


def eventually(check: Callable[[], Any], seconds: float = 30.0) -> None:
    deadline = time.monotonic() + seconds
    while not check():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_versions_and_an_empty_table_come_first_routes_when_they_run(harness: PoolHarness, photo: bytes) -> None:
    assert (harness.get("/readyz").status_code, harness.get("/readyz").json()["code"]) == (503, "model_not_ready")
    assert harness.get("/models").status_code == 503
    harness.pool.deploy(ONE, TWO, router_app(table(None)))
    harness.pool.wait_running("portrait-1-0-0", "portrait-2-0-0", "router")
    nothing: dict[str, Any] = {"default_model": None, "pending_default_model": None, "models": []}
    eventually(lambda: harness.get("/models").json() == nothing)
    early = harness.cut("/v1/predict", photo)
    assert (early.status_code, early.json()["code"], early.headers["Retry-After"]) == (503, "model_not_ready", "5")

    before = harness.pool.replicas()
    harness.pool.deploy(ONE, TWO, router_app(BOTH))
    eventually(lambda: harness.models() == {"portrait": True})
    assert harness.cut("/models/portrait/predict", photo).headers["X-Model-Version"] == "2.0.0"
    assert harness.cut("/v1/predict", photo).headers["X-Model-Version"] == "1.0.0"
    assert harness.pool.replicas() == before
    slots = {v["version"]: v["slots"] for v in harness.get("/models/portrait").json()["versions"]}
    assert slots == {"1.0.0": 2, "2.0.0": 4}


def test_a_version_without_its_weights_says_what_is_missing_and_disturbs_nobody(
    harness: PoolHarness, photo: bytes
) -> None:
    before = harness.pool.replicas()
    broken = version_app("hair", "1.0.0", "unet", source="file:///models/hair")
    harness.pool.deploy(ONE, TWO, broken, router_app(BOTH))
    found = harness.pool.wait(lambda apps: "there is no folder" in apps["hair-1-0-0"][1])
    said = found["hair-1-0-0"][1].splitlines()[-1]
    assert "WeightsError: WeightsMissing: hair-1-0-0: there is no folder /models/hair: put the version's files" in said
    found = harness.pool.wait(lambda apps: apps["hair-1-0-0"][0] == "DEPLOY_FAILED")
    assert "there is no folder /models/hair" in found["hair-1-0-0"][1]
    assert {name: found[name][0] for name in ("portrait-1-0-0", "portrait-2-0-0", "router")} == dict.fromkeys(
        ("portrait-1-0-0", "portrait-2-0-0", "router"), "RUNNING"
    )
    assert before <= harness.pool.replicas()
    assert harness.cut("/models/portrait/predict", photo).status_code == 200


def test_wrong_arguments_are_named(harness: PoolHarness, photo: bytes) -> None:
    harness.pool.deploy(ONE, TWO, version_app("hair", "1.0.0", "no-such-family"), router_app(BOTH))
    harness.pool.wait(lambda apps: "unknown family 'no-such-family'; there are" in apps["hair-1-0-0"][1])
    harness.pool.deploy(ONE, TWO, version_app("hair", "1.0.0", slotz=3), router_app(BOTH))
    found = harness.pool.wait(lambda apps: "slotz" in apps["hair-1-0-0"][1])
    assert found["hair-1-0-0"][0] == "DEPLOY_FAILED"
    assert "ValueError: args: slotz: Extra inputs are not permitted" in found["hair-1-0-0"][1].splitlines()
    assert harness.cut("/models/portrait/predict", photo).status_code == 200


def test_a_table_that_is_too_early_waits_for_its_version(harness: PoolHarness, photo: bytes) -> None:
    early = table("portrait", portrait={"1.0.0": 0, "2.0.0": 0, "3.0.0": 100})
    harness.pool.deploy(ONE, TWO, router_app(early))
    time.sleep(3)
    assert harness.cut("/models/portrait/predict", photo).headers["X-Model-Version"] == "2.0.0"
    three = version_app("portrait", "3.0.0")
    harness.pool.deploy(ONE, TWO, three, router_app(early))
    eventually(lambda: harness.cut("/models/portrait/predict", photo).headers["X-Model-Version"] == "3.0.0", 60)
    harness.pool.deploy(ONE, TWO, router_app(BOTH))
    eventually(lambda: harness.cut("/models/portrait/predict", photo).headers["X-Model-Version"] == "2.0.0")


def test_a_router_that_comes_back_serves_what_there_is(harness: PoolHarness, photo: bytes) -> None:
    """As after a restart of everything: the table is there at once, one of its versions is broken."""
    broken = version_app("hair", "1.0.0", slotz=3)
    half = table("portrait", portrait={"2.0.0": 100}, hair={"1.0.0": 100})
    harness.pool.deploy(TWO)
    harness.pool.wait(lambda apps: "router" not in apps)
    harness.pool.deploy(TWO, broken, router_app(half))
    eventually(lambda: harness.models() == {"portrait": True, "hair": False}, 60)
    assert harness.cut("/models/portrait/predict", photo).headers["X-Model-Version"] == "2.0.0"
    harness.pool.deploy(ONE, TWO, router_app(BOTH))
    harness.pool.wait_running("portrait-1-0-0", "portrait-2-0-0", "router")
    eventually(lambda: harness.models() == {"portrait": True}, 60)


def test_a_replica_that_holds_too_much_answers_first_and_is_replaced(harness: PoolHarness, photo: bytes) -> None:
    before = harness.pool.replicas()
    whole = cv2.resize(data.astronaut(), (7000, 7000), interpolation=cv2.INTER_LINEAR)
    large = bytes(cv2.imencode(".jpg", cv2.cvtColor(whole, cv2.COLOR_RGB2BGR))[1].tobytes())

    def is_replaced() -> bool:
        """What it holds is looked at every few seconds."""
        assert harness.cut("/models/portrait/predict", large).status_code == 200
        return len(before - harness.pool.replicas()) == 1

    eventually(is_replaced, 90)
    eventually(lambda: len(harness.pool.replicas()) == len(before), 60)
    assert harness.cut("/models/portrait/predict", photo).headers["X-Model-Version"] == "2.0.0"
    assert len(before - harness.pool.replicas()) == 1, "the others hold what they need"


def test_pools_are_one_interface_and_a_lost_one_keeps_its_jobs(harness: PoolHarness, photo: bytes) -> None:
    other = Pool.start("other", harness.folder, harness.stack.environment)
    sky = version_app("sky", "1.0.0")
    try:
        other.deploy(sky, router_app(table("sky", sky={"1.0.0": 100})))
        eventually(lambda: harness.models() == {"portrait": True, "sky": True}, 60)
        assert harness.get("/models").json()["default_model"] == "portrait"  # main sorts before other
        assert harness.cut("/models/sky/predict", photo).headers["X-Model"] == "sky"
        assert harness.cut("/models/portrait/predict", photo).headers["X-Model"] == "portrait"
    finally:
        other.kill()
    eventually(lambda: harness.models() == {"portrait": True, "sky": False})
    headers = {"Content-Type": "image/jpeg"}
    job = httpx.post(f"{harness.stack.url}/v1/jobs?model=sky", content=photo, headers=headers).json()
    assert job["state"] == "queued"
    again = Pool.start("other", harness.folder, harness.stack.environment)
    try:
        again.deploy(sky, router_app(table("sky", sky={"1.0.0": 100})))
        eventually(lambda: harness.get(f"/v1/jobs/{job['id']}").json()["state"] == "succeeded", 90)
        again.deploy(sky, router_app(table(None)))
        eventually(lambda: harness.models() == {"portrait": True})
        gone = harness.cut("/models/sky/predict", photo)
        assert (gone.status_code, gone.json()["code"]) == (404, "model_not_found")
    finally:
        again.kill()
