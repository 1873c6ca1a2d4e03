"""Keeps a few processes running, and stops them in order. What to do about an exit is decided in ``backoff``."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from matte_cli.backoff import Restarts, after_exit
from matte_cli.processes import end_session

LOG_MAX_BYTES = 10_000_000
Say = Callable[[str], None]


class GaveUpError(RuntimeError):
    """A process ended again and again before the service was ready."""


@dataclass(slots=True)
class Child:
    """One process: how it is started, and how it fared.

    Attributes:
        stage: the order of stopping; what has the lowest stage is stopped first.
        start: starts it and returns it; called again when it ended.
        stop_seconds: how long it may take to stop.
    """

    name: str
    stage: int
    start: Callable[[], subprocess.Popen[bytes]]
    log: Path
    stop_seconds: float = 30.0
    process: subprocess.Popen[bytes] | None = None
    exited: asyncio.Future[int] | None = None
    restarts: Restarts = field(default_factory=Restarts)

    def signal(self, number: int) -> None:
        """Signals the process, not its group: it ends its own children."""
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(number)

    def kill(self) -> None:
        if self.process is not None and self.process.poll() is None:
            end_session(self.process.pid)  # it leads a session of its own


def launch(command: Sequence[str], environment: Mapping[str, str], log: Path) -> subprocess.Popen[bytes]:
    """Starts a command in a session of its own (a Ctrl-C is for the supervisor alone), its output added to ``log``."""
    log.parent.mkdir(parents=True, exist_ok=True)
    if log.exists() and log.stat().st_size > LOG_MAX_BYTES:
        log.replace(log.with_suffix(".1.log"))
    with log.open("ab") as out:
        return subprocess.Popen(
            list(command), env=dict(environment), stdin=subprocess.DEVNULL, stdout=out, stderr=out,
            start_new_session=True,
        )  # fmt: skip


def tail(log: Path, *, lines: int = 12, max_bytes: int = 8192) -> str:
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - max_bytes))
            return "\n".join(file.read().decode(errors="replace").splitlines()[-lines:])
    except OSError:
        return ""


@dataclass(slots=True)
class Supervisor:
    """Runs children until :meth:`stop`. ``say`` tells a person what happened; ``changed`` hears of each start."""

    say: Say
    changed: Callable[[], None] = lambda: None
    clock: Callable[[], float] = time.monotonic
    ready: bool = False
    children: list[Child] = field(default_factory=list)
    #: a child is being started again
    restarted: asyncio.Event = field(default_factory=asyncio.Event)
    _watchers: dict[str, asyncio.Task[None]] = field(default_factory=dict)
    #: one thread sleeps in waitpid per child: no polling
    _threads: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(64, "child"))

    async def add(self, child: Child) -> None:
        self.children.append(child)
        started = self.clock()
        await self._start(child)
        self._watchers[child.name] = asyncio.create_task(self._watch(child, started))

    async def failure(self) -> None:
        """Returns when there is nothing to watch; raises as soon as a child is given up.

        Raises:
            GaveUpError: with the end of the child's log.
        """
        await asyncio.gather(*self._watchers.values())

    async def _start(self, child: Child) -> None:
        loop = asyncio.get_running_loop()
        child.process = await loop.run_in_executor(self._threads, child.start)
        child.exited = loop.run_in_executor(self._threads, _wait, child.process)
        self.changed()

    async def _watch(self, child: Child, started: float) -> None:
        while child.exited is not None:
            status = await asyncio.shield(child.exited)
            verdict = after_exit(child.restarts, lived=self.clock() - started, was_ready=self.ready)
            child.restarts = verdict.restarts
            ended = f"{child.name} ended {_how(status)}"
            if verdict.delay is None:
                times = f"{verdict.restarts.failures} times in a row"
                raise GaveUpError(f"{ended}, {times}. The end of its log, {child.log}:\n{tail(child.log)}")
            when = f"in {verdict.delay:g} s" if verdict.delay else "now"
            self.say(f"{ended}{_reason(child)}; it starts again {when} (log: {child.log})")
            await asyncio.sleep(verdict.delay)
            self.restarted.set()
            started = self.clock()
            try:
                await self._start(child)
            except (OSError, RuntimeError) as error:  # the next round counts it as one more failure
                self.say(f"{child.name} did not start: {error}")

    async def stop(self) -> None:
        """Stops stage by stage: each child gets SIGTERM and its time, then SIGKILL."""
        for watcher in self._watchers.values():
            watcher.cancel()
        await asyncio.gather(*self._watchers.values(), return_exceptions=True)
        for stage in sorted({child.stage for child in self.children}):
            await asyncio.gather(*(self._stop(child) for child in self.children if child.stage == stage))
        self._threads.shutdown(wait=False)

    async def _stop(self, child: Child) -> None:
        if child.exited is None:
            return
        child.signal(signal.SIGTERM)
        try:
            await asyncio.wait_for(asyncio.shield(child.exited), child.stop_seconds)
        except TimeoutError:
            self.say(f"{child.name} did not stop in {child.stop_seconds:g} s: ended")
            child.kill()
            await child.exited

    def kill(self) -> None:
        """Ends everything at once. The lowest stages get no time; the last one (the store) may write its file."""
        last = max((child.stage for child in self.children), default=0)
        for child in self.children:
            if child.stage == last:
                child.signal(signal.SIGTERM)
            else:
                child.kill()


def _wait(process: subprocess.Popen[bytes]) -> int:
    """The exit status, once all that the process started has ended too: what it left would go on without it."""
    status = process.wait()
    end_session(process.pid)
    return status


def _reason(child: Child) -> str:
    """What it said itself about its end."""
    own = f"matte-{child.name}: "
    said = [line.removeprefix(own) for line in tail(child.log).splitlines() if line.startswith(own)]
    return f": {said[-1]}" if said and said[-1] != "ready" else ""


def _how(status: int) -> str:
    return f"by signal {signal.Signals(-status).name}" if status < 0 else f"with status {status}"
