"""Blobs of jobs: in Redis up to a size, in an object store beyond it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

from matte_core.contracts.job import BlobRef
from matte_core.errors import Problem
from obstore.exceptions import BaseError

from matte_jobs.keys import Keyspace
from matte_jobs.objects import Bucket, Folder


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
            return
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
