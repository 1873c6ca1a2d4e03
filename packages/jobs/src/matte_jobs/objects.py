"""What holds blobs that are too large for Redis: a bucket, or a folder on one machine."""

from __future__ import annotations

import asyncio
import os
import secrets
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol
from urllib.parse import unquote, urlsplit

import obstore
from obstore.store import ObjectStore, from_url

#: bytes that a folder takes and gives within the time that a thread would take to be woken; larger ones go to one
AT_ONCE = 4 << 20
#: another process may delete an object's empty folder just before it is written into
_TRIES = 10


class Objects(Protocol):
    """Objects by key. Every call raises OSError or obstore's BaseError where the store is away."""

    async def put(self, key: str, data: bytes) -> None:
        """Stores an object, or another one in its place: it is there whole or not at all."""
        ...

    async def get(self, key: str, size: int) -> bytes:
        """The bytes, of which there are ``size``. FileNotFoundError: they are gone."""
        ...

    async def delete(self, keys: Sequence[str]) -> None:
        """Deletes objects; those that are gone already are fine."""
        ...


def objects_at(url: str, *, fsync: bool) -> Objects:
    """``url`` as in ``MATTE_BLOB_URL``; a folder is made. ``fsync`` is a folder's, a bucket keeps what it took."""
    if not url.startswith("file:"):
        return Bucket(from_url(url))
    root = Path(unquote(urlsplit(url).path))
    root.mkdir(parents=True, exist_ok=True)
    return Folder(root, fsync=fsync)


@dataclass(frozen=True, slots=True)
class Bucket:
    """Objects in an object store."""

    store: ObjectStore

    async def put(self, key: str, data: bytes) -> None:
        """As :class:`Objects`."""
        await obstore.put_async(self.store, key, data)

    async def get(self, key: str, size: int) -> bytes:  # noqa: ARG002 - a folder's matter
        """As :class:`Objects`."""
        found = await obstore.get_async(self.store, key)
        return bytes(memoryview(await found.bytes_async()))

    async def delete(self, keys: Sequence[str]) -> None:
        """As :class:`Objects`."""
        with suppress(FileNotFoundError):
            await obstore.delete_async(self.store, list(keys))


@dataclass(frozen=True, slots=True)
class Folder:
    """Objects as files ``{root}/{key}``.

    obstore's own folders go to its threads and back four times for what the page cache answers at once: twice the CPU
    of a picture's way through files, in the processes that have the least to spare.

    Attributes:
        root: the folder.
        fsync: an object that was put is on the disk, with its name and its folder's.
    """

    root: Path
    fsync: bool = False

    async def put(self, key: str, data: bytes) -> None:
        """As :class:`Objects`."""
        if len(data) <= AT_ONCE and not self.fsync:
            self._write(key, data)
        else:
            await asyncio.to_thread(self._write, key, data)

    async def get(self, key: str, size: int) -> bytes:
        """As :class:`Objects`."""
        path = self.root / key
        return path.read_bytes() if size <= AT_ONCE else await asyncio.to_thread(path.read_bytes)

    async def delete(self, keys: Sequence[str]) -> None:
        """As :class:`Objects`; the folders that are empty then go too."""
        await asyncio.to_thread(self._unlink, keys)

    def _write(self, key: str, data: bytes) -> None:
        path = self.root / key
        part = path.with_name(f"{path.name}.{secrets.token_hex(4)}")
        try:
            self._write_part(part, data)
            part.replace(path)
            if self.fsync:
                for folder in (path.parent, self.root):
                    _sync(folder)
        except OSError:
            with suppress(OSError):
                part.unlink()
            raise

    def _write_part(self, part: Path, data: bytes) -> None:
        for _ in range(_TRIES):
            with suppress(FileNotFoundError):
                with part.open("wb") as file:
                    file.write(data)
                    if self.fsync:
                        file.flush()
                        os.fsync(file.fileno())
                return
            part.parent.mkdir(parents=True, exist_ok=True)
        raise OSError(f"{part.parent} goes away again and again")

    def _unlink(self, keys: Sequence[str]) -> None:
        for key in keys:
            path = self.root / key
            path.unlink(missing_ok=True)
            with suppress(OSError):  # it has other objects
                path.parent.rmdir()


def _sync(folder: Path) -> None:
    """What the folder lists is on the disk."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
