"""A node's cache of model versions, shared by all its pods: a folder with locks in it.

::

    versions/sha256/<digest>/…     a complete, verified version; its files are hard links to
    files/sha256/<sha256>          files by their hash: versions share equal files
    partial/<key>/                 a download in progress, or one that can be resumed
    staging/                       a version being assembled; published by one rename
    locks/                         cache; partial-<key>: its writer; <digest>: shared by the users of the version

Everything that changes ``versions`` and ``files`` happens under the lock ``cache``, which is held briefly.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from matte_core.contracts.registry import Reason

from matte_registry.errors import RegistryError
from matte_registry.folder import file_hash

_SHA = "sha256"
#: a sparse file in a download's folder, as large as the download will be
_RESERVATION = "room"


class Lock:
    def __init__(self, path: Path, descriptor: int) -> None:
        self.path, self._descriptor = path, descriptor

    @classmethod
    def take(cls, path: Path, *, shared: bool = False, wait: bool = True) -> Lock | None:
        """The lock; None where somebody has it and ``wait`` is false."""
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            os.close(descriptor)
            return None
        except BaseException:
            os.close(descriptor)
            raise
        return cls(path, descriptor)

    def release(self) -> None:
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)


@contextmanager
def _exclusive(path: Path) -> Iterator[None]:
    lock = Lock.take(path)
    assert lock is not None
    try:
        yield
    finally:
        lock.release()


@dataclass(frozen=True, slots=True)
class CacheLease:
    """A version that is not evicted until the lease is released or the process ends."""

    folder: Path
    lock: Lock

    def release(self) -> None:
        self.lock.release()


class Cache:
    """The cache below ``root``, which is on one file system with hard links and flock.

    ``max_bytes`` limits versions and downloads together; an abandoned download is removed after ``partial_seconds``.
    """

    def __init__(
        self, root: Path, max_bytes: int, *, partial_seconds: float = 86400, now: Callable[[], float] = time.time
    ) -> None:
        self._root, self._max, self._partial_seconds, self._now = root, max_bytes, partial_seconds, now
        self._versions, self._files = root / "versions" / _SHA, root / "files" / _SHA
        for folder in (self._versions, self._files, root / "partial", root / "staging", root / "locks"):
            folder.mkdir(parents=True, exist_ok=True)

    def acquire(self, digest: str) -> CacheLease | None:
        """A lease of the version; None if it is not cached."""
        lock = Lock.take(self._lock(_hex(digest)), shared=True)
        assert lock is not None
        folder = self._versions / _hex(digest)
        if not folder.is_dir():
            lock.release()
            return None
        os.utime(lock.path, (self._now(), self._now()))
        return CacheLease(folder, lock)

    @contextmanager
    def lock_partial(self, key: str) -> Iterator[Path]:
        """The folder of a download, locked for one writer; others wait."""
        with _exclusive(self._lock(f"partial-{key}")):
            folder = self._root / "partial" / key
            folder.mkdir(exist_ok=True)
            os.utime(folder, (self._now(), self._now()))
            yield folder

    def reserve(self, size: int, partial: Path) -> None:
        """Reserves ``size`` bytes for the download ``partial``; evicts the least recently used versions for it.

        Raises:
            RegistryError: CACHE_FULL, what is in use does not leave enough room.
        """
        with _exclusive(self._lock("cache")):
            self.sweep(partial)
            (partial / _RESERVATION).unlink(missing_ok=True)
            used_at = {folder: _age(self._lock(folder.name)) for folder in self._versions.iterdir()}
            used_at |= {folder: _age(folder) for folder in (self._root / "partial").iterdir() if folder != partial}
            candidates = sorted(used_at, key=lambda folder: (used_at[folder], folder))
            while (short := self._used_bytes() + size - self._max) > 0 and candidates:
                self._evict(candidates.pop(0))
            # what is allocated, not the sizes: the files are sparse
            allocated = sum(path.stat().st_blocks * 512 for path in partial.rglob("*") if path.is_file())
            short = max(short, size - allocated - shutil.disk_usage(self._root).free)
            if short <= 0:
                with (partial / _RESERVATION).open("wb") as room:
                    room.truncate(size)
                return
        raise RegistryError(
            Reason.CACHE_FULL,
            f"the cache {self._root} is {short / 1e6:.1f} MB short of the {size / 1e6:.1f} MB that the version needs,"
            f" and everything else in it is in use: raise MATTE_CACHE_MAX_BYTES ({self._max / 1e6:.1f} MB), or give"
            " the node a larger disk",
        )

    def link(self, sha256: str, size: int, target: Path) -> bool:
        """Links a cached file to ``target``; False if there is none. A damaged one is removed."""
        known, beside = self._files / sha256, target.with_name(f".{target.name}.link")
        target.parent.mkdir(parents=True, exist_ok=True)
        beside.unlink(missing_ok=True)
        with suppress(FileNotFoundError):
            beside.hardlink_to(known)
            if beside.stat().st_size == size and file_hash(beside) == sha256:
                beside.replace(target)  # only now: what an earlier download left there may still be needed
                beside.unlink(missing_ok=True)
                return True
            beside.unlink()
            known.unlink()
        return False

    def publish(self, digest: str, partial: Path, hashes: Mapping[str, str]) -> None:
        """Publishes a verified download as a version, atomically, and removes the download's folder.

        ``partial`` is from :meth:`lock_partial`; ``hashes`` are the SHA-256 of the files below ``partial/files``.
        """
        for path in hashes:
            with (partial / "files" / path).open("rb") as file:
                os.fsync(file.fileno())
                os.fchmod(file.fileno(), 0o444)
        with _exclusive(self._lock("cache")):
            staging = self._root / "staging" / _hex(digest)
            shutil.rmtree(staging, ignore_errors=True)
            for path, sha256 in hashes.items():
                known, target = self._files / sha256, staging / path
                if not known.exists():
                    known.hardlink_to(partial / "files" / path)
                target.parent.mkdir(parents=True, exist_ok=True)
                target.hardlink_to(known)
            if not (self._versions / _hex(digest)).exists():
                staging.rename(self._versions / _hex(digest))
            shutil.rmtree(staging, ignore_errors=True)
            shutil.rmtree(partial, ignore_errors=True)

    def discard(self, digest: str) -> None:
        """Removes a damaged version and its files, even while leased: nobody must load it."""
        with _exclusive(self._lock("cache")):
            folder = self._versions / _hex(digest)
            damaged = [path.stat().st_ino for path in folder.rglob("*") if path.is_file()]
            self._remove(folder)
            for path in self._files.iterdir():
                if path.stat().st_ino in damaged:
                    path.unlink()

    def sweep(self, partial: Path | None = None) -> None:
        """Removes what killed processes left: unfinished versions, unreferenced files and abandoned downloads.

        To be called under the lock ``cache``, or by the only user.
        """
        for folder in (self._root / "staging").iterdir():
            shutil.rmtree(folder, ignore_errors=True)
        for folder in (self._root / "partial").iterdir():
            if folder != partial and _age(folder) < self._now() - self._partial_seconds:
                self._evict(folder)
        self._remove_unreferenced_files()

    def digests(self) -> list[str]:
        return sorted(f"sha256:{folder.name}" for folder in self._versions.iterdir())

    def _evict(self, folder: Path) -> None:
        """Removes a version or a download, unless it is in use."""
        name = folder.name if folder.parent == self._versions else f"partial-{folder.name}"
        lock = Lock.take(self._lock(name), wait=False)
        if lock is None:
            return
        try:
            self._remove(folder)
            self._remove_unreferenced_files()
        finally:
            lock.release()

    def _remove(self, folder: Path) -> None:
        """Renames, then deletes: a process that is killed here leaves nothing that looks like a version."""
        going = self._root / "staging" / f"going-{folder.name}"
        shutil.rmtree(going, ignore_errors=True)
        with suppress(FileNotFoundError):
            folder.rename(going)
        shutil.rmtree(going, ignore_errors=True)

    def _remove_unreferenced_files(self) -> None:
        for path in self._files.iterdir():
            if path.stat().st_nlink == 1:
                path.unlink()

    def _used_bytes(self) -> int:
        rooms = (self._root / "partial").glob(f"*/{_RESERVATION}")
        return sum(_size(path) for path in (*self._files.iterdir(), *rooms))

    def _lock(self, name: str) -> Path:
        return self._root / "locks" / name


def _hex(digest: str) -> str:
    return digest.removeprefix("sha256:")


def _age(path: Path) -> float:
    with suppress(FileNotFoundError):
        return path.stat().st_mtime
    return 0.0


def _size(path: Path) -> int:
    with suppress(FileNotFoundError):
        return path.stat().st_size
    return 0
