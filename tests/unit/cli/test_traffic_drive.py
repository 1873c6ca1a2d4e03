"""The driver against a small server on loopback that answers as the test wants."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable

import httpx
import pytest
from matte_cli.traffic.driver import Drive
from matte_cli.traffic.log import Log
from matte_cli.traffic.workload import Body, Schedule, Workload
from matte_core.errors import Problem

MODEL = {
    "name": "m", "default": True, "ready": True, "queue_length": 0,
    "versions": [{"version": "1.0.0", "weight": 100, "ready": True, "replicas": 1, "slots": 1}],
}  # fmt: skip
Answer = bytes | None  # None: the connection is dropped
Handler = Callable[[int, dict[str, str], bytes], Answer]


def answer(status: str, body: bytes = b"", *more: str) -> bytes:
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", "Connection: close", *more, "", ""]
    return "\r\n".join(lines).encode() + body


def problem(found: Problem, *more: str) -> bytes:
    return answer(f"{found.status} x", json.dumps(found.document()).encode(), *more)


PICTURE = answer("200 OK", b"picture", "X-Model-Version: 1.0.0")


async def driven(handler: Handler, load: Workload, *, weights: Callable[[], Answer] | None = None) -> Log:
    """A run to its end; ``handler`` gets the number of each picture as it comes, its headers and its bytes."""
    came = 0

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal came
        head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in head[1:]) if name}
        if head[0].startswith("GET /models/m "):
            reply = weights() if weights else answer("200 OK", json.dumps(MODEL).encode())
        else:
            assert head[0].startswith("POST /models/m/predict ")
            came += 1
            reply = handler(came - 1, headers, await reader.readexactly(int(headers["content-length"])))
        if reply is not None:
            writer.write(reply)
            await writer.drain()
        writer.close()

    server = await asyncio.start_server(talk, "127.0.0.1", 0)
    log, began = Log(), time.monotonic()
    try:
        port = server.sockets[0].getsockname()[1]
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=1.0, trust_env=False) as http:
            await Drive(http, load, log, lambda: time.monotonic() - began).run()
    finally:
        server.close()
        await server.wait_closed()
    return log


def workload(requests: int, *, rate: float | None = None, concurrency: int = 1, **more: object) -> Workload:
    pictures = (Body(b"one", "image/png"), Body(b"two", "image/jpeg"))
    return Workload("m", pictures, Schedule(rate=rate, requests=requests), concurrency, settle=0.0, **more)  # type: ignore[arg-type]


async def test_pictures_and_users_take_turns() -> None:
    seen: list[tuple[str | None, str, bytes]] = []

    def handler(_: int, headers: dict[str, str], body: bytes) -> Answer:
        seen.append((headers.get("x-route-key"), headers["content-type"], body))
        return PICTURE

    log = await driven(handler, workload(4, users=3, key_header="X-Route-Key"))
    assert seen == [
        ("drive-0", "image/png", b"one"), ("drive-1", "image/jpeg", b"two"),
        ("drive-2", "image/png", b"one"), ("drive-0", "image/jpeg", b"two"),
    ]  # fmt: skip
    assert [found.user for found in log.answers] == ["drive-0", "drive-1", "drive-2", "drive-0"]
    assert [sample.weights for sample in log.samples] == [{"1.0.0": 100}] * len(log.samples)
    assert len(log.samples) >= 2


async def test_nobody_is_named_where_the_server_does_not_care() -> None:
    named: list[bool] = []

    def handler(_: int, headers: dict[str, str], __: bytes) -> Answer:
        named.append("drive-" in str(headers))
        return PICTURE

    log = await driven(handler, workload(2, users=3))
    assert named == [False, False]
    assert [found.user for found in log.answers] == [None, None]


@pytest.mark.parametrize("code", ["queue_full", "storage_full"])
async def test_what_the_server_asks_for_is_sent_again_and_counted_apart(code: str) -> None:
    full = problem(Problem(code, "not now", retry_after=0))
    log = await driven(lambda number, *_: full if number in {0, 1} else PICTURE, workload(2))
    assert (log.sent, len(log.answers), log.failures) == (2, 2, [])
    assert (log.retried, log.retries) == (1, {code: 2})


async def test_the_header_alone_says_it_too() -> None:
    full = problem(Problem("shutting_down", "another one does"), "Retry-After: 0")
    log = await driven(lambda number, *_: PICTURE if number else full, workload(1))
    assert (len(log.answers), log.retries) == (1, {"shutting_down": 1})


@pytest.mark.parametrize(
    ("reply", "code"),
    [
        (problem(Problem("attempts_exhausted", "three times")), "attempts_exhausted"),
        (problem(Problem("wait_exceeded", "too long", retry_after=0)), "wait_exceeded"),
        (answer("502 Bad Gateway", b"<html>"), "internal_error"),
        (answer("200 OK", b"picture"), "not_a_result"),
        (answer("200 OK", b"", "X-Model-Version: 1.0.0"), "not_a_result"),
        (answer("202 Accepted", b"{}", "X-Model-Version: 1.0.0"), "not_a_result"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\nX-Model-Version: 1.0.0\r\n\r\nhalf", "connection_lost"),
        (None, "connection_lost"),
    ],
)
async def test_everything_else_is_a_failure(reply: Answer, code: str) -> None:
    log = await driven(lambda number, *_: PICTURE if number else reply, workload(2))
    assert [found.code for found in log.failures] == [code]
    assert (log.sent, len(log.answers), log.retried, log.in_flight) == (2, 1, 0, 0)


async def test_a_server_that_stays_full_is_a_failure() -> None:
    full = problem(Problem("queue_full", "not now", retry_after=0))
    log = await driven(lambda *_: full, workload(1))
    assert [found.code for found in log.failures] == ["queue_full"]
    assert (log.retried, log.retries) == (1, {"queue_full": 7})


async def test_weights_that_nobody_says_leave_a_gap() -> None:
    log = await driven(lambda *_: PICTURE, workload(1), weights=lambda: answer("500 x"))
    assert (log.samples, len(log.answers)) == ([], 1)
    assert log.unseen >= 2


async def test_pictures_go_at_their_times() -> None:
    log = await driven(lambda *_: PICTURE, workload(5, rate=20, concurrency=8))
    assert [found.due for found in log.answers] == [0.0, 0.05, 0.1, 0.15, 0.2]
    assert all(found.sent >= found.due for found in log.answers)
