"""Headers, addresses and values that no client of good will sends: each is answered, none with a 5xx."""

from __future__ import annotations

import json
import socket
import uuid
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from integration.frontend.conftest import Platform
from integration.frontend.test_events import submit

pytestmark = [pytest.mark.integration, pytest.mark.timeout(120, func_only=True)]
DIGITS = b"9" * 5000
PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAQAAAC1HAwCAAAAC0lEQVR42mP8/x8AAwMCAO+ip1sAAAAASUVORK5CYII="


def status(port: int, request: bytes) -> int:
    """What a raw request is answered with; 0: the connection was closed without an answer."""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as raw:
        raw.sendall(request)
        head = raw.recv(65536)
    return int(head.split(b" ", 2)[1]) if head else 0


def raw(
    method: bytes, target: bytes, *headers: tuple[bytes, bytes], body: bytes = b"", host: bytes = b"127.0.0.1"
) -> bytes:
    lines = [
        method + b" " + target + b" HTTP/1.1", b"Host: " + host, b"Connection: close",
        *(name + b": " + value for name, value in headers),
        *([b"Content-Length: %d" % len(body)] if body else []),
    ]  # fmt: skip
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


JSON = (b"Content-Type", b"application/json")
FORM = b'--x\r\nContent-Disposition: form-data; name="image"; filename="a"\r\n\r\nabc\r\n--x--\r\n'


def posted(document: object, target: bytes = b"/v1/predict") -> bytes:
    return raw(b"POST", target, JSON, body=json.dumps(document).encode())


def joined(image: object) -> bytes:
    return posted(
        {"data": [image], "fn_index": 0, "session_hash": uuid.uuid4().hex}, b"/gradio_api/queue/join"
    )  # fmt: skip


def form(kind: bytes) -> bytes:
    return raw(b"POST", b"/v1/predict", (b"Content-Type", kind), body=FORM)


CASES: dict[str, bytes] = {
    "url of a broken address": joined({"url": "http://[::1/gradio_api/file=uploads/x"}),
    "path of a broken address": joined({"path": "http://[/gradio_api/file=x"}),
    "url with a broken port": joined({"url": "http://127.0.0.1:99999999/gradio_api/file=x"}),
    "lone surrogate as event": posted({"session_hash": "a", "event_id": "\ud800"}, b"/gradio_api/cancel"),
    "lone surrogate as version": posted({"image_b64": PIXEL, "version": "\ud800"}, b"/models/cut/predict"),
    "lone surrogate as model": posted({"image_b64": PIXEL, "model": "\ud800"}, b"/v1/jobs"),
    "lone surrogate as option": posted({"image_b64": PIXEL, "bg_color": "\ud800"}),
    "lone surrogate as name": posted({"image_b64": PIXEL, "\ud800": 1}),
    "lone surrogate as picture": posted({"image_b64": "\ud800"}),
    "deep hints": posted({"image_b64": PIXEL, "hints": "[" * 100_000}),
    "not a number as option": raw(
        b"POST", b"/v1/predict", JSON, body=b'{"image_b64": "%s", "crop": NaN}' % PIXEL.encode()
    ),
    "long number as option": raw(
        b"POST", b"/v1/predict", JSON, body=b'{"image_b64": "%s", "crop": %s}' % (PIXEL.encode(), DIGITS)
    ),
    "JSON that is not UTF-8": raw(b"POST", b"/v1/predict", JSON, body=b'{"image_b64": "\xff"}'),
    "long major version": raw(b"POST", b"/v%s/predict" % DIGITS, body=b"x"),
    "long version": raw(b"POST", b"/models/cut/predict?version=" + DIGITS, body=b"x"),
    "long version of three": raw(b"POST", b"/models/cut/predict?version=1.%s.0" % DIGITS, body=b"x"),
    "address that is not UTF-8": raw(b"GET", b"/v1/jobs/%ff%fe%00"),
    "query that is not UTF-8": raw(b"POST", b"/v1/predict?%ff=%fe&bg_color=%ff", body=b"x"),
    "file that is not UTF-8": raw(b"GET", b"/gradio_api/file=%ff%00"),
    "host of a broken address": raw(b"GET", b"/v1/limits", host=b"[::1"),
    "host of a broken address, a problem": raw(b"GET", b"/nowhere", host=b"["),
    "host with a long port": raw(b"GET", b"/config", host=b"a:" + DIGITS),
    "host of a broken address, Gradio": raw(b"GET", b"/config", host=b"["),
    "forwarded host of a broken address": raw(b"GET", b"/config", (b"X-Forwarded-Host", b"[")),
    "forwarded scheme of nothing": raw(b"GET", b"/config", (b"X-Forwarded-Proto", b":// ,")),
    "forwarded host, events": raw(
        b"GET", b"/gradio_api/queue/data?session_hash=a", (b"X-Forwarded-Host", b"[::1, a:" + DIGITS)
    ),
    "charset that is none": form(b"multipart/form-data; boundary=x; charset=undefined"),
    "charset that is no text": form(b"multipart/form-data; boundary=x; charset=base64"),
    "charset of names": form(b"multipart/form-data; boundary=x; charset=idna"),
    "long boundary": form(b"multipart/form-data; boundary=" + DIGITS),
    "boundary that is not ASCII": form(b"multipart/form-data; boundary=\xff\xfe"),
    "odd content type": form(b'multipart/form-data; boundary="x'),
    "prefers a long time": raw(b"POST", b"/v1/predict", (b"Prefer", b"wait=" + DIGITS), body=b"x"),
    "route key that is not ASCII": raw(b"POST", b"/v1/predict", (b"X-Route-Key", b"\xff"), body=b"x"),
    "idempotency key that is not ASCII": raw(b"POST", b"/v1/predict", (b"Idempotency-Key", b"\xff"), body=b"x"),
    "traceparent that is not ASCII": raw(b"GET", b"/v1/limits", (b"traceparent", b"\xff"), (b"X-Request-Id", b"\xff")),
}


@pytest.mark.parametrize("case", CASES)
def test_answered(platform: Platform, case: str) -> None:
    assert 200 <= status(platform.frontends[0].port, CASES[case]) < 500


@pytest.mark.parametrize(
    "last",
    [
        "18446744073709551615-18446744073709551615", "99999999999999999999-1", "0-99999999999999999999", "-", "0-0",
        "99999999999999-0", "1-", "9" * 5000, "1-1-1", "²-1",
    ],
)  # fmt: skip
def test_last_event_id(client: httpx.Client, jpeg: bytes, last: str) -> None:
    """What is no id of ours counts as none: the stream begins anew, and ends."""
    view = submit(client, jpeg, "slow")
    headers = {b"Last-Event-ID": last.encode("latin-1")}
    kinds = [
        line.partition(": ")[2]
        for line in client.get(view["links"]["events"], headers=headers).text.splitlines()
        if line.startswith("event:")
    ]
    assert kinds[0] == "queued"
    assert kinds[-1] == "finished"


ODD = st.binary(max_size=40).map(lambda b: bytes(c for c in b if c > 31 and c != 127))
HEADERS = (
    b"Accept", b"Accept-Encoding", b"Content-Type", b"Forwarded", b"If-Modified-Since", b"If-None-Match", b"If-Range",
    b"Last-Event-ID", b"Origin", b"Prefer", b"Range", b"X-Forwarded-Host", b"X-Forwarded-Proto", b"traceparent",
)  # fmt: skip
TARGETS = (
    b"/",
    b"/static/app.js",
    b"/v1/limits",
    b"/config",
    b"/openapi.json",
    b"/v1/jobs/none/events",
    b"/v1/predict",
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from(TARGETS), st.lists(st.tuples(st.sampled_from(HEADERS), ODD), max_size=4))
def test_any_headers(platform: Platform, target: bytes, headers: list[tuple[bytes, bytes]]) -> None:
    method, body = (b"POST", b"x") if target == b"/v1/predict" else (b"GET", b"")
    assert 200 <= status(platform.frontends[0].port, raw(method, target, *headers, body=body)) < 500


def test_gradio_values(client: httpx.Client) -> None:
    """Of every kind that JSON has, in every place of a call."""
    values: list[Any] = [None, True, 7, -1, 1e400, "", "x", [], [[]], {}, {"path": 7}, {"path": "a://["}, "\ud800"]
    for value in values:
        for body in (
            {"data": value, "fn_index": 0, "session_hash": "a"}, {"data": [value], "fn_index": 0, "session_hash": "a"},
            {"data": [{"path": "x"}, value, value, value], "fn_index": 0, "session_hash": "a"},
            {"data": [], "fn_index": value, "session_hash": "a"}, {"data": [], "fn_index": 0, "session_hash": value},
        ):  # fmt: skip
            for path in ("queue/join", "cancel", "call/segment", "call/v2/segment"):
                answer = client.post(f"/gradio_api/{path}", content=json.dumps(body))
                assert answer.status_code < 500, (path, body, answer.text)
