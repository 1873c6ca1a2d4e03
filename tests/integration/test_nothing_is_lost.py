"""Promise 1: with 200 jobs in flight a gateway, the router, a replica and Redis die, and every job is answered."""

from __future__ import annotations

import hashlib
import itertools
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import cv2
import httpx
import numpy as np
import pytest
from stack import Stack, running

pytestmark = [pytest.mark.integration, pytest.mark.timeout(600)]

JOBS = 200
CONFIG = """
default_model: grabcut
versions:
- {model: grabcut, version: 1.0.0, family: grabcut, weight: 100, replicas: 2, slots: 2}
"""


def picture(i: int) -> bytes:
    """Distinct pictures: a result that was swapped for another's would show."""
    rng = np.random.default_rng(i)
    array = cv2.resize(rng.integers(0, 256, (6, 6, 3), dtype=np.uint8), (480, 480), interpolation=cv2.INTER_CUBIC)
    cv2.circle(array, (240, 240), 80 + 2 * (i % 40), tuple(int(c) for c in rng.integers(0, 256, 3)), -1)
    return bytes(cv2.imencode(".jpg", array)[1].tobytes())


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    folder = tmp_path_factory.mktemp("lost")
    quick = {"MATTE_LEASE_SECONDS": "6", "MATTE_ANNOUNCE_SECONDS": "1", "MATTE_CATALOG_SECONDS": "0"}
    with running(folder, config=CONFIG, gateways=2, **quick) as started:
        yield started


class Asker:
    """A client that asks again, at whichever gateway answers."""

    def __init__(self, stack: Stack) -> None:
        self.stack = stack
        self.turn = itertools.count()
        self.client = httpx.Client(timeout=30)

    def ask(self, method: str, path: str, *, until: float = 240.0, **request: object) -> httpx.Response:
        deadline = time.monotonic() + until
        while True:
            urls = list(self.stack.gateways)
            url = urls[next(self.turn) % len(urls)]
            try:
                answer = self.client.request(method, url + path, **request)  # type: ignore[arg-type]
                if answer.status_code not in (409, 502, 503):
                    return answer
            except httpx.HTTPError:
                pass
            assert time.monotonic() < deadline, f"{method} {path} had no answer"
            time.sleep(0.3)


def kill(stack: Stack, name: str) -> None:
    victim = stack.serve_processes(name)[0]
    victim.send_signal(signal.SIGKILL)
    victim.wait(10)


@pytest.fixture
def asker(stack: Stack) -> Iterator[Asker]:
    opened = Asker(stack)
    yield opened
    opened.client.close()


def test_200_jobs_survive_every_death(stack: Stack, asker: Asker) -> None:
    pictures = [picture(i) for i in range(JOBS)]
    alone = asker.ask("POST", "/v1/predict", content=pictures[0], headers={"Content-Type": "image/jpeg"})
    assert alone.status_code == 200, alone.text

    def admit(i: int) -> str:
        headers = {"Content-Type": "image/jpeg", "Idempotency-Key": f"lost-{i}"}
        answer = asker.ask("POST", "/v1/jobs", content=pictures[i], headers=headers)
        assert answer.status_code == 202, answer.text
        return str(answer.json()["id"])

    with ThreadPoolExecutor(8) as pool:
        ids = list(pool.map(admit, range(JOBS)))
    assert len(set(ids)) == JOBS
    queued = asker.ask("GET", "/models").json()["models"][0]["queue_length"]
    assert queued > JOBS // 2, "the jobs ended before anything could die"

    url, gateway = next(iter(stack.gateways.items()))
    gateway.kill()
    gateway.wait()
    del stack.gateways[url]
    kill(stack, "Router")
    time.sleep(2)
    kill(stack, "ModelVersion")
    stack.add_gateway()
    time.sleep(2)
    assert stack.redis.process is not None
    stack.redis.process.kill()
    stack.redis.process.wait()
    time.sleep(0.5)
    stack.redis.start()

    digests: dict[str, str] = {}
    for job_id in ids:
        answer = asker.ask("GET", f"/v1/jobs/{job_id}/result")
        assert answer.status_code == 200, (job_id, answer.status_code, answer.text)
        digests[job_id] = hashlib.sha256(answer.content).hexdigest()
    again = {job_id: asker.ask("GET", f"/v1/jobs/{job_id}/result").content for job_id in ids}
    assert {job_id: hashlib.sha256(content).hexdigest() for job_id, content in again.items()} == digests
    assert digests[ids[0]] == hashlib.sha256(alone.content).hexdigest()
    assert len(set(digests.values())) == len({hashlib.sha256(p).hexdigest() for p in pictures})

    same = asker.ask(
        "POST", "/v1/jobs", content=pictures[7], headers={"Content-Type": "image/jpeg", "Idempotency-Key": "lost-7"}
    )
    assert same.json()["id"] == ids[7]
    for job_id in ids:
        events = [e for e in asker.ask("GET", f"/v1/jobs/{job_id}/events").text.split("\n") if e.startswith("event: ")]
        assert events.count("event: finished") == 1
