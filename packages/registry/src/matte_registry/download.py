"""A resumable, parallel download of a version's files into a folder.

Files are downloaded in blocks. A journal per file lists the complete blocks, so a killed process loses only unfinished
ones. Files are hashed at the end from the disk, so a wrong journal cannot pass a wrong file.
"""

from __future__ import annotations

import hashlib
import json
import os
import struct
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from matte_core.contracts.registry import Reason, RemoteFile
from matte_core.domain.backoff import exponential_backoff

from matte_registry.errors import RegistryError
from matte_registry.folder import file_hash
from matte_registry.progress import OnProgress, Tally, ignore
from matte_registry.settings import RegistrySettings

_NUMBER = struct.Struct("<I")
_FIRST_WAIT, _LONGEST_WAIT = 0.5, 8.0


class Reader(Protocol):
    """What files are read from; thread-safe. Without ``ranged``, only whole files are asked for."""

    @property
    def ranged(self) -> bool: ...

    def read(self, file: RemoteFile, start: int, end: int) -> Iterator[bytes]: ...


@dataclass(frozen=True, slots=True)
class Options:
    """``parallel`` concurrent requests of ``block`` bytes each, with ``attempts`` attempts each."""

    parallel: int = 8
    block: int = 8 << 20
    attempts: int = 5
    sleep: Callable[[float], object] = time.sleep

    @classmethod
    def of(cls, settings: RegistrySettings) -> Options:
        return cls(settings.download_parallel, settings.download_block_bytes, settings.download_attempts)


@dataclass(slots=True)
class Part:
    """A file being downloaded. ``done`` has the numbers of its complete blocks."""

    file: RemoteFile
    path: Path
    journal: Path
    block: int
    done: set[int] = field(default_factory=set)

    @classmethod
    def open(cls, folder: Path, file: RemoteFile, block: int) -> Part:
        """Resumes an earlier download of the same content, or starts a new one. Allocates the file."""
        name = hashlib.sha256(file.path.encode()).hexdigest()[:32]
        part = cls(file, folder / "files" / file.path, folder / "journal" / name, block)
        part.path.parent.mkdir(parents=True, exist_ok=True)
        part.journal.parent.mkdir(parents=True, exist_ok=True)
        head = json.dumps([file.path, file.size, file.sha256, file.tag, block]).encode() + b"\n"
        if not part._resume(head):
            part.path.unlink(missing_ok=True)  # it may be a link to a file that others use
            with part.path.open("wb") as opened:
                opened.truncate(file.size)
            part.journal.write_bytes(head)
        return part

    def _resume(self, head: bytes) -> bool:
        if not self.journal.is_file() or not self.path.is_file() or self.path.stat().st_size != self.file.size:
            return False
        found = self.journal.read_bytes()
        if not found.startswith(head):
            return False
        numbers = found[len(head) :]
        whole = len(numbers) - len(numbers) % _NUMBER.size  # the last one may have been cut off
        self.done = {number for (number,) in _NUMBER.iter_unpack(numbers[:whole]) if number < self.blocks}
        self.journal.write_bytes(head + b"".join(map(_NUMBER.pack, sorted(self.done))))
        return True

    @property
    def blocks(self) -> int:
        return -(-self.file.size // self.block)

    def range(self, number: int) -> tuple[int, int]:
        return number * self.block, min(self.file.size, (number + 1) * self.block)


def download(
    store: Reader, files: Sequence[RemoteFile], folder: Path, options: Options, on_progress: OnProgress = ignore
) -> dict[str, str]:
    """Downloads files into ``folder/files``. Returns the SHA-256 of each by path.

    Raises:
        RegistryError: from the source; DIGEST_MISMATCH: a file does not have the hash that the source stated, and was
            deleted.
    """
    parts = [Part.open(folder, f, options.block if store.ranged else max(1, f.size)) for f in files]
    done = sum(end - start for part in parts for start, end in map(part.range, part.done))
    tally = Tally(sum(file.size for file in files), on_progress, done)
    tally.add(0)
    stop = threading.Event()
    with ThreadPoolExecutor(options.parallel, "fetch") as pool:
        missing = [(part, n) for part in parts for n in range(part.blocks) if n not in part.done]
        work = [pool.submit(_fetch, store, part, n, options, tally, stop) for part, n in missing]
        try:
            finished, _ = wait(work, return_when=FIRST_EXCEPTION)
        finally:
            stop.set()
            pool.shutdown(wait=True, cancel_futures=True)
    for future in sorted(finished, key=lambda f: f.exception() is None):
        future.result()
    hashes = {}
    for part in parts:
        found = hashes[part.file.path] = file_hash(part.path)
        if part.file.sha256 not in (None, found):
            part.path.unlink(missing_ok=True)
            part.journal.unlink(missing_ok=True)
            raise RegistryError(
                Reason.DIGEST_MISMATCH,
                f"{part.file.path} has the SHA-256 {found}, its source says {part.file.sha256}: it was thrown away. If"
                " it happens again, publish the version anew",
            )
    return hashes


def _fetch(store: Reader, part: Part, number: int, options: Options, tally: Tally, stop: threading.Event) -> None:
    """Downloads one block, with retries while the source is unavailable."""
    for attempt in range(1, options.attempts + 1):
        if stop.is_set():
            return
        try:
            _copy(store, part, number, tally, stop)
            return
        except RegistryError as error:
            if not error.transient or attempt == options.attempts:
                raise
            options.sleep(exponential_backoff(attempt, _FIRST_WAIT, _LONGEST_WAIT))


def _copy(store: Reader, part: Part, number: int, tally: Tally, stop: threading.Event) -> None:
    start, end = part.range(number)
    at = start
    descriptor = os.open(part.path, os.O_WRONLY)
    try:
        for piece in exactly(store.read(part.file, start, end), end - start, part.file.path):
            if stop.is_set():
                return
            os.pwrite(descriptor, piece, at)
            at += len(piece)
            tally.add(len(piece))
    except BaseException:
        tally.add(start - at)
        raise
    finally:
        os.close(descriptor)
    with part.journal.open("ab", buffering=0) as journal:
        journal.write(_NUMBER.pack(number))


def exactly(pieces: Iterator[bytes], size: int, path: str) -> Iterator[bytes]:
    """Yields the pieces; raises RegistryError if they have more or fewer than ``size`` bytes."""
    for piece in pieces:
        size -= len(piece)
        if size < 0:
            raise RegistryError(Reason.SOURCE_CHANGED, f"{path} has more bytes than the source listed")
        yield piece
    if size:
        raise RegistryError(Reason.SOURCE_UNAVAILABLE, f"{path}: the connection ended {size} bytes early")
