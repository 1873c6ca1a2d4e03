"""One ``matte serve`` per data folder: the lock, free ports, and the end of what a killed one left running."""

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

#: in the command lines of what matte serve starts, and of what that starts
_MATTE = ("matte_inference", "matte_frontend", "redis-server", "valkey-server", "redis.sock", "ray::", "/ray/")
_STORE = ("redis-server", "valkey-server", "redis.sock")


class InUseError(RuntimeError):
    """A folder or a port is in use; the message says what to do."""


@dataclass(slots=True)
class InstanceLock:
    """Exclusive use of a data folder until this process ends. The lock file names the holder."""

    path: Path
    file: IO[str]

    @classmethod
    def acquire(cls, folder: Path) -> InstanceLock:
        """Locks the folder, and makes what is in it readable by its owner only.

        Raises InUseError if another ``matte serve`` holds it, or something in it belongs to another user.
        """
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        for path in (folder, *folder.glob("*"), *folder.glob("redis/*"), *folder.glob("logs/*")):
            stats = path.lstat()
            if stats.st_uid != os.getuid():
                raise InUseError(f"{path} belongs to another user (id {stats.st_uid}). Use another --data-dir.")
            if stat.S_IMODE(stats.st_mode) & 0o077 and not stat.S_ISLNK(stats.st_mode):
                path.chmod(stat.S_IMODE(stats.st_mode) & 0o700)
        path = folder / "serve.json"
        file = path.open("a+", encoding="utf-8")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            holder = _read(file)
            file.close()
            raise InUseError(
                f"matte serve already runs on {folder} (process {holder.get('pid', '?')}, {holder.get('url', '')}). "
                f"Stop it (kill {holder.get('pid', 'PID')}), or use another --data-dir and --port."
            ) from error
        return cls(path, file)

    @staticmethod
    def running_children(folder: Path) -> dict[str, int]:
        """The processes of the current holder by name."""
        try:
            with (folder / "serve.json").open(encoding="utf-8") as file:
                return {str(name): int(pid) for name, pid in _read(file).get("children", {}).items()}
        except OSError:
            return {}

    def previous_children(self) -> list[int]:
        """The processes that the previous holder had started."""
        return [int(pid) for pid in _read(self.file).get("children", {}).values()]

    def write(self, **holder: Any) -> None:
        self.file.seek(0)
        self.file.truncate()
        json.dump(holder, self.file)
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
    """Raises InUseError, which names a free port, if one of the ports is taken."""
    wanted = list(ports)
    taken = [port for port in wanted if not port_free(host, port)]
    if taken:
        first, count = wanted[-1] + 1, len(wanted)
        candidates = range(first, min(first + 1000, 65536 - count))
        free = next((port for port in candidates if all(port_free(host, port + i) for i in range(count))), 0)
        raise InUseError(f"port {taken[0]} on {host} is taken by another program. Use another: --port {free}")


def end_leftovers(pids: Iterable[int], say: Callable[[str], None], *, patience: float = 15.0) -> None:
    """Ends what a killed ``matte serve`` left running in the sessions ``pids``: only what is certainly Matte's.

    Redis gets ``patience`` seconds to write its file; the others hold nothing that is not in Redis.
    """
    left = {pid: [process for process in in_session(pid) if _matches(process, _MATTE)] for pid in pids}
    if not any(left.values()):
        return
    say("an earlier matte serve was killed: ending what it left running")
    stores = [process for found in left.values() for process in found if _matches(process, _STORE)]
    for pid, found in left.items():
        if found and not any(process in stores for process in found):
            end_session(pid)
    for process in stores:
        with contextlib.suppress(psutil.Error):
            process.send_signal(signal.SIGTERM)
    for process in psutil.wait_procs(stores, timeout=patience)[1]:
        with contextlib.suppress(psutil.Error):
            process.kill()


def _matches(process: psutil.Process, patterns: Iterable[str]) -> bool:
    try:
        command = " ".join(process.cmdline())
    except psutil.Error:
        return False
    return any(pattern in command for pattern in patterns)
