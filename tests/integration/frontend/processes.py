"""Real processes for the tests: frontends, the worker, and a round robin that is not sticky."""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path

import httpx

WORKER = Path(__file__).with_name("worker.py")


def environment(redis_url: str, prefix: str, **extra: str) -> dict[str, str]:
    return os.environ | {
        "MATTE_REDIS_URL": redis_url, "MATTE_REDIS_PREFIX": prefix, "MATTE_PORT": "0", "MATTE_READY_NEEDS": "store",
        "GRADIO_ANALYTICS_ENABLED": "False", "PYTHONUNBUFFERED": "1", **extra,
    }  # fmt: skip


class Process:
    """A child whose output is read for a line that says it is ready."""

    def __init__(self, command: list[str], env: dict[str, str], ready: str, log: Path) -> None:
        self.log = log
        with log.open("wb") as out:
            self.child = subprocess.Popen(command, env=env, stdout=out, stderr=subprocess.STDOUT)
        self._ready = ready

    @cached_property
    def line(self) -> str:
        """The line that says it is ready; waits for it."""
        deadline = time.monotonic() + 180
        while time.monotonic() < deadline and self.child.poll() is None:
            for line in self.log.read_text().splitlines():
                if self._ready in line:
                    return line
            time.sleep(0.05)
        self.stop()
        raise RuntimeError(f"{self.child.args!r} is not ready: {self.log.read_text()[-2000:]}")

    def stop(self) -> None:
        if self.child.poll() is None:
            self.child.terminate()
            try:
                self.child.wait(15)
            except subprocess.TimeoutExpired:
                self.child.kill()
        self.child.wait()


class FrontendProcess(Process):
    def __init__(
        self, env: dict[str, str], log: Path, command: Sequence[str] = (sys.executable, "-m", "matte_frontend")
    ) -> None:
        super().__init__([*command], env, "listening on", log)

    @cached_property
    def port(self) -> int:
        return int(self.line.partition("listening on ")[2].split('"')[0].rpartition(":")[2])

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


@contextlib.contextmanager
def running(*processes: Process) -> Iterator[None]:
    try:
        yield
    finally:
        for process in processes:
            process.stop()


def start_worker(env: dict[str, str], log: Path, *arguments: str) -> Process:
    return Process([sys.executable, str(WORKER), *arguments], env, "ready", log)


class RoundRobin:
    """An HTTP proxy that gives each request, not each client, the next backend. Connections are closed after one
    answer, so that every request is one connection: then passing bytes on is enough.
    """

    def __init__(self, ports: list[int]) -> None:
        self._ports = ports
        self._next = 0
        self._loop = asyncio.new_event_loop()
        self._tasks: set[asyncio.Task[None]] = set()
        self.served: list[int] = []
        self.port = 0
        self._started = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> RoundRobin:
        self._thread.start()
        assert self._started.wait(10)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(10)

    def _run(self) -> None:
        self._loop.run_until_complete(self._serve())
        self._loop.close()

    async def _serve(self) -> None:
        self._stop = asyncio.Event()
        server = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        self._started.set()
        await self._stop.wait()
        server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            with contextlib.suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
                await self._one(reader, writer)
        finally:
            self._tasks.discard(task)
            writer.close()

    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        self._next += 1
        port = self._ports[self._next % len(self._ports)]
        self.served.append(port)
        lines = [line for line in head[:-4].split(b"\r\n") if not line.lower().startswith(b"connection:")]
        back, forth = await asyncio.open_connection("127.0.0.1", port)
        try:
            forth.write(b"\r\n".join([*lines, b"Connection: close", b"", b""]))
            sending = asyncio.create_task(_pass(reader, forth))
            try:
                await _pass(back, writer)
            finally:
                sending.cancel()
                await asyncio.gather(sending, return_exceptions=True)
        finally:
            forth.close()


async def _pass(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    while chunk := await source.read(65536):
        sink.write(chunk)
        await sink.drain()


def wait_until(condition: object, *, seconds: float = 10.0) -> None:
    assert callable(condition)
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.05)


def ready(url: str) -> bool:
    try:
        return httpx.get(f"{url}/readyz").status_code == 200
    except httpx.TransportError:
        return False
