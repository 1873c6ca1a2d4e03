"""The ground a ``matte serve`` stands on: its folder is its alone, its ports are free, nothing old still runs."""

from __future__ import annotations

import contextlib
import fcntl
import ipaddress
import json
import os
import signal
import socket
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

#: words in the command line of what matte serve starts
_OURS = ("matte_inference", "matte_frontend", "redis-server", "valkey-server", "redis.sock")


class TakenError(RuntimeError):
    """A folder or a port is in use; the message says what to do."""


@dataclass(slots=True)
class Claim:
    """The exclusive use of a data folder, as long as this process lives; its file tells others who has it."""

    path: Path
    file: IO[str]

    @classmethod
    def take(cls, folder: Path) -> Claim:
        """Claims the folder.

        Raises:
            TakenError: another ``matte serve`` has it.
        """
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        path = folder / "serve.json"
        file = path.open("a+", encoding="utf-8")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            about = _read(file)
            file.close()
            raise TakenError(
                f"matte serve already runs on {folder} (process {about.get('pid', '?')}, {about.get('url', '')}). "
                f"Stop it (kill {about.get('pid', 'PID')}), or use another --data-dir and --port."
            ) from error
        return cls(path, file)

    def before(self) -> list[int]:
        """The processes that the last holder of the folder had started."""
        return [int(pid) for pid in _read(self.file).get("children", {}).values()]

    def write(self, **about: Any) -> None:
        """Says who we are, for the next one."""
        self.file.seek(0)
        self.file.truncate()
        json.dump(about, self.file)
        self.file.flush()

    def release(self) -> None:
        """Gives the folder back."""
        self.write()
        self.file.close()


def _read(file: IO[str]) -> dict[str, Any]:
    file.seek(0)
    try:
        found = json.load(file)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach what listens on ``host``."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def port_free(host: str, port: int) -> bool:
    """Whether a server can listen there now."""
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
        return True


def check_ports(host: str, ports: Iterable[int]) -> None:
    """Refuses ports that are in use.

    Raises:
        TakenError: names the port and a free one.
    """
    wanted = list(ports)
    taken = [port for port in wanted if not port_free(host, port)]
    if taken:
        raise TakenError(
            f"port {taken[0]} on {host} is taken by another program. "
            f"Use another: --port {_free_run(host, wanted[-1] + 1, len(wanted))}"
        )


def _free_run(host: str, start: int, length: int) -> int:
    candidates = range(start, min(start + 1000, 65536 - length))
    return next((p for p in candidates if all(port_free(host, p + i) for i in range(length))), 0)


def end_leftovers(pids: Iterable[int], say: Callable[[str], None], *, patience: float = 15.0) -> None:
    """Ends what a ``matte serve`` that was killed left running: only processes that are surely ours."""
    ours = [pid for pid in pids if _is_ours(pid)]
    if not ours:
        return
    say("an earlier matte serve was killed: ending what it left running")
    for pid in ours:
        _signal(pid, signal.SIGTERM)
    deadline = time.monotonic() + patience
    while any(_is_ours(pid) for pid in ours) and time.monotonic() < deadline:
        time.sleep(0.05)
    for pid in filter(_is_ours, ours):
        _signal(pid, signal.SIGKILL)


def _signal(pid: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.kill(pid, number)


def _is_ours(pid: int) -> bool:
    try:
        command = Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace")
    except OSError:  # gone, or a system without /proc: then nothing is assumed
        return False
    return any(word in command for word in _OURS)
