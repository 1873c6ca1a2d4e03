"""The ground a ``matte serve`` stands on: its folder is its alone, its ports are free, nothing old still runs."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import signal
import socket
import stat
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import psutil

from matte_cli.processes import end_session, in_session

#: words in the command line of what matte serve starts, and of what that starts
_OURS = ("matte_inference", "matte_frontend", "redis-server", "valkey-server", "redis.sock", "ray::", "/ray/")
_STORE = ("redis-server", "valkey-server", "redis.sock")


class InUseError(RuntimeError):
    """A folder or a port is in use; the message says what to do."""


@dataclass(slots=True)
class InstanceLock:
    """The exclusive use of a data folder, as long as this process lives; its file tells others who has it."""

    path: Path
    file: IO[str]

    @classmethod
    def acquire(cls, folder: Path) -> InstanceLock:
        """Claims the folder.

        Raises:
            InUseError: another ``matte serve`` has it, or another user.
        """
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        close_to_others(folder)
        path = folder / "serve.json"
        file = path.open("a+", encoding="utf-8")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            about = _read(file)
            file.close()
            raise InUseError(
                f"matte serve already runs on {folder} (process {about.get('pid', '?')}, {about.get('url', '')}). "
                f"Stop it (kill {about.get('pid', 'PID')}), or use another --data-dir and --port."
            ) from error
        return cls(path, file)

    @staticmethod
    def running_children(folder: Path) -> dict[str, int]:
        """The processes of whoever holds the folder now, by name."""
        try:
            with (folder / "serve.json").open(encoding="utf-8") as file:
                return {str(name): int(pid) for name, pid in _read(file).get("children", {}).items()}
        except OSError:
            return {}

    def previous_children(self) -> list[int]:
        """The processes that the last holder of the folder had started."""
        return [int(pid) for pid in _read(self.file).get("children", {}).values()]

    def write(self, **about: Any) -> None:
        self.file.seek(0)
        self.file.truncate()
        json.dump(about, self.file)
        self.file.flush()

    def release(self) -> None:
        self.write()
        self.file.close()


def _read(file: IO[str]) -> dict[str, Any]:
    file.seek(0)
    try:
        found = json.load(file)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def port_free(host: str, port: int) -> bool:
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
        InUseError: names the port and a free one.
    """
    wanted = list(ports)
    taken = [port for port in wanted if not port_free(host, port)]
    if taken:
        raise InUseError(
            f"port {taken[0]} on {host} is taken by another program. "
            f"Use another: --port {_free_run(host, wanted[-1] + 1, len(wanted))}"
        )


def _free_run(host: str, start: int, length: int) -> int:
    candidates = range(start, min(start + 1000, 65536 - length))
    return next((p for p in candidates if all(port_free(host, p + i) for i in range(length))), 0)


def close_to_others(folder: Path) -> None:
    """Makes a folder with pictures in it, and the files of Redis and the logs there, readable for its owner alone.

    Raises:
        InUseError: it belongs to another user.
    """
    for path in (folder, *folder.glob("*"), *folder.glob("redis/*"), *folder.glob("logs/*")):
        about = path.lstat()
        if about.st_uid != os.getuid():
            raise InUseError(f"{path} belongs to another user (id {about.st_uid}). Use another --data-dir.")
        if stat.S_IMODE(about.st_mode) & 0o077 and not stat.S_ISLNK(about.st_mode):
            path.chmod(stat.S_IMODE(about.st_mode) & 0o700)


def end_leftovers(pids: Iterable[int], say: Callable[[str], None], *, patience: float = 15.0) -> None:
    """Ends what a ``matte serve`` that was killed left running: only processes that are surely ours.

    Args:
        pids: of the processes that it had started, each with a session of its own.
        say: tells a person.
        patience: seconds for Redis to write its file; the others hold nothing that is not in Redis.
    """
    left = {pid: [process for process in in_session(pid) if _has(process, _OURS)] for pid in pids}
    if not any(left.values()):
        return
    say("an earlier matte serve was killed: ending what it left running")
    stores = [process for found in left.values() for process in found if _has(process, _STORE)]
    for pid, found in left.items():
        if found and not any(process in stores for process in found):
            end_session(pid)
    for process in stores:
        with contextlib.suppress(psutil.Error):
            process.send_signal(signal.SIGTERM)
    for process in psutil.wait_procs(stores, timeout=patience)[1]:
        with contextlib.suppress(psutil.Error):
            process.kill()


def _has(process: psutil.Process, words: Iterable[str]) -> bool:
    try:
        command = " ".join(process.cmdline())
    except psutil.Error:
        return False
    return any(word in command for word in words)
