"""Matte's own programs as processes: Redis, inference, frontends. For the integration tests and the bench."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psutil
from matte_jobs.embedded import EmbeddedRedis

START_SECONDS = 180.0


def free_port() -> int:
    """A port nobody listens on."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


@dataclass
class Stack:
    """A running Matte. ``frontends`` are processes by their base URL."""

    folder: Path
    redis: EmbeddedRedis
    environment: dict[str, str]
    inference: subprocess.Popen[bytes] | None = None
    frontends: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    @property
    def url(self) -> str:
        """The first frontend."""
        return next(iter(self.frontends))

    def start_inference(self) -> None:
        """Ray, the router and every configured version; returns before they are ready."""
        self.inference = self._spawn("inference", ["-m", "matte_inference"], {})

    def add_frontend(self) -> str:
        """One more frontend; returns its base URL once it answers."""
        port = free_port()
        url = f"http://127.0.0.1:{port}"
        own = {"MATTE_PORT": str(port), "MATTE_HOST": "127.0.0.1"}
        self.frontends[url] = self._spawn(f"frontend-{port}", ["-m", "matte_frontend"], own)
        self._wait(lambda: httpx.get(f"{url}/healthz").is_success, f"frontend {url}")
        return url

    def wait_ready(self, models: Sequence[str] = ()) -> None:
        """Until the named models (all, if none are named) have a live replica of an open version."""

        def ready() -> bool:
            answer = httpx.get(f"{self.url}/models")
            if not answer.is_success:
                return False
            found = {model["name"]: model["ready"] for model in answer.json()["models"]}
            return bool(found) and all(found.get(name) for name in models or found)

        self._wait(ready, "models")

    def serve_processes(self, name: str) -> list[psutil.Process]:
        """Replicas whose Serve application or deployment has ``name`` in its title."""
        assert self.inference is not None
        found = []
        for process in psutil.Process(self.inference.pid).children(recursive=True):
            with contextlib.suppress(psutil.Error):
                title = " ".join(process.cmdline())
                if "ServeReplica:" in title and name in title:
                    found.append(process)
        return found

    def processes(self) -> list[psutil.Process]:
        """Every process of the stack."""
        roots = [p.pid for p in (self.redis.process, self.inference, *self.frontends.values()) if p is not None]
        return [q for pid in roots for q in (psutil.Process(pid), *psutil.Process(pid).children(recursive=True))]

    def stop(self) -> None:
        """Ends everything, frontends first; whatever Ray left behind too."""
        left = []
        if self.inference is not None:
            with contextlib.suppress(psutil.Error):
                left = psutil.Process(self.inference.pid).children(recursive=True)
        for process in (*self.frontends.values(), self.inference):
            if process is not None and process.poll() is None:
                process.send_signal(signal.SIGTERM)
                try:
                    process.wait(40)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()
        for child in left:
            with contextlib.suppress(psutil.Error):
                child.kill()
        self.redis.stop()

    def _spawn(self, name: str, arguments: list[str], environment: Mapping[str, str]) -> subprocess.Popen[bytes]:
        with (self.folder / f"{name}.log").open("ab") as log:
            return subprocess.Popen(
                [sys.executable, *arguments],
                env={**os.environ, **self.environment, **environment},
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def _wait(self, ready: Any, what: str) -> None:
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            with contextlib.suppress(httpx.HTTPError):
                if ready():
                    return
            if self.inference is not None and self.inference.poll() is not None:
                break
            time.sleep(0.2)
        logs = "\n".join(f"{path.name}:\n{path.read_text()[-2000:]}" for path in self.folder.glob("*.log"))
        raise RuntimeError(f"{what} did not become ready\n{logs}")


@contextlib.contextmanager
def running(folder: Path, *, config: str | None = None, frontends: int = 1, **environment: str) -> Iterator[Stack]:
    """A whole Matte in ``folder``; ``config`` is the text of its model file, keywords are environment variables."""
    folder.mkdir(parents=True, exist_ok=True)
    redis = EmbeddedRedis(folder / "redis")
    redis.start()
    own = {**redis.environment, **environment}
    if config is not None:
        (folder / "matte.yaml").write_text(config)
        own["MATTE_CONFIG"] = str(folder / "matte.yaml")
    stack = Stack(folder, redis, own)
    try:
        stack.start_inference()
        for _ in range(frontends):
            stack.add_frontend()
        stack.wait_ready()
        yield stack
    finally:
        stack.stop()


@contextlib.contextmanager
def frontends_only(folder: Path) -> Iterator[Stack]:
    """A frontend and its Redis in ``folder``; ``environment`` tells others where that is."""
    redis = EmbeddedRedis(folder / "redis")
    redis.start()
    stack = Stack(folder, redis, dict(redis.environment))
    try:
        stack.add_frontend()
        yield stack
    finally:
        stack.stop()
