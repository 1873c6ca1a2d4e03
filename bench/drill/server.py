"""The ``matte serve`` under test; its processes are found by their command lines."""

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
from bench.drill.plan import ProcessKind

ENVIRONMENT_MARK = "MATTE_DRILL"
READY = "Matte is ready"
START_SECONDS = 400.0
SHORT_LEASES = {"MATTE_LEASE_SECONDS": "6", "MATTE_ANNOUNCE_SECONDS": "1", "MATTE_CATALOG_SECONDS": "0"}


@dataclass(slots=True)
class Server:
    """``matte serve`` in a folder of its own, with frontends from ``port`` on."""

    folder: Path
    port: int
    quick: bool
    config: str = CONFIG
    frontends: int = 2
    process: subprocess.Popen[bytes] | None = None
    stopped: list[psutil.Process] = field(default_factory=list)

    @property
    def urls(self) -> list[str]:
        return [f"http://127.0.0.1:{self.port + n}" for n in range(self.frontends)]

    @property
    def data(self) -> Path:
        return self.folder / "data"

    @property
    def log_file(self) -> Path:
        return self.folder / "terminal.log"

    def start(self) -> None:
        config = self.folder / "models.yaml"
        config.write_text(self.config)
        command = [
            sys.executable, "-m", "matte_cli", "serve", "--data-dir", str(self.data), "--config", str(config),
            "--port", str(self.port), "--frontends", str(self.frontends),
        ]  # fmt: skip
        environment = os.environ | {ENVIRONMENT_MARK: str(self.folder), "COLUMNS": "250"}
        if self.quick:
            environment |= SHORT_LEASES
        with self.log_file.open("ab") as log:
            self.process = subprocess.Popen(
                command, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self.folder,
                start_new_session=True,
            )  # fmt: skip

    async def wait_ready(self, since: int = 0) -> None:
        """Waits for the message in the log after offset ``since``; RuntimeError if it does not come in time."""
        deadline = time.monotonic() + START_SECONDS
        while READY not in self.output_since(since):
            if self.process is None or self.process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"matte serve is not ready; {self.log_file}:\n{self.output_since(since)[-3000:]}")
            await asyncio.sleep(0.2)

    async def restart(self) -> None:
        """Starts it after its death, repeatedly until it stays up."""
        for _ in range(30):
            await asyncio.sleep(1.0)
            self.start()
            assert self.process is not None
            since = self.log_size()
            while self.process.poll() is None:
                await asyncio.sleep(0.1)
                if "Redis" in self.output_since(since):
                    return
        raise RuntimeError(f"matte serve does not start again; see {self.log_file}")

    def log_size(self) -> int:
        return self.log_file.stat().st_size if self.log_file.exists() else 0

    def output_since(self, since: int) -> str:
        return self.log_file.read_bytes()[since:].decode(errors="replace") if self.log_file.exists() else ""

    def processes(self) -> Iterator[tuple[psutil.Process, str]]:
        """Its live processes with their command lines, also those that were reparented."""
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error, OSError):
                if process.status() == psutil.STATUS_ZOMBIE:
                    continue
                # by folder, too: the title of Redis overwrites its environment
                marked = process.environ().get(ENVIRONMENT_MARK) == str(self.folder)
                if marked or process.cwd().startswith(str(self.folder)):
                    yield process, " ".join(process.cmdline())

    def find(self, kind: ProcessKind) -> list[psutil.Process]:
        return [p for p, command in self.processes() if any(word in command for word in kind.command_patterns)]

    def resume_process(self, process: psutil.Process) -> None:
        if process in self.stopped:
            self.stopped.remove(process)
        with contextlib.suppress(psutil.Error):
            process.send_signal(signal.SIGCONT)

    def resume(self) -> None:
        for process in list(self.stopped):
            self.resume_process(process)

    async def shut_down(self, seconds: float = 90.0) -> list[str]:
        """Stops it with SIGTERM; returns what went problems, such as processes left over."""
        self.resume()
        problems = []
        if self.process is not None:
            with contextlib.suppress(ProcessLookupError):
                self.process.send_signal(signal.SIGTERM)
            try:
                status = await asyncio.to_thread(self.process.wait, seconds)
                problems += [f"matte serve ended with status {status}"] if status else []
            except subprocess.TimeoutExpired:
                problems.append(f"matte serve did not end within {seconds:.0f} s of SIGTERM")
                self.process.kill()
                self.process.wait()
        for _ in range(50):
            if not (left := list(self.processes())):
                return problems
            await asyncio.sleep(0.1)
        return problems + [f"process left over: {process.pid} {command[:100]}" for process, command in left]

    def destroy(self) -> None:
        for process, _ in list(self.processes()):
            with contextlib.suppress(psutil.Error):
                process.kill()
        if self.process is not None:
            self.process.wait()
