"""The expiry of what Ray keeps in Redis: it outlives its cluster by a week."""

from __future__ import annotations

from typing import Any

from matte_jobs.connect import translated
from redis.asyncio import Redis

#: seconds; a cluster whose head is away longer than that does not come back
TTL_SECONDS = 7 * 86400


async def refresh(redis: Redis, storage: str) -> int:
    """Lets the state of a Ray cluster live on for :data:`TTL_SECONDS`; returns of how many keys it is.

    Args:
        redis: where Ray keeps it, too.
        storage: ``RAY_external_storage_namespace`` of the cluster.

    Raises:
        Problem: storage_unavailable.
    """
    raw: Any = redis
    with translated():
        keys = [key async for key in raw.scan_iter(match=f"RAY{storage}@*", count=1000)]
        for key in keys:
            await raw.expire(key, TTL_SECONDS)
    return len(keys)
