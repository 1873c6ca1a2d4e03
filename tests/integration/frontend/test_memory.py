"""A body takes at most three times a picture's limit of memory while it is read, whatever its shape."""

from __future__ import annotations

import base64
import random
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
from integration.frontend.conftest import Platform

pytestmark = pytest.mark.integration
LIMIT = 30_000_000
PIECE = 1_000_000
JSON = "application/json"
FORM = "multipart/form-data; boundary=x"
FIELD = b'--x\r\nContent-Disposition: form-data; name="a"\r\n\r\n'
FILE = b'--x\r\nContent-Disposition: form-data; name="%s"; filename="a"\r\n\r\n'


def filled(head: bytes, unit: bytes, size: int, tail: bytes = b"") -> Callable[[], Iterator[bytes]]:
    """A body of ``size`` bytes that repeats ``unit`` between its head and its tail, in pieces."""
    piece = unit * (PIECE // len(unit))

    def pieces() -> Iterator[bytes]:
        yield head
        for _ in range(size // len(piece)):
            yield piece
        yield tail

    return pieces


NOISY = random.Random(1).randbytes(3 * PIECE)
BODIES: dict[str, tuple[str, str, Callable[[], Iterator[bytes]]]] = {
    "empty objects": ("/v1/predict", JSON, filled(b'{"image_b64":"","x":[', b"{},", 76_000_000, b"{}]}")),
    "empty objects first": ("/v1/jobs", JSON, filled(b'{"x":[', b"{},", 39_000_000, b'{}],"image_b64":""}')),
    "keys": ("/v1/predict", JSON, filled(b'{"image_b64":""', b',"abcdefg":1', 39_000_000, b"}")),
    "nesting": ("/v1/predict", JSON, filled(b"", b'{"a":', 39_000_000)),
    "escapes": ("/v1/predict", JSON, filled(b'{"x":"', rb"\u0041", 39_000_000, b'"}')),
    "escapes in the picture": ("/v1/predict", JSON, filled(b'{"image_b64":"', rb"\/", 39_000_000, b'"}')),
    "a number": ("/v1/predict", JSON, filled(b'{"x":', b"9", 39_000_000, b"}")),
    "a picture": (
        "/v1/predict", JSON, filled(b'{"image_b64":"', base64.b64encode(NOISY)[: PIECE // 4 * 4], 39_000_000, b'"}'),
    ),
    "two pictures": (
        "/v1/predict", JSON,
        filled(b'{"bg_image_b64":"%s","image_b64":"' % base64.b64encode(NOISY * 4), b"QUJD", 22_000_000, b'"}'),
    ),
    "parts": ("/v1/predict", FORM, filled(b"", FIELD + b"\r\n", 29_000_000)),
    "headers": ("/v1/predict", FORM, filled(b"--x\r\n", b"A: b\r\n", 29_000_000)),
    "a header": ("/v1/predict", FORM, filled(b"--x\r\nA: ", b"b", 29_000_000)),
    "a field": ("/v1/predict", FORM, filled(FIELD, b"b", 29_000_000)),
    "a file without end": ("/v1/predict", FORM, filled(FILE % b"image", b"b", 29_000_000)),
    "two files": (
        "/v1/predict", FORM,
        filled(FILE % b"bg_image" + NOISY * 4 + b"\r\n" + FILE % b"image", b"b", 17_000_000, b"\r\n--x--\r\n"),
    ),
    "an upload": ("/gradio_api/upload", FORM, filled(FILE % b"files", b"b", 29_000_000)),
    "a call": ("/gradio_api/queue/join", JSON, filled(b'{"data":[', b"{},", 76_000_000, b"{}]}")),
    "a cancellation": ("/gradio_api/cancel", JSON, filled(b'{"event_id":[', b"[],", 900_000, b"[]]}")),
    "the picture itself": ("/v1/predict", "image/jpeg", filled(b"\xff\xd8\xff", b"b", 29_000_000)),
    "no type": ("/v1/predict", "", filled(b"", b"b", 29_000_000)),
}  # fmt: skip


def proportional(pid: int) -> int:
    """Bytes that a process has of the machine's memory, its share of what it shares (PSS)."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) * 1024
    raise LookupError(pid)


class Peak:
    """The most that a process had while this was entered."""

    def __init__(self, pid: int) -> None:
        self.pid, self.most, self._over = pid, 0, threading.Event()
        self._thread = threading.Thread(target=self._watch)

    def _watch(self) -> None:
        while not self._over.wait(0.02):
            self.most = max(self.most, proportional(self.pid))

    def __enter__(self) -> Peak:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()
        self.most = max(self.most, proportional(self.pid))


@pytest.fixture(scope="module")
def rest(platform: Platform) -> int:
    return proportional(platform.frontends[0].child.pid)


@pytest.mark.parametrize("body", BODIES)
def test_bounded(platform: Platform, rest: int, body: str) -> None:
    path, kind, pieces = BODIES[body]
    frontend = platform.frontends[0]
    headers = {"Content-Type": kind} if kind else {}
    before = proportional(frontend.child.pid)
    with Peak(frontend.child.pid) as peak:
        try:
            answer = httpx.post(f"{frontend.url}{path}", content=pieces(), headers=headers, timeout=60)
        except httpx.TransportError:
            pass  # refused before all of it was sent: the connection is closed
        else:
            assert answer.status_code < 500, answer.text
            if "file" in body or "upload" in body or "picture" in body:
                assert answer.status_code != 413, answer.text
    assert peak.most - before <= 3 * LIMIT
    assert peak.most - rest <= 4 * LIMIT, "what the allocator keeps is used again"
