from __future__ import annotations

import gzip

import pytest
from matte_frontend.compression import CompressionMiddleware, accepts_gzip
from starlette.responses import Response
from starlette.testclient import TestClient
from starlette.types import Receive, Scope, Send

TEXT = b"the same again and again, " * 100


@pytest.mark.parametrize(
    ("accepted", "taken"),
    [
        ("gzip", True), ("gzip, deflate, br", True), ("*", True), ("gzip;q=0.5", True), ("identity;q=0.5, gzip", True),
        ("", False), (" ", False), ("br", False), ("gzip;q=0", False), ("*, gzip;q=0", False), ("*;q=0", False),
        ("identity, gzip;q=0.5", False), ("gzipped", False),
    ],
)  # fmt: skip
def test_who_accepts_gzip(accepted: str, taken: bool) -> None:
    assert accepts_gzip(accepted) is taken


def client(*, body: bytes = TEXT, status: int = 200, kind: str = "application/json", **headers: str) -> TestClient:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        answer = Response(b"" if status == 304 else body, status, given, kind)
        await answer(scope, receive, send)

    return TestClient(CompressionMiddleware(app))


def test_text_is_compressed() -> None:
    answer = client(etag='"a"', vary="Accept").get("/")
    assert answer.content == TEXT
    assert answer.headers["content-encoding"] == "gzip"
    assert answer.headers["vary"] == "Accept, Accept-Encoding"
    assert answer.headers["etag"] == 'W/"a"'
    assert int(answer.headers["content-length"]) == len(gzip.compress(TEXT, 5)) < len(TEXT)


def test_who_does_not_take_it_gets_it_plain() -> None:
    answer = client(etag='"a"').get("/", headers={"Accept-Encoding": "gzip;q=0"})
    assert "content-encoding" not in answer.headers
    assert (answer.headers["etag"], answer.headers["vary"]) == ('"a"', "Accept-Encoding")


@pytest.mark.parametrize(
    "app",
    [
        client(kind="image/png"), client(kind="text/event-stream"), client(kind="application/zip"),
        client(status=206), client(body=b"{}"), client(cache_control="no-store, no-transform"),
    ],
)  # fmt: skip
def test_what_passes_as_it_is(app: TestClient) -> None:
    answer = app.get("/")
    assert "content-encoding" not in answer.headers
    assert "vary" not in answer.headers


def test_what_is_unchanged_has_the_tag_that_the_client_knows() -> None:
    app = client(status=304, etag='"a"')
    for known in ('W/"a"', '"a"'):
        assert app.get("/", headers={"If-None-Match": known}).headers["etag"] == known
