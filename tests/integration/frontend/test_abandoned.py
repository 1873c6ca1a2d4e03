"""Callers that go away without waiting for their answer."""

from __future__ import annotations

import socket
import uuid
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
import redis
from integration.frontend.conftest import Platform, photo
from integration.frontend.processes import wait_until

pytestmark = pytest.mark.integration
JPEG = {"Content-Type": "image/jpeg"}


@pytest.fixture
def keys(platform: Platform) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(platform.env["MATTE_REDIS_URL"], decode_responses=True) as client:
        yield client


class Abandoned:
    """Calls of one test: their model's jobs as the store has them."""

    def __init__(self, platform: Platform, keys: redis.Redis, model: str) -> None:
        self._port = platform.frontends[0].port  # nothing between that keeps the connection
        self._prefix = f"{platform.env['MATTE_REDIS_PREFIX']}job:"
        self._keys: Any = keys
        self._model = model
        self._before = {name for name, _ in self._all()}

    def _all(self) -> list[tuple[str, str]]:
        names = self._keys.scan_iter(match=f"{self._prefix}*", _type="hash")
        jobs = [(name, *self._keys.hmget(name, "model", "state")) for name in names]
        return [(name, state) for name, model, state in jobs if model == self._model]

    def states(self) -> list[str]:
        """Of the jobs that came since."""
        return [state for name, state in self._all() if name not in self._before]

    def call(self, *headers: str, state: str) -> None:
        """Calls, and goes away once one more job is in this state."""
        picture, count = photo(), self.states().count(state)
        head = [
            f"POST /models/{self._model}/predict HTTP/1.1", "Host: 127.0.0.1", "Content-Type: image/jpeg",
            f"Content-Length: {len(picture)}", *headers,
        ]  # fmt: skip
        with socket.create_connection(("127.0.0.1", self._port), timeout=10) as raw:
            raw.sendall("\r\n".join([*head, "", ""]).encode() + picture)
            wait_until(lambda: self.states().count(state) > count)


def test_nobody_waits_for_the_abandoned(
    platform: Platform, client: httpx.Client, keys: redis.Redis, jpeg: bytes
) -> None:
    calls = Abandoned(platform, keys, "asleep")
    inputs = set(keys.scan_iter(match=f"{platform.env['MATTE_REDIS_PREFIX']}blob:*:image"))
    for _ in range(6):
        calls.call(state="queued")
        wait_until(lambda: "queued" not in calls.states())
    assert calls.states() == ["canceled"] * 6
    waiting = client.post("/v1/jobs", params={"model": "asleep"}, content=jpeg, headers=JPEG).json()
    blobs = set(keys.scan_iter(match=f"{platform.env['MATTE_REDIS_PREFIX']}blob:*:image")) - inputs
    assert [waiting["id"] in blob for blob in blobs] == [True]
    client.delete(waiting["links"]["self"])


def test_a_running_one_is_ended_too(platform: Platform, keys: redis.Redis) -> None:
    calls = Abandoned(platform, keys, "slow")
    calls.call(state="running")
    wait_until(lambda: calls.states() == ["canceled"])


@pytest.mark.parametrize("header", ["Idempotency-Key", "Prefer"])
def test_who_can_ask_again_finds_his_job(
    platform: Platform, client: httpx.Client, keys: redis.Redis, header: str
) -> None:
    calls = Abandoned(platform, keys, "slow")
    value = str(uuid.uuid4()) if header == "Idempotency-Key" else "wait=20"
    calls.call(f"{header}: {value}", state="running")
    wait_until(lambda: calls.states() == ["succeeded"])
    if header == "Idempotency-Key":
        headers = JPEG | {header: value}
        assert client.post("/models/slow/predict", content=photo(), headers=headers).status_code == 200
        assert calls.states() == ["succeeded"]
