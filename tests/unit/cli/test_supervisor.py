from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import psutil
import pytest
from matte_cli.supervisor import Child, GaveUpError, Supervisor, launch, tail

SLEEP = "import time; time.sleep(60)"
#: says that it is up, and takes no notice of SIGTERM
STUBBORN = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(60)"

#: when it is stopped it says whether the process PID lives
BYE = """
import os, signal, time
def bye(*_):
    os.kill(PID, 0)
    os.write(1, b"store lives")  # print may be busy
    os._exit(0)
signal.signal(signal.SIGTERM, bye)
print("up", flush=True)
time.sleep(60)
"""


def child(folder: Path, name: str, program: str, stage: int = 0, *, stop_seconds: float = 10.0) -> Child:
    log = folder / f"{name}.log"

    def start() -> subprocess.Popen[bytes]:
        return launch([sys.executable, "-S", "-c", program], os.environ, log)

    return Child(name, stage, start, log, stop_seconds)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110 - a log file has no event
            await asyncio.sleep(0.01)


@asynccontextmanager
async def supervising(said: list[str]) -> AsyncIterator[Supervisor]:
    supervisor = Supervisor(said.append)
    try:
        yield supervisor
    finally:
        supervisor.kill()
        await supervisor.stop()


async def test_a_child_that_dies_is_started_again_and_it_is_said(tmp_path: Path) -> None:
    said: list[str] = []
    async with supervising(said) as supervisor:
        one = child(tmp_path, "one", SLEEP)
        await supervisor.add(one)
        first = one.process
        assert first is not None
        first.send_signal(signal.SIGKILL)
        await until(lambda: one.process is not first)
        assert one.process is not None
        assert one.process.poll() is None
    assert "one ended by signal SIGKILL; it starts again now" in said[0]


#: starts another process that leaves its process group, as Ray's workers do, and says its id
PARENT = """
import subprocess, sys, time
child = subprocess.Popen([sys.executable, "-S", "-c", "import time; time.sleep(60)"], process_group=0)
print("matte-one: child", child.pid, flush=True)
time.sleep(60)
"""


async def test_what_a_child_leaves_running_ends_before_it_starts_again(tmp_path: Path) -> None:
    said: list[str] = []
    async with supervising(said) as supervisor:
        one = child(tmp_path, "one", PARENT)
        await supervisor.add(one)
        await until(lambda: "child" in tail(one.log))
        orphan = psutil.Process(int(tail(one.log).split()[-1]))
        first = one.process
        assert first is not None
        first.send_signal(signal.SIGKILL)
        await until(lambda: one.process is not first)
        assert not orphan.is_running() or orphan.status() == psutil.STATUS_ZOMBIE
    assert f": child {orphan.pid}; it starts again now" in said[0]


async def test_a_child_that_never_comes_up_is_given_up_with_its_log(tmp_path: Path) -> None:
    async with supervising([]) as supervisor:
        one = child(tmp_path, "one", "raise SystemExit('no such model')")
        one.failures = 3
        await supervisor.add(one)
        with pytest.raises(GaveUpError, match="no such model"):
            await asyncio.wait_for(supervisor.failure(), 10)


async def test_a_long_life_forgives(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("matte_cli.supervisor.HEALTHY_AFTER_SECONDS", 0.0)
    said: list[str] = []
    async with supervising(said) as supervisor:
        one = child(tmp_path, "one", SLEEP)
        one.failures = 3
        await supervisor.add(one)
        first = one.process
        assert first is not None
        first.kill()
        await until(lambda: one.process is not first)
        assert one.failures == 1
    assert "it starts again now" in said[0]


async def test_stops_stage_by_stage(tmp_path: Path) -> None:
    """The store still lives when the frontend has ended."""
    supervisor = Supervisor(lambda _: None)
    store = child(tmp_path, "store", SLEEP, stage=1)
    await supervisor.add(store)
    assert store.process is not None
    program = BYE.replace("PID", str(store.process.pid))
    frontend = child(tmp_path, "frontend", program)
    await supervisor.add(frontend)
    await until(lambda: "up" in tail(frontend.log))
    await supervisor.stop()
    assert "store lives" in tail(frontend.log)
    assert [c.process.poll() for c in supervisor.children if c.process] == [-signal.SIGTERM, 0]


async def test_who_does_not_stop_in_time_is_ended(tmp_path: Path) -> None:
    said: list[str] = []
    supervisor = Supervisor(said.append)
    stubborn = child(tmp_path, "stubborn", STUBBORN, stop_seconds=0.1)
    await supervisor.add(stubborn)
    await until(lambda: "up" in tail(stubborn.log))
    await supervisor.stop()
    assert said == ["stubborn did not stop in 0.1 s: ended"]
    assert stubborn.process is not None
    assert stubborn.process.poll() == -signal.SIGKILL


async def test_many_children_do_not_starve_each_other(tmp_path: Path) -> None:
    async with supervising([]) as supervisor:
        for number in range(12):
            await asyncio.wait_for(supervisor.add(child(tmp_path, f"c{number}", SLEEP)), 5)


def test_tail_is_bounded(tmp_path: Path) -> None:
    log = tmp_path / "a.log"
    assert tail(log) == ""
    log.write_text("".join(f"line {n}\n" for n in range(100_000)))
    assert tail(log, lines=2) == "line 99998\nline 99999"
