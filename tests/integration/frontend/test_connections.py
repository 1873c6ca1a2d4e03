"""Bounds on connections, with raw sockets against a frontend whose bounds are short."""

from __future__ import annotations

import contextlib
import json
import re
import select
import socket
import time
from collections.abc import Iterator

import httpx
import psutil
import pytest
from integration.frontend.conftest import Platform
from integration.frontend.processes import FrontendProcess, ready, running, wait_until

pytestmark = pytest.mark.integration
HEADER_SECONDS, GRACE_SECONDS, PER_ADDRESS, HEADER_BYTES = 1.5, 1.0, 20, 65_536
HEAD = b"Host: localhost\r\n"
PREDICT = b"POST /v1/predict HTTP/1.1\r\nContent-Type: image/jpeg\r\n" + HEAD


@pytest.fixture(scope="module")
def frontend(platform: Platform, tmp_path_factory: pytest.TempPathFactory) -> Iterator[FrontendProcess]:
    """One more frontend on the platform's store."""
    env = platform.env | {
        "MATTE_HEADER_SECONDS": str(HEADER_SECONDS), "MATTE_BODY_GRACE_SECONDS": str(GRACE_SECONDS),
        "MATTE_MIN_BODY_RATE": "1000", "MATTE_MAX_CONNECTIONS_PER_ADDRESS": str(PER_ADDRESS),
        "MATTE_TRUSTED_PROXIES": "127.0.0.7", "MATTE_KEEP_ALIVE_SECONDS": "2", "MATTE_METRICS_PORT": str(free_port()),
    }  # fmt: skip
    process = FrontendProcess(env, tmp_path_factory.mktemp("bounds") / "frontend.log")
    process.metrics = f"http://127.0.0.1:{env['MATTE_METRICS_PORT']}/metrics"  # type: ignore[attr-defined]
    with running(process):
        wait_until(lambda: ready(process.url))
        yield process


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def connected(frontend: FrontendProcess, sent: bytes = b"", *, source: str = "127.0.0.1") -> socket.socket:
    opened = socket.create_connection(("127.0.0.1", frontend.port), timeout=10, source_address=(source, 0))
    opened.sendall(sent)
    return opened


def read_all(connection: socket.socket) -> bytes:
    """Everything up to the end of the connection."""
    found = b""
    with contextlib.suppress(ConnectionResetError):
        while chunk := connection.recv(65536):
            found += chunk
    connection.close()
    return found


def refused(answer: bytes, status: int, code: str) -> dict[str, str]:
    """The headers of a refusal, which is like every other answer."""
    head, _, body = answer.partition(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
    assert first.startswith(f"HTTP/1.1 {status} "), answer[:300]
    assert headers["content-type"] == "application/problem+json"
    assert headers["connection"] == "close"
    assert {"x-request-id", "traceparent", "vary"} <= set(headers)
    assert json.loads(body)["code"] == code
    return headers


def count(frontend: FrontendProcess, code: str) -> float:
    text = httpx.get(frontend.metrics).text  # type: ignore[attr-defined]
    found = re.search(rf'^matte_connections_refused_total{{code="{code}"}} (\S+)$', text, re.MULTILINE)
    return float(found[1]) if found else 0.0


def job_stream(frontend: FrontendProcess, jpeg: bytes) -> socket.socket:
    """The events of a job that waits; its head is read."""
    job = httpx.post(f"{frontend.url}/v1/jobs?model=asleep", content=jpeg, headers={"Content-Type": "image/jpeg"})
    stream = connected(frontend, b"GET " + job.json()["links"]["events"].encode() + b" HTTP/1.1\r\n" + HEAD + b"\r\n")
    assert stream.recv(65536).startswith(b"HTTP/1.1 200 ")
    return stream


class TestTooSlow:
    def test_silent_and_half_sent(self, frontend: FrontendProcess) -> None:
        """200 silent connections, 100 half-sent headers and 100 slow bodies, at once: none is there afterwards."""
        began = time.monotonic()
        sources = [f"127.0.1.{n + 1}" for n in range(20)]
        silent = [connected(frontend, source=source) for source in sources for _ in range(10)]
        half = [connected(frontend, b"GET /models HTTP/1.1\r\nHos", source=source) for source in sources[:10]
                for _ in range(10)]  # fmt: skip
        slow = [connected(frontend, PREDICT + b"Content-Length: 100000\r\n\r\nxyz", source=source)
                for source in sources[10:] for _ in range(10)]  # fmt: skip
        assert {read_all(connection) for connection in silent} == {b""}, "closed without a word: nothing was asked"
        for connection in half:
            refused(read_all(connection), 408, "request_timeout")
        for connection in slow:
            refused(read_all(connection), 408, "request_timeout")
        assert time.monotonic() - began < 60
        assert count(frontend, "request_timeout") >= 200
        assert count(frontend, "idle") >= 200
        assert httpx.get(f"{frontend.url}/healthz").status_code == 200

    def test_dripping(self, frontend: FrontendProcess) -> None:
        """A client that always sends something, but next to nothing."""
        for start in (b"GET /models HTTP/1.1\r\nX-Drip: ", PREDICT + b"Content-Length: 100000\r\n\r\n" + b"x" * 90_000):
            connection = connected(frontend, start)
            answer, began = b"", time.monotonic()
            while not answer and time.monotonic() - began < 30:
                connection.sendall(b"x")
                if select.select([connection], [], [], 0.05)[0]:
                    answer = read_all(connection)
            refused(answer, 408, "request_timeout")

    def test_slow_but_fast_enough(self, frontend: FrontendProcess, jpeg: bytes) -> None:
        size = len(jpeg) // 12 + 1
        connection = connected(frontend, PREDICT + b"Connection: close\r\nContent-Length: %d\r\n\r\n" % len(jpeg))
        began = time.monotonic()
        for start in range(0, len(jpeg), size):
            connection.sendall(jpeg[start : start + size])
            time.sleep(0.2)
        assert time.monotonic() - began > 2 * GRACE_SECONDS
        assert read_all(connection).startswith(b"HTTP/1.1 200 ")

    def test_a_body_that_nobody_awaits(self, frontend: FrontendProcess) -> None:
        """The answer came before the body, as for one that is too large: the rest is not awaited for ever."""
        connection = connected(frontend, PREDICT + b"Content-Length: 31000000\r\n\r\n")
        assert read_all(connection).startswith(b"HTTP/1.1 413 ")

    def test_empty_lines_keep_nothing_alive(self, frontend: FrontendProcess) -> None:
        connection = connected(frontend, b"GET /healthz HTTP/1.1\r\n" + HEAD + b"\r\n")
        answer = b""
        while not answer.endswith(b'{"status":"ok"}'):  # head and body are two writes
            answer += connection.recv(65536)
        assert answer.startswith(b"HTTP/1.1 200 ")
        connection.sendall(b"\r\n")
        assert read_all(connection) == b""

    def test_expectation(self, frontend: FrontendProcess) -> None:
        """A client that awaits 100 Continue is not slow: it is told at once, and then must send."""
        connection = connected(frontend, PREDICT + b"Expect: 100-continue\r\nContent-Length: 10\r\n\r\n")
        assert connection.recv(65536).startswith(b"HTTP/1.1 100 ")
        refused(read_all(connection), 408, "request_timeout")


class TestTooMuch:
    @pytest.mark.parametrize("line", [b"x" * 1000, b"X-Many: 1\r\n"], ids=["one endless header", "endless headers"])
    def test_20_megabytes_of_headers(self, frontend: FrontendProcess, line: bytes) -> None:
        connection = connected(
            frontend, b"GET /models HTTP/1.1\r\n" + HEAD + b"Origin: http://localhost:3000\r\nX-Big: "
        )
        piece = line * (20_000_000 // 20 // len(line))
        with contextlib.suppress(OSError):
            for _ in range(20):
                connection.sendall(piece)
        headers = refused(read_all(connection), 431, "headers_too_large")
        assert headers["access-control-allow-origin"] == "http://localhost:3000", "a page can read why"

    def test_headers_up_to_the_bound(self, frontend: FrontendProcess) -> None:
        fine = {f"X-{n}": "1" for n in range(90)} | {"X-Big": "x" * 60_000}
        assert httpx.get(f"{frontend.url}/healthz", headers=fine).status_code == 200
        for wrong in ({f"X-{n}": "1" for n in range(101)}, {"X-Big": "x" * HEADER_BYTES}):
            answer = httpx.get(f"{frontend.url}/healthz", headers=wrong)
            assert (answer.status_code, answer.json()["code"]) == (431, "headers_too_large")

    def test_endless_trailers(self, frontend: FrontendProcess) -> None:
        connection = connected(frontend, PREDICT + b"Transfer-Encoding: chunked\r\n\r\n4\r\nabcd\r\n0\r\n")
        with contextlib.suppress(OSError):
            for _ in range(100):
                connection.sendall(b"X-Trailer: 1\r\n" * 1000)
        refused(read_all(connection), 431, "headers_too_large")

    def test_not_http(self, frontend: FrontendProcess) -> None:
        refused(
            read_all(connected(frontend, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03")), 400, "malformed_request"
        )

    def test_connections_of_one_client(self, frontend: FrontendProcess) -> None:
        mine = [connected(frontend, source="127.0.0.9") for _ in range(PER_ADDRESS)]
        headers = refused(read_all(connected(frontend, source="127.0.0.9")), 429, "too_many_connections")
        assert int(headers["retry-after"]) > 0
        other = connected(
            frontend, b"GET /healthz HTTP/1.1\r\nConnection: close\r\n" + HEAD + b"\r\n", source="127.0.0.8"
        )
        assert read_all(other).startswith(b"HTTP/1.1 200 ")
        for connection in mine:
            connection.close()
        again = b"GET /healthz HTTP/1.1\r\nConnection: close\r\n" + HEAD + b"\r\n"
        wait_until(lambda: read_all(connected(frontend, again, source="127.0.0.9")).startswith(b"HTTP/1.1 200 "))

    def test_connections_of_a_trusted_proxy_are_not_counted(self, frontend: FrontendProcess) -> None:
        ask = b"GET /healthz HTTP/1.1\r\n" + HEAD + b"\r\n"
        opened = [connected(frontend, ask, source="127.0.0.7") for _ in range(2 * PER_ADDRESS)]
        for connection in opened:
            with connection:
                assert connection.recv(65536).startswith(b"HTTP/1.1 200 ")


class TestAcceptedConnections:
    def test_streams_are_not_cut(self, frontend: FrontendProcess, jpeg: bytes) -> None:
        """Longer than all bounds: silent, half-closed, and with half a request behind."""
        quiet, closed, impatient = (job_stream(frontend, jpeg) for _ in range(3))
        closed.shutdown(socket.SHUT_WR)
        impatient.sendall(b"GET /models HTTP/1.1\r\nX-Half: ")
        time.sleep(2 * HEADER_SECONDS)
        for stream in (quiet, closed, impatient):
            stream.settimeout(20)
            while b": alive\n\n" not in (piece := stream.recv(65536)):
                assert piece, "the stream was cut"
            stream.close()

    def test_a_slow_reader_gets_everything(self, frontend: FrontendProcess) -> None:
        """An answer that does not fit into the buffers of the system."""
        with socket.socket() as reader:
            reader.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            reader.settimeout(20)
            reader.connect(("127.0.0.1", frontend.port))
            reader.sendall((b"GET /config HTTP/1.1\r\n" + HEAD + b"\r\n") * 15)
            time.sleep(2 * HEADER_SECONDS)
            answer = b""
            while answer.count(b"HTTP/1.1 200 ") < 15:
                piece = reader.recv(4096)
                assert piece, answer[-500:]
                answer += piece

    def test_keep_alive(self, frontend: FrontendProcess) -> None:
        ask, answers = b"GET /healthz HTTP/1.1\r\n" + HEAD + b"\r\n", b""
        connection = connected(frontend)
        for number in range(3):
            connection.sendall(ask)
            while answers.count(b'{"status":"ok"}') <= number:
                piece = connection.recv(65536)
                assert piece, answers
                answers += piece
            time.sleep(0.6)
        assert read_all(connection) == b"", "idle: closed"

    def test_pipelining(self, frontend: FrontendProcess) -> None:
        ask = b"GET /healthz HTTP/1.1\r\n" + HEAD + b"\r\n"
        last = b"GET /v1/limits HTTP/1.1\r\nConnection: close\r\n" + HEAD + b"\r\n"
        answers = read_all(connected(frontend, ask * 9 + last))
        assert answers.count(b"HTTP/1.1 200 ") == 10
        assert b"max_pixels" in answers.rpartition(b"HTTP/1.1 200 ")[2]
        flood = read_all(connected(frontend, ask * 3000))
        assert 1 <= flood.count(b"HTTP/1.1 200 ") < 3000, "some are answered, and the rest must be asked again"
        assert flood.count(b"HTTP/1.1 ") == flood.count(b"HTTP/1.1 200 ")

    def test_a_gone_client_frees_its_place(self, frontend: FrontendProcess, jpeg: bytes) -> None:
        stream = job_stream(frontend, jpeg)
        port = stream.getsockname()[1]
        assert port in peers(frontend)
        stream.close()
        wait_until(lambda: port not in peers(frontend), seconds=30)


def peers(frontend: FrontendProcess) -> set[int]:
    """The ports of those whose connections the frontend holds, whether they still live or not."""
    held = psutil.Process(frontend.child.pid).net_connections("tcp")
    return {connection.raddr.port for connection in held if connection.raddr}
