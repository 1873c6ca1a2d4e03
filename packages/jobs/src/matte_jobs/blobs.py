"""Bytes of jobs: in Redis up to a size, in an object store beyond it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import obstore
from matte_core.contracts.job import BlobRef
from obstore.store import ObjectStore, from_url
from redis.asyncio import Redis


@dataclass(frozen=True, slots=True)
class BlobStore:
    """Where a blob goes is decided by its size alone.

    Object keys are ``{owner}/{name}``; they expire by the bucket's lifecycle rule.
    """

    redis: Redis
    prefix: str
    inline_max_bytes: int
    objects: ObjectStore | None

    @classmethod
    def open(cls, redis: Redis, *, prefix: str, inline_max_bytes: int, url: str) -> BlobStore:
        """``url`` as in ``MATTE_BLOB_URL``; '' keeps everything in Redis."""
        return cls(redis, prefix, inline_max_bytes, _object_store(url) if url else None)

    def ref(self, owner: str, name: str, size: int, content_type: str) -> BlobRef:
        """The address of a blob that is about to be stored."""
        if self.objects is not None and size > self.inline_max_bytes:
            return BlobRef(store="object", key=f"{owner}/{name}", size=size, content_type=content_type)
        return BlobRef(store="redis", key=f"{self.prefix}blob:{owner}:{name}", size=size, content_type=content_type)

    async def put(self, ref: BlobRef, data: bytes, *, ttl_seconds: int) -> None:
        """Stores a blob on its own, outside a job's atomic step."""
        if ref.store == "redis":
            await self.redis.set(ref.key, data, ex=ttl_seconds)
        else:
            await self.put_object(ref, data)

    async def put_object(self, ref: BlobRef, data: bytes) -> None:
        """Stores a blob in the object store."""
        await obstore.put_async(self._objects(), ref.key, data)

    async def get(self, ref: BlobRef, *, then_keep_seconds: int | None = None) -> bytes | None:
        """The bytes, or None if they are gone; one in Redis is kept only so much longer where that is given."""
        if ref.store == "redis":
            read = (
                self.redis.get(ref.key) if then_keep_seconds is None else self.redis.getex(ref.key, then_keep_seconds)
            )
            return cast("bytes | None", await read)
        try:
            found = await obstore.get_async(self._objects(), ref.key)
        except FileNotFoundError:
            return None
        return bytes(memoryview(await found.bytes_async()))

    async def delete_object(self, ref: BlobRef) -> None:
        """Deletes a blob of the object store; one that is gone is fine."""
        try:
            await obstore.delete_async(self._objects(), ref.key)
        except FileNotFoundError:
            return

    def _objects(self) -> ObjectStore:
        if self.objects is None:
            raise RuntimeError("a job names a blob in the object store, but MATTE_BLOB_URL is not set here")
        return self.objects


def _object_store(url: str) -> ObjectStore:
    return from_url(url, mkdir=True) if url.startswith("file:") else from_url(url)
