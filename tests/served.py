"""One whole Matte for every integration test that only sends pictures: a stack costs half a minute to start."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
from otlp import Receiver, receiving
from stack import Stack, free_port, running

#: grabcut is the default model; ``batched`` waits for others, so that batches form; ``portrait`` is another team's app
CONFIG = """
default_model: grabcut
versions:
- {{model: grabcut, version: 1.0.0, family: grabcut, weight: {one}}}
- {{model: grabcut, version: 2.0.0, family: grabcut, slots: 4, weight: {two}}}
- {{model: batched, version: 1.0.0, family: grabcut, slots: 4, batch_wait_seconds: 0.3, weight: 100}}
- {{model: portrait, version: 1.0.0, family: gradio, weight: 100, slots: 4, max_batch_size: 1,
   parameters: {{url: {url}, api_name: /remove_background, timeout_seconds: 30}}}}
"""
#: that the other team's app takes per picture
REMOTE_SECONDS = 1.0


@dataclass
class RemoteApp:
    """Another team's app; it can die and come back at the same address."""

    folder: Path
    seconds: float = REMOTE_SECONDS
    port: int = field(default_factory=free_port)
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/"

    def start(self) -> None:
        program = Path(__file__).with_name("remote_app.py")
        with (self.folder / "remote.log").open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, str(program), str(self.port), str(self.seconds)], stdout=log, stderr=log,
                env={**os.environ, "GRADIO_ANALYTICS_ENABLED": "False", "GRADIO_TEMP_DIR": str(self.folder / "files")},
            )  # fmt: skip
        eventually(self.answers, 60)

    def answers(self) -> bool:
        try:
            return httpx.get(f"{self.url}config").is_success
        except httpx.TransportError:
            return False

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None


@dataclass
class Served:
    """A running stack, the app behind ``portrait``, and where traces and metrics are found."""

    stack: Stack
    remote: RemoteApp
    receiver: Receiver
    frontend_metrics: str
    ray_metrics: str

    def config(self, one: int, two: int) -> str:
        """The stack's configuration with these weights of the two grabcut versions."""
        return CONFIG.format(one=one, two=two, url=self.remote.url)


@contextlib.contextmanager
def serving(folder: Path) -> Iterator[Served]:
    """The stack with its surroundings, ready."""
    ports = free_port(), free_port()
    environment: Any = {
        "MATTE_ANNOUNCE_SECONDS": "1",
        "MATTE_METRICS_PORT": str(ports[0]),
        "MATTE_RAY_METRICS_PORT": str(ports[1]),
        "OTEL_BSP_SCHEDULE_DELAY": "200",
        "OTEL_RESOURCE_ATTRIBUTES": "deployment.environment.name=test",
    }
    remote = RemoteApp(folder)
    remote.start()
    try:
        text = CONFIG.format(one=100, two=0, url=remote.url)
        with (
            receiving() as receiver,
            running(
                folder / "stack", config=text, OTEL_EXPORTER_OTLP_ENDPOINT=receiver.endpoint, **environment
            ) as stack,
        ):
            yield Served(stack, remote, receiver, *(f"http://127.0.0.1:{port}/metrics" for port in ports))
    finally:
        remote.kill()


def eventually(check: Callable[[], Any], seconds: float = 30.0) -> None:
    """Waits until a check holds."""
    deadline = time.monotonic() + seconds
    while not check():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.1)
