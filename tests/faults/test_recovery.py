"""``matte serve`` itself: what it opens, and that any process may be killed, its own included, with jobs under way."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import psutil
import pytest
from jobs import picture
from matte_cli.doctor import file_modes, listeners_check, listening_sockets
from matte_cli.instance_lock import InstanceLock
from matte_cli.processes import in_session
from stack import free_port

pytestmark = [pytest.mark.integration, pytest.mark.timeout(900)]

JOBS = 12
START_SECONDS = 240.0
CONFIG = """
default_model: grabcut
versions:
- {model: grabcut, version: 2.0.0, family: grabcut, weight: 100, slots: 2}
"""


def eventually(check: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + START_SECONDS
    while not check():
        assert time.monotonic() < deadline, what
        time.sleep(0.1)


class Serving:
    """A ``matte serve`` on a folder."""

    def __init__(self, folder: Path) -> None:
        self.data, self.config, self.said = folder / "data", folder / "matte.yaml", folder / "terminal"
        self.config.write_text(CONFIG)
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.process = self.start()

    def start(self, **environment: str) -> subprocess.Popen[bytes]:
        options = ["--data-dir", str(self.data), "--port", str(self.port), "--config", str(self.config)]
        with self.said.open("wb") as terminal:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "matte_cli", "serve", *options],
                stderr=terminal, env={**os.environ, **environment}, start_new_session=True,
            )  # fmt: skip
        return self.process

    def terminal(self) -> str:
        return " ".join(self.said.read_text().split())

    def wait_for(self, words: str) -> None:
        eventually(lambda: words in self.terminal(), f"never said {words!r}:\n{self.terminal()}")

    def is_ready(self) -> bool:
        try:
            return httpx.get(f"{self.url}/readyz", timeout=10).status_code == 200
        except httpx.HTTPError:
            return False

    def processes(self) -> list[psutil.Process]:
        return [process for pid in InstanceLock.running_children(self.data).values() for process in in_session(pid)]

    def find(self, word: str) -> psutil.Process:
        for process in self.processes():
            with contextlib.suppress(psutil.Error):
                if word in process.name() or word in " ".join(process.cmdline()):
                    return process
        raise AssertionError(f"there is no process {word}")

    def admit(self, first: int) -> list[str]:
        headers = {"Content-Type": "image/jpeg"}
        answers = [
            httpx.post(f"{self.url}/v1/jobs", content=picture(first + i), headers=headers, timeout=60)
            for i in range(JOBS)
        ]
        assert [answer.status_code for answer in answers] == [202] * JOBS
        return [str(answer.json()["id"]) for answer in answers]

    def result(self, job: str) -> str:
        """The digest of a job's result, once it is there."""
        answers: list[httpx.Response] = []

        def answered() -> bool:
            with contextlib.suppress(httpx.HTTPError):
                answers.append(httpx.get(f"{self.url}/v1/jobs/{job}/result", timeout=30))
            return bool(answers) and answers[-1].status_code not in (409, 502, 503)

        eventually(answered, f"job {job} has no answer")
        assert answers[-1].status_code == 200, answers[-1].text
        return hashlib.sha256(answers[-1].content).hexdigest()

    def stop(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(60)
        left = self.processes()
        for process in left:
            process.kill()
        self.process.kill()
        self.process.wait()
        assert not left, left


@pytest.fixture(scope="module")
def serving(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    folder = tmp_path_factory.mktemp("serve")
    (folder / "data" / "redis").mkdir(parents=True)
    (folder / "data" / "redis" / "appendonly.aof").touch(0o644)  # as an earlier Matte left it
    started = Serving(folder)
    try:
        eventually(lambda: httpx_status(started.url) == 503, "the frontend did not answer before the models")
        started.wait_for("Matte is ready")
        yield started
    finally:
        started.stop()


def httpx_status(url: str) -> int | None:
    try:
        return httpx.get(f"{url}/readyz", timeout=10).status_code
    except httpx.HTTPError:
        return None


def test_nothing_listens_beyond_this_machine_and_files_are_private(serving: Serving) -> None:
    assert serving.is_ready()
    found = list(listening_sockets(InstanceLock.running_children(serving.data)))
    assert len(found) > 5
    check = listeners_check(found)
    assert check.ok, check.found
    own = [(path, mode) for path, mode in file_modes(serving.data) if serving.data in (path, *path.parents)]
    assert len(own) > 4
    assert [(path, oct(mode)) for path, mode in own if mode & 0o077] == []
    command = " ".join(serving.find("raylet").cmdline())
    folder = Path(next(part for part in command.split() if part.startswith("--session_dir=")).partition("=")[2])
    assert folder.parent.parent.stat().st_mode & 0o077 == 0, folder


def test_no_process_of_ray_loads_what_it_does_not_use(serving: Serving) -> None:
    running = list(in_session(InstanceLock.running_children(serving.data)["inference"]))
    assert len(running) > 5
    assert [p.name() for p in running if "/pandas/" in Path(f"/proc/{p.pid}/maps").read_text()] == []


@pytest.mark.parametrize("victim", ["raylet", "gcs_server", "ServeController", "matte_inference"])
def test_a_part_is_killed_and_every_job_is_answered(serving: Serving, victim: str) -> None:
    read = len(serving.terminal())
    jobs = serving.admit(100 * len(victim))
    before = {process.pid for process in serving.processes()}
    killed = serving.find(victim)
    began = time.monotonic()
    killed.send_signal(signal.SIGKILL)
    if victim != "ServeController":  # Ray starts that one again itself
        eventually(lambda: "it starts again" in serving.terminal()[read:], "nothing was said")
        if victim != "matte_inference":
            assert f"Ray's {victim} (process {killed.pid}) ended by signal 9" in serving.terminal()[read:]
        eventually(lambda: "ready again after" in serving.terminal()[read:], "not ready again")
    digests = {serving.result(job) for job in jobs}
    print(f"{victim}: all answered after {time.monotonic() - began:.1f} s")
    assert len(digests) == JOBS
    eventually(serving.is_ready, "not ready")
    if victim != "ServeController":
        left = [p for p in serving.processes() if p.pid in before and ("ray" in p.name() or "gcs" in p.name())]
        assert left == [], "of the Ray before, nothing may go on"


def test_the_whole_is_killed_and_starts_again(serving: Serving) -> None:
    jobs = serving.admit(1000)
    before = [process for process in serving.processes() if "redis" not in " ".join(process.cmdline())]
    serving.process.kill()
    serving.process.wait()
    began = time.monotonic()
    serving.start()
    serving.wait_for("an earlier matte serve was killed")
    serving.wait_for("Matte is ready")
    assert not [process for process in before if process.is_running() and process.status() != psutil.STATUS_ZOMBIE]
    assert serving.find("Router").is_running()
    assert serving.is_ready()
    assert len({serving.result(job) for job in jobs}) == JOBS
    print(f"matte serve: all answered after {time.monotonic() - began:.1f} s")
    assert json.loads((serving.data / "serve.json").read_text())["pid"] == serving.process.pid
