"""Two frontends, a worker and a round robin, once per session."""

from __future__ import annotations

import io
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from integration.frontend.processes import (
    FrontendProcess,
    RoundRobin,
    environment,
    ready,
    running,
    start_worker,
    wait_until,
)
from matte_jobs.embedded import EmbeddedRedis
from PIL import Image, ImageDraw


@dataclass
class Platform:
    frontends: tuple[FrontendProcess, FrontendProcess]
    proxy: RoundRobin
    env: dict[str, str]
    logs: Path

    @property
    def url(self) -> str:
        return self.proxy.url


@pytest.fixture(scope="session")
def platform(redis_server: EmbeddedRedis, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    logs = tmp_path_factory.mktemp("platform")
    env = environment(
        redis_server.url, f"g{uuid.uuid4().hex[:8]}:", MATTE_ADMIN="true", MATTE_HEARTBEAT_SECONDS="2",
        MATTE_POSITION_SECONDS="0.2", MATTE_REVISION="0123abc",
    )  # fmt: skip
    worker = start_worker(env, logs / "worker.log", "--slow-seconds", "1.2")
    first, second = (FrontendProcess(env, logs / f"{name}.log") for name in ("first", "second"))
    with running(worker, first, second):
        assert worker.line
        with RoundRobin([first.port, second.port]) as proxy:
            wait_until(lambda: ready(first.url) and ready(second.url))
            yield Platform((first, second), proxy, env, logs)


@pytest.fixture
def client(platform: Platform) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=platform.url, timeout=30) as opened:
        yield opened


def photo(width: int = 320, height: int = 240, *, kind: str = "JPEG") -> bytes:
    picture = Image.linear_gradient("L").resize((width, height)).convert("RGB")
    ImageDraw.Draw(picture).ellipse((width // 4, height // 4, width // 2, height // 2), fill=(200, 60, 20))
    buffer = io.BytesIO()
    picture.save(buffer, kind)
    return buffer.getvalue()


def blank(width: int = 320, height: int = 240) -> bytes:
    """A picture of one color: nothing to cut out."""
    buffer = io.BytesIO()
    Image.new("RGB", (width, height), (90, 90, 90)).save(buffer, "JPEG")
    return buffer.getvalue()


@pytest.fixture(scope="session")
def jpeg() -> bytes:
    return photo()


@pytest.fixture
def jpeg_file(tmp_path: Path, jpeg: bytes) -> Path:
    path = tmp_path / "a photo.jpg"
    path.write_bytes(jpeg)
    return path
