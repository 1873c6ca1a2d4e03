"""Runs a few processes, restarts those that end, and stops them in order."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from matte_core.domain.backoff import exponential_backoff

from matte_cli.processes import end_session

LOG_MAX_BYTES = 10_000_000
#: a process that ran this long was healthy: its earlier failures are forgotten
HEALTHY_AFTER_SECONDS = 60.0
#: before the second restart in a row; the first one is immediate
FIRST_DELAY_SECONDS = 0.5
LONGEST_DELAY_SECONDS = 30.0
#: failures in a row, before the service was ever ready, that are taken for a permanent fault
GIVE_UP_AFTER = 4


class GaveUpError(RuntimeError):
    """A process ended again and again before the service was ready."""


def failures_in_a_row(before: int, *, lived: float) -> int:
    """With the failure of a process that ran for ``lived`` seconds, after ``before`` failures in a row."""
    return 1 if lived >= HEALTHY_AFTER_SECONDS else before + 1


def restart_delay(failures: int, *, was_ready: bool) -> float | None:
    """Seconds to wait after the ``failures``-th failure in a row (from 1); None: give up.

    Once the whole service was ready (``was_ready``), nothing is given up.
    """
    if not was_ready and failures >= GIVE_UP_AFTER:
        return None
    return exponential_backoff(failures - 1, FIRST_DELAY_SECONDS, LONGEST_DELAY_SECONDS) if failures > 1 else 0.0


@dataclass(slots=True)
class Child:
    """One process. ``start`` is called again after it ended; the lowest ``stage`` stops first; failures: in a row."""

    name: str
    stage: int
    start: Callable[[], subprocess.Popen[bytes]]
    log: Path
    stop_seconds: float = 30.0
    process: subprocess.Popen[bytes] | None = None
    exited: asyncio.Future[int] | None = None
    failures: int = 0

    def signal(self, number: int) -> None:
        """Signals the process, not its group: it ends its own children."""
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(number)

    def kill(self) -> None:
        if self.process is not None and self.process.poll() is None:
            end_session(self.process.pid)  # it leads a session of its own


def launch(command: Sequence[str], environment: Mapping[str, str], log: Path) -> subprocess.Popen[bytes]:
    """Starts a command in its own session (a Ctrl-C is for the supervisor alone), its output appended to ``log``."""
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
    """Runs children until :meth:`stop`. ``say`` prints for a person; ``changed`` is called after each start."""

    say: Callable[[str], None]
    changed: Callable[[], None] = lambda: None
    ready: bool = False
    children: list[Child] = field(default_factory=list)
    #: a child is being restarted
    restarted: asyncio.Event = field(default_factory=asyncio.Event)
    _watchers: dict[str, asyncio.Task[None]] = field(default_factory=dict)
    #: one thread sleeps in waitpid per child: no polling
    _threads: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(64, "child"))

    async def add(self, child: Child) -> None:
        """Starts a child and keeps it running."""
        self.children.append(child)
        started = time.monotonic()
        await self._start(child)
        self._watchers[child.name] = asyncio.create_task(self._watch(child, started))

    async def failure(self) -> None:
        """Returns when nothing is to be watched. Raises GaveUpError, with the end of its log, for a child given up."""
        await asyncio.gather(*self._watchers.values())

    async def _start(self, child: Child) -> None:
        loop = asyncio.get_running_loop()
        child.process = await loop.run_in_executor(self._threads, child.start)
        child.exited = loop.run_in_executor(self._threads, _wait, child.process)
        self.changed()

    async def _watch(self, child: Child, started: float) -> None:
        while child.exited is not None:
            status = await asyncio.shield(child.exited)
            child.failures = failures_in_a_row(child.failures, lived=time.monotonic() - started)
            delay = restart_delay(child.failures, was_ready=self.ready)
            how = f"by signal {signal.Signals(-status).name}" if status < 0 else f"with status {status}"
            ended = f"{child.name} ended {how}"
            if delay is None:
                raise GaveUpError(
                    f"{ended}, {child.failures} times in a row. The end of its log, {child.log}:\n{tail(child.log)}"
                )
            when = f"in {delay:g} s" if delay else "now"
            prefix = f"matte-{child.name}: "  # of the line in which the process itself says why it ended
            lines = [line.removeprefix(prefix) for line in tail(child.log).splitlines() if line.startswith(prefix)]
            reason = f": {lines[-1]}" if lines and lines[-1] != "ready" else ""
            self.say(f"{ended}{reason}; it starts again {when} (log: {child.log})")
            await asyncio.sleep(delay)
            self.restarted.set()
            started = time.monotonic()
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
        """Ends everything at once; only the last stage (the store) may still write its file."""
        last = max((child.stage for child in self.children), default=0)
        for child in self.children:
            if child.stage == last:
                child.signal(signal.SIGTERM)
            else:
                child.kill()


def _wait(process: subprocess.Popen[bytes]) -> int:
    """The exit status, after everything that the process left running was ended too."""
    status = process.wait()
    end_session(process.pid)
    return status
