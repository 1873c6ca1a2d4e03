"""Blobs of jobs: in Redis up to a size; beyond it in an object store: a bucket, or a folder on one machine.

:class:`Bucket` and :class:`Folder` have the same methods. ``put`` stores an object, or another one in its place: it is
there whole or not at all. ``get`` raises FileNotFoundError where it is gone; its ``size`` is known to whoever asks.
``delete`` passes over objects that are gone. All raise OSError or obstore's BaseError where the store is away.
"""

from __future__ import annotations

import asyncio
import os
import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import obstore
from matte_core.contracts.job import BlobRef
from matte_core.errors import Problem
from obstore.exceptions import BaseError
from obstore.store import ObjectStore, from_url

from matte_jobs.keys import Keyspace

#: a file of so many bytes is read or written sooner than a thread is woken; larger ones go to a thread
INLINE_IO_BYTES = 4 << 20
#: another process may delete an object's empty folder just before it is written into
_MKDIR_TRIES = 10


def open_objects(url: str, *, fsync: bool) -> Bucket | Folder:
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
        await obstore.put_async(self.store, key, data)

    async def get(self, key: str, size: int) -> bytes:  # noqa: ARG002 - as Folder
        found = await obstore.get_async(self.store, key)
        return bytes(memoryview(await found.bytes_async()))

    async def delete(self, keys: Sequence[str]) -> None:
        with suppress(FileNotFoundError):
            await obstore.delete_async(self.store, list(keys))


@dataclass(frozen=True, slots=True)
class Folder:
    """Objects as files ``{root}/{key}``. ``fsync``: an object that was put is on the disk, with its name and its
    folder's.

    obstore's own folders go to its threads and back four times for what the page cache answers at once: twice the CPU
    of a picture's way through files, in the processes that have the least to spare.
    """

    root: Path
    fsync: bool = False

    async def put(self, key: str, data: bytes) -> None:
        if len(data) <= INLINE_IO_BYTES and not self.fsync:
            self._write(key, data)
        else:
            await asyncio.to_thread(self._write, key, data)

    async def get(self, key: str, size: int) -> bytes:
        path = self.root / key
        return path.read_bytes() if size <= INLINE_IO_BYTES else await asyncio.to_thread(path.read_bytes)

    async def delete(self, keys: Sequence[str]) -> None:
        """Deletes objects, and the folders that are empty then."""

        def unlink() -> None:
            for path in (self.root / key for key in keys):
                path.unlink(missing_ok=True)
                with suppress(OSError):  # it has other objects
                    path.parent.rmdir()

        await asyncio.to_thread(unlink)

    def _write(self, key: str, data: bytes) -> None:
        path = self.root / key
        part = path.with_name(f"{path.name}.{secrets.token_hex(4)}")
        try:
            for _ in range(_MKDIR_TRIES):
                with suppress(FileNotFoundError):
                    file = part.open("wb")
                    break
                part.parent.mkdir(parents=True, exist_ok=True)
            else:
                raise OSError(f"{part.parent} is deleted again and again")
            with file:
                file.write(data)
                if self.fsync:
                    file.flush()
                    os.fsync(file.fileno())
            part.replace(path)
            for folder in (path.parent, self.root) if self.fsync else ():
                descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
                try:
                    os.fsync(descriptor)
                finally:
                    os.close(descriptor)
        except OSError:
            with suppress(OSError):
                part.unlink()
            raise


@dataclass(frozen=True, slots=True)
class BlobStore:
    """Where a blob goes is decided by its size alone.

    Object keys are ``{owner}/{name}``. When an object expires is written in Redis (:meth:`Keyspace.garbage`), and
    :meth:`collect` deletes it. A process that dies between an object and its job leaves the object behind: a lifecycle
    rule of the bucket, longer than dead jobs are kept, takes those. Where Redis or the object store cannot be reached,
    every call raises storage_unavailable.
    """

    redis: Any
    keys: Keyspace
    inline_max_bytes: int
    objects: Bucket | Folder | None

    def ref(self, owner: str, name: str, size: int, content_type: str) -> BlobRef:
        """The address of a blob that is about to be stored."""
        if self.objects is not None and size > self.inline_max_bytes:
            return BlobRef(store="object", key=f"{owner}/{name}", size=size, content_type=content_type)
        return BlobRef(store="redis", key=self.keys.blob(owner, name), size=size, content_type=content_type)

    async def put(self, ref: BlobRef, data: bytes, now: float, *, ttl_seconds: int) -> None:
        """Stores a blob on its own, outside a job's atomic step."""
        if ref.store == "redis":
            await self.redis.set(ref.key, data, ex=ttl_seconds)
        else:
            await self.redis.zadd(self.keys.garbage(), {ref.key: now + ttl_seconds})
            await self.put_object(ref, data)

    async def put_object(self, ref: BlobRef, data: bytes) -> None:
        with _object_errors():
            await self._object_store().put(ref.key, data)

    async def get(self, ref: BlobRef) -> bytes | None:
        """The bytes, or None if they are gone."""
        if ref.store == "redis":
            data: bytes | None = await self.redis.get(ref.key)
            return data
        with _object_errors(), suppress(FileNotFoundError):
            return await self._object_store().get(ref.key, ref.size)
        return None

    async def take(self, ref: BlobRef, now: float, *, keep_seconds: int) -> bytes | None:
        """As :meth:`get`, and the blob is kept only so much longer."""
        if ref.store == "redis":
            data: bytes | None = await self.redis.getex(ref.key, keep_seconds)
            return data
        expiry = self.redis.zadd(self.keys.garbage(), {ref.key: now + keep_seconds}, lt=True)
        data, _ = await asyncio.gather(self.get(ref), expiry)
        return data

    async def collect(self, keys: Sequence[str]) -> None:
        """Deletes objects that are due; those that are gone already are fine."""
        if not keys or self.objects is None:  # this process has no object store; one that has will do it
            return
        with _object_errors():
            await self.objects.delete(keys)
        await self.redis.zrem(self.keys.garbage(), *keys)

    def _object_store(self) -> Bucket | Folder:
        if self.objects is None:
            raise RuntimeError("a job names a blob in the object store, but MATTE_BLOB_URL is not set here")
        return self.objects


@contextmanager
def _object_errors() -> Iterator[None]:
    try:
        yield
    except FileNotFoundError:
        raise
    except (BaseError, OSError) as error:
        raise Problem("storage_unavailable", "The object store cannot be reached.", retry_after=5) from error
