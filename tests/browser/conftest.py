"""A whole stack for the page: Redis, a frontend process, a worker process, and Chromium.

``MATTE_TEST_URL`` names a running stack to use instead; tests that stop its processes are then skipped.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest
from matte_jobs.embedded import EmbeddedRedis
from PIL import Image, ImageFilter
from playwright.sync_api import Browser, Page, sync_playwright
from skimage import data

WORKER = Path(__file__).with_name("worker.py")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


@dataclass
class Stack:
    """The page's URL, and the processes that serve it, unless MATTE_TEST_URL is set."""

    url: str
    environment: dict[str, str] = field(default_factory=dict)
    frontend: subprocess.Popen[bytes] | None = None
    worker: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self.start_frontend()
        self.worker = subprocess.Popen([sys.executable, str(WORKER)], env=self.environment)
        wait_for(f"{self.url}models")

    def start_frontend(self) -> None:
        self.frontend = subprocess.Popen([sys.executable, "-m", "matte_frontend"], env=self.environment)
        wait_for(f"{self.url}healthz")

    def kill_frontend(self) -> None:
        assert self.frontend is not None
        self.frontend.kill()
        self.frontend.wait(10)

    @contextlib.contextmanager
    def paused_worker(self) -> Iterator[None]:
        """Stops the worker (SIGSTOP) meanwhile."""
        if self.worker is None:
            pytest.skip("the stack of MATTE_TEST_URL is not stopped")
        self.worker.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self.worker.send_signal(signal.SIGCONT)

    def stop(self) -> None:
        for process in (self.worker, self.frontend):
            if process is not None:
                process.kill()
                process.wait(10)


def wait_for(url: str, seconds: float = 240) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        with contextlib.suppress(httpx.HTTPError):
            if httpx.get(url, timeout=2).status_code == 200:
                return
        time.sleep(0.1)
    raise TimeoutError(f"{url} did not answer within {seconds} s")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    if given := os.environ.get("MATTE_TEST_URL"):
        yield Stack(given.rstrip("/") + "/")
        return
    redis = EmbeddedRedis(tmp_path_factory.mktemp("redis-page"))
    redis.start()
    port = free_port()
    environment = {**os.environ, "MATTE_REDIS_URL": redis.url, "MATTE_PORT": str(port), "MATTE_HOST": "127.0.0.1"}
    environment["MATTE_ROLLOUT_REPORTS"] = "true"
    running = Stack(f"http://127.0.0.1:{port}/", environment)
    try:
        running.start()
        yield running
    finally:
        running.stop()
        redis.stop()


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    if CHROMIUM is None:
        pytest.skip("no Chromium on the PATH")
    with sync_playwright() as playwright:
        # the sandbox needs user namespaces, which containers often forbid
        started = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield started
        started.close()


@pytest.fixture
def page(browser: Browser, stack: Stack) -> Iterator[Page]:
    """The opened page. Fails at the end if it raised an error, violated its CSP, or called another host."""
    context = browser.new_context(viewport={"width": 1280, "height": 800}, reduced_motion="reduce")
    opened = context.new_page()
    opened.set_default_timeout(20_000)
    wrong: list[str] = []
    opened.on("pageerror", lambda error: wrong.append(str(error)))
    opened.on("console", lambda message: wrong.append(message.text) if "Security Policy" in message.text else None)
    opened.on("request", lambda request: None if local(request.url, stack.url) else wrong.append(request.url))
    opened.goto(stack.url)
    opened.wait_for_selector("#facts .ready")
    yield opened
    context.close()
    assert wrong == []


def local(url: str, base: str) -> bool:
    return url.startswith((base, "blob:", "data:"))


@pytest.fixture(scope="session")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with astronaut.jpg (512 × 512), coffee.jpg and chelsea.jpg, one out of focus, one without a subject, and
    two files that are no pictures.
    """
    folder = tmp_path_factory.mktemp("photos")
    for name in ("astronaut", "coffee", "chelsea"):
        Image.fromarray(getattr(data, name)()).save(folder / f"{name}.jpg", quality=92)
    Image.fromarray(data.astronaut()).filter(ImageFilter.GaussianBlur(12)).save(folder / "blurred.jpg")
    Image.new("RGB", (512, 384), (110, 130, 150)).save(folder / "blank.jpg")
    (folder / "text.jpg").write_text("this is text, whatever its name says")
    (folder / "notes.txt").write_text("notes")
    return folder
