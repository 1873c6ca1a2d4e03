"""The data plane of rollouts on a real Ray Serve: golden images, mirrored jobs, fallback, and what is in use."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import cv2
import httpx
import psutil
import pytest
from matte_core.contracts.evidence import AnswerSample, AppliedWeights, MaskComparison, MirroredPair, StartReport
from matte_inference.families.unet import MODELS
from matte_jobs.evidence import EvidenceStore
from matte_jobs.settings import StoreSettings
from matte_jobs.store import JobStore
from pool import Pool, PoolStack, router_app, version_app
from skimage import data
from stack import Stack, free_port

pytestmark = [pytest.mark.integration, pytest.mark.timeout(600)]

T = TypeVar("T")
#: stable, the same once more, one that always fails, one whose masks are others
STABLE, SAME, BROKEN, OTHER = "1.0.0", "1.0.1", "1.0.2", "2.0.0"
MODEL = "face"
NAMES = {"cat", "coffee", "person", "rocket"}


@dataclass
class RolloutHarness:
    """A frontend, a pool with four versions, and the evidence."""

    stack: Stack
    pool: Pool
    apps: list[dict[str, Any]]

    def route(self, weights: dict[str, int], mirror: str = "", percent: int = 100) -> float:
        """Moves weights; returns the seconds until every router said that it uses them."""
        own: dict[str, Any] = {"model": MODEL, "arms": [{"version": v, "weight": w} for v, w in weights.items()]}
        if mirror:
            own["mirror"] = {"version": mirror, "percent": percent}
        begun = time.time()
        self.pool.deploy(*self.apps, router_app({"default_model": MODEL, "routes": [own]}))

        def used() -> bool:
            return [applied.weights.get(MODEL) for applied in self.applied()] == [weights]

        self.eventually(used)
        return time.time() - begun

    def cut(self, photo: bytes) -> httpx.Response:
        headers = {"Content-Type": "image/jpeg"}
        return httpx.post(f"{self.stack.url}/models/{MODEL}/predict", content=photo, headers=headers, timeout=60)

    def many(self, photo: bytes, n: int) -> list[httpx.Response]:
        with ThreadPoolExecutor(4) as threads:
            return list(threads.map(lambda _: self.cut(photo), range(n)))

    def ask(self, question: Callable[[EvidenceStore], Awaitable[T]]) -> T:
        async def call() -> T:
            store = JobStore.open(StoreSettings(redis_url=self.stack.redis.url))
            try:
                return await question(EvidenceStore(store))
            finally:
                await store.close()

        return asyncio.run(call())

    def starts(self, version: str) -> list[StartReport]:
        return self.ask(lambda evidence: evidence.start_reports(MODEL, version))

    def answers(self, version: str, since: float) -> list[AnswerSample]:
        return self.ask(lambda evidence: evidence.answers(MODEL, version, since))

    def pairs(self, version: str, since: float) -> list[MirroredPair]:
        return self.ask(lambda evidence: evidence.pairs(MODEL, version, since))

    def shown(self, version: str) -> list[MaskComparison]:
        return self.ask(lambda evidence: evidence.comparisons(MODEL, version))

    def applied(self) -> list[AppliedWeights]:
        return self.ask(lambda evidence: evidence.applied_weights("main", time.time()))

    def eventually(self, check: Callable[[], Any], seconds: float = 60.0) -> None:
        deadline = time.monotonic() + seconds
        while not check():
            assert time.monotonic() < deadline
            time.sleep(0.02)


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Another team's app, one of whose functions always fails."""
    folder, port = tmp_path_factory.mktemp("elsewhere"), free_port()
    program = Path(__file__).parents[1] / "remote_app.py"
    with (folder / "remote.log").open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, str(program), str(port), "0"], stdout=log, stderr=log,
            env={**os.environ, "GRADIO_ANALYTICS_ENABLED": "False", "GRADIO_TEMP_DIR": str(folder / "files")},
        )  # fmt: skip
    yield f"http://127.0.0.1:{port}/"
    process.kill()
    process.wait()


@pytest.fixture(scope="module")
def harness(elsewhere: str, pool_stack: PoolStack) -> RolloutHarness:
    weights = str(MODELS / "unet-1.0.0")
    apps = [
        version_app(MODEL, STABLE, "unet", source=weights, slots=4),
        version_app(MODEL, SAME, "unet", source=weights, slots=4),
        version_app(
            MODEL, BROKEN, "gradio", parameters={"url": elsewhere, "api_name": "/broken"}, slots=4, max_batch_size=1
        ),
        version_app(MODEL, OTHER, "grabcut", slots=4),
    ]
    made = RolloutHarness(pool_stack.stack, pool_stack.pool, apps)
    made.pool.deploy(*apps, router_app({}))
    made.pool.wait_running(*(app["name"] for app in apps), "router")
    made.eventually(lambda: all(made.starts(version) for version in (STABLE, SAME, BROKEN, OTHER)))
    return made


@pytest.fixture(scope="module")
def photo() -> bytes:
    small = cv2.resize(data.astronaut(), (200, 200), interpolation=cv2.INTER_AREA)
    return bytes(cv2.imencode(".jpg", cv2.cvtColor(small, cv2.COLOR_RGB2BGR))[1].tobytes())


def test_every_version_answered_the_golden_images_before_it_took_jobs(harness: RolloutHarness) -> None:
    starts = {version: harness.starts(version)[0] for version in (STABLE, SAME, BROKEN, OTHER)}
    for version, report in starts.items():
        assert {result.name for result in report.golden} == NAMES
        assert all(bool(result.error) == (version == BROKEN) for result in report.golden)
        assert report.digest.startswith("sha256:")
    assert starts[STABLE].digest == starts[SAME].digest != starts[BROKEN].digest
    later = max((STABLE, SAME), key=lambda version: starts[version].at)
    twins = [result.agreements[STABLE if later == SAME else SAME] for result in starts[later].golden]
    assert all((twin.iou, twin.boundary, twin.alpha_difference) == (1, 1, 0) for twin in twins)
    last = max((SAME, OTHER), key=lambda version: starts[version].at)
    ious = [result.agreements[OTHER if last == SAME else SAME].iou for result in starts[last].golden]
    assert min(ious) < 0.8
    assert harness.shown(last)


def test_a_table_in_use_is_told_at_once(harness: RolloutHarness) -> None:
    seconds = [harness.route({STABLE: 100 - weight, SAME: weight}) for weight in (5, 25, 50, 0)]
    print(f"in use after {', '.join(f'{s:.2f}' for s in seconds)} s")
    assert min(seconds) < 3  # 0.9 alone on two cores; a lost wakeup would take 5


def test_a_version_that_always_fails_hurts_nobody(harness: RolloutHarness, photo: bytes) -> None:
    harness.route({STABLE: 90, BROKEN: 10})
    since = time.time()
    answers = harness.many(photo, 200)
    assert Counter(answer.status_code for answer in answers) == {200: 200}, [a.text for a in answers if a.is_error]
    assert Counter(answer.headers["X-Model-Version"] for answer in answers) == {STABLE: 200}
    harness.eventually(lambda: len(harness.answers(STABLE, since)) == 200)
    broken, stable = harness.answers(BROKEN, since), harness.answers(STABLE, since)
    assert 5 <= len(broken) <= 45
    assert all(answer.error for answer in broken)
    assert not any(answer.error or answer.bad_mask for answer in stable)
    assert all(0 < answer.seconds < 30 for answer in stable)


def test_mirrored_jobs_are_compared_and_nobody_sees_the_mirror(harness: RolloutHarness, photo: bytes) -> None:
    for mirror in (SAME, OTHER, BROKEN):
        harness.route({STABLE: 100, mirror: 0}, mirror=mirror)
        since = time.time()
        answers = [harness.cut(photo) for _ in range(8)]
        assert {(answer.status_code, answer.headers["X-Model-Version"]) for answer in answers} == {(200, STABLE)}
        if mirror == BROKEN:
            time.sleep(1)
            assert harness.pairs(mirror, since) == []
            continue
        harness.eventually(lambda mirror=mirror, since=since: len(harness.pairs(mirror, since)) >= 4)  # type: ignore[misc]
        found = [pair.agreement for pair in harness.pairs(mirror, since)]
        if mirror == SAME:
            assert all((one.iou, one.boundary, one.alpha_difference) == (1, 1, 0) for one in found)
        else:
            assert all(one.iou < 0.8 for one in found)
            assert {one.name for one in harness.shown(mirror)} - NAMES  # a mirrored job among them
        assert harness.answers(mirror, since) == []


def test_a_version_whose_replica_dies_hurts_nobody(harness: RolloutHarness, photo: bytes) -> None:
    harness.route({STABLE: 60, SAME: 40})
    app = next(app["name"] for app in harness.apps if app["name"].endswith("1-0-1"))
    victims = [
        process
        for process in psutil.Process(harness.pool.process.pid).children(recursive=True)
        if any(f"ServeReplica:{app}:" in part for part in process.cmdline())
    ]
    assert victims
    with ThreadPoolExecutor(1) as threads:
        answers = threads.submit(harness.many, photo, 60)
        time.sleep(1)
        victims[0].kill()
        assert Counter(answer.status_code for answer in answers.result()) == {200: 60}
