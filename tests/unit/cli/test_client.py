"""The client against a real server on loopback that drops connections when the test wants it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import httpx
import pytest
from matte_cli.client import Api, Retry, UnreachableError, problem_of
from matte_core.errors import Problem

VIEW = {"id": "j1", "state": "queued", "model": "m", "created_at": 0.0}
Request = tuple[str, str, dict[str, str], bytes]
Answer = bytes | None  # None: the connection is dropped
Handler = Callable[[Request], Answer]


def answer(status: str, body: bytes = b"", *, kind: str = "application/json", more: str = "") -> bytes:
    head = (
        f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n{more}Connection: close\r\n\r\n"
    )
    return head.encode() + body


def events(*blocks: str) -> bytes:
    """A stream that ends when the connection closes."""
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n"
    return head + "".join(f"{block}\n\n" for block in blocks).encode()


async def read(reader: asyncio.StreamReader) -> Request:
    head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
    method, path, _ = head[0].split()
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in head[1:]) if name}
    return method, path, headers, await reader.readexactly(int(headers.get("content-length", "0")))


@asynccontextmanager
async def server(handler: Handler) -> AsyncIterator[Api]:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if (reply := handler(await read(reader))) is not None:
            writer.write(reply)
            await writer.drain()
        writer.close()

    async def no_wait(_: float) -> None:
        await asyncio.sleep(0)

    running = await asyncio.start_server(talk, "127.0.0.1", 0)
    port = running.sockets[0].getsockname()[1]
    http = httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", trust_env=False)
    try:
        async with Api(http, retry=Retry(attempts=4), sleep=no_wait) as api:
            yield api
    finally:
        running.close()
        await running.wait_closed()


async def test_a_lost_answer_is_asked_for_again_with_the_same_key() -> None:
    seen: list[Request] = []

    def handler(request: Request) -> Answer:
        seen.append(request)
        return None if len(seen) == 1 else answer("202 Accepted", json.dumps(VIEW).encode())

    async with server(handler) as api:
        view = await api.submit(b"picture", "image/jpeg", {"crop": "true"}, "key-1")
    assert view.id == "j1"
    assert [request[1] for request in seen] == ["/v1/jobs?crop=true"] * 2
    assert [request[2]["idempotency-key"] for request in seen] == ["key-1"] * 2
    assert [request[3] for request in seen] == [b"picture"] * 2


async def test_following_goes_on_behind_the_last_event() -> None:
    asked: list[str | None] = []

    def handler(request: Request) -> Answer:
        asked.append(request[2].get("last-event-id"))
        if len(asked) == 1:
            return events('id: 1-0\nevent: queued\ndata: {"position": 1}', 'event: position\ndata: {"position": 0}')
        if len(asked) == 2:
            return None
        return events('id: 2-0\nevent: started\ndata: {"at": 5.0}', "id: 3-0\nevent: finished\ndata: {}")

    async with server(handler) as api:
        found = [(event.type, event.id) async for event in api.follow("j1")]
    assert asked == [None, "1-0", "1-0"]
    assert found == [("queued", "1-0"), ("position", "1-0"), ("started", "2-0"), ("finished", "3-0")]


async def test_nothing_more_to_send_is_the_end() -> None:
    async with server(lambda _: b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n") as api:
        assert [event async for event in api.follow("j1")] == []


async def test_following_gives_up_on_a_server_that_stays_away() -> None:
    asked: list[Request] = []

    def handler(request: Request) -> Answer:
        asked.append(request)
        return None

    async with server(handler) as api:
        with pytest.raises(UnreachableError, match="make run"):
            [event async for event in api.follow("j1")]
    assert len(asked) == 4


@pytest.mark.parametrize(("code", "status", "times"), [("queue_full", "429 x", 4), ("not_a_picture", "415 x", 1)])
async def test_only_what_may_pass_is_tried_again(code: str, status: str, times: int) -> None:
    asked: list[Request] = []

    def handler(request: Request) -> Answer:
        asked.append(request)
        return answer(status, json.dumps(Problem(code, "why").document()).encode(), kind="application/problem+json")

    async with server(handler) as api:
        with pytest.raises(Problem) as caught:
            await api.submit(b"x", "image/png", {}, "k")
    assert caught.value.code == code
    assert len(asked) == times


def test_waits_grow_and_listen_to_the_server() -> None:
    retry = Retry(attempts=9)
    assert [retry.delay(n) for n in (1, 2, 3, 7, 8, 9)] == [0.25, 0.5, 1.0, 15.0, 15.0, None]
    assert retry.delay(1, retry_after=3.0) == 3.0
    assert retry.delay(1, retry_after=900.0) == 15.0


def test_an_answer_of_a_proxy_becomes_a_problem() -> None:
    problem = problem_of(httpx.Response(503, text="<html>", headers={"Retry-After": "7"}))
    assert (problem.code, problem.retry_after) == ("internal_error", 7.0)
    assert "503" in problem.detail
