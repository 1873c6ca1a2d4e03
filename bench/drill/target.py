"""The ``matte serve`` that is struck: started as a person starts it, its processes found by what they run."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from bench.drill.pictures import CONFIG
from bench.drill.plan import Kind

MARK = "MATTE_DRILL"
READY = "Matte is ready"
START_SECONDS = 400.0
#: shorter leases, so that a drill may be short
QUICK = {"MATTE_LEASE_SECONDS": "6", "MATTE_ANNOUNCE_SECONDS": "1", "MATTE_CATALOG_SECONDS": "0"}


@dataclass(slots=True)
class Target:
    """A server in a folder of its own, with two frontends on ``port`` and the next."""

    folder: Path
    port: int
    quick: bool
    process: subprocess.Popen[bytes] | None = None
    stopped: list[psutil.Process] = field(default_factory=list)

    @property
    def urls(self) -> list[str]:
        """Its frontends."""
        return [f"http://127.0.0.1:{self.port + n}" for n in range(2)]

    @property
    def data(self) -> Path:
        """Its data folder."""
        return self.folder / "data"

    @property
    def terminal(self) -> Path:
        """What a person would see."""
        return self.folder / "terminal.log"

    def start(self) -> None:
        """Starts ``matte serve``; returns at once."""
        config = self.folder / "models.yaml"
        config.write_text(CONFIG)
        command = [
            sys.executable, "-m", "matte_cli", "serve", "--data-dir", str(self.data), "--config", str(config),
            "--port", str(self.port), "--frontends", "2",
        ]  # fmt: skip
        environment = {**os.environ, **(QUICK if self.quick else {}), MARK: str(self.folder), "COLUMNS": "250"}
        with self.terminal.open("ab") as log:
            self.process = subprocess.Popen(
                command, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self.folder,
                start_new_session=True,
            )  # fmt: skip

    async def wait_ready(self, since: int = 0) -> None:
        """Until it says so.

        Args:
            since: what stands before this offset of the terminal was said earlier.

        Raises:
            RuntimeError: it ended, or takes too long.
        """
        deadline = time.monotonic() + START_SECONDS
        while READY not in self.said(since):
            if self.process is None or self.process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"matte serve is not ready; {self.terminal}:\n{self.said(since)[-3000:]}")
            await asyncio.sleep(0.2)

    async def restart(self) -> None:
        """Starts it again after its death, as often as it takes; returns when it does not end at once."""
        for _ in range(30):
            await asyncio.sleep(1.0)
            self.start()
            assert self.process is not None
            since = self.offset()
            while self.process.poll() is None:
                await asyncio.sleep(0.1)
                if "Redis" in self.said(since):
                    return
        raise RuntimeError(f"matte serve does not start again; see {self.terminal}")

    def offset(self) -> int:
        """Where the terminal's text ends now."""
        return self.terminal.stat().st_size if self.terminal.exists() else 0

    def said(self, since: int) -> str:
        """The terminal's text from an offset on."""
        return self.terminal.read_bytes()[since:].decode(errors="replace") if self.terminal.exists() else ""

    def processes(self) -> Iterator[tuple[psutil.Process, str]]:
        """Every process of it that lives, with its command line; whoever its parent is by now."""
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error, OSError):
                if process.status() == psutil.STATUS_ZOMBIE:
                    continue
                # Redis' title lies where its environment was
                if process.environ().get(MARK) == str(self.folder) or process.cwd().startswith(str(self.folder)):
                    yield process, " ".join(process.cmdline())

    def find(self, kind: Kind) -> list[psutil.Process]:
        """The processes of a kind."""
        return [process for process, command in self.processes() if any(word in command for word in kind.words)]

    def stop_process(self, process: psutil.Process) -> None:
        """Stops a process until :meth:`resume`."""
        process.send_signal(signal.SIGSTOP)
        self.stopped.append(process)

    def resume_process(self, process: psutil.Process) -> None:
        """Lets it run on; if it was ended meanwhile, that is no matter."""
        if process in self.stopped:
            self.stopped.remove(process)
        with contextlib.suppress(psutil.Error):
            process.send_signal(signal.SIGCONT)

    def resume(self) -> None:
        """Lets everything that is stopped run on."""
        for process in list(self.stopped):
            self.resume_process(process)

    async def shut_down(self, seconds: float = 90.0) -> list[str]:
        """Ends it as a person does; returns what still runs, or that it did not end well. Nothing runs after that."""
        self.resume()
        wrong = []
        if self.process is not None:
            with contextlib.suppress(ProcessLookupError):
                self.process.send_signal(signal.SIGTERM)
            try:
                status = await asyncio.to_thread(self.process.wait, seconds)
                wrong += [f"matte serve ended with status {status}"] if status else []
            except subprocess.TimeoutExpired:
                wrong.append(f"matte serve did not end within {seconds:.0f} s of SIGTERM")
                self.process.kill()
                self.process.wait()
        for _ in range(50):
            if not (left := list(self.processes())):
                return wrong
            await asyncio.sleep(0.1)
        return wrong + [f"process left over: {process.pid} {command[:100]}" for process, command in left]

    def destroy(self) -> None:
        """Ends whatever is left."""
        for process, _ in list(self.processes()):
            with contextlib.suppress(psutil.Error):
                process.kill()
        if self.process is not None:
            self.process.wait()
