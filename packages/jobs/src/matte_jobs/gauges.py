"""What the store says of itself, for whoever watches over it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from matte_jobs.connect import translated
from matte_jobs.store import JobStore


@dataclass(frozen=True, slots=True)
class StoreState:
    """Dead jobs, and bytes of memory; ``max_bytes`` 0 is without a limit."""

    dead_jobs: int
    used_bytes: int
    max_bytes: int

    @classmethod
    async def read(cls, store: JobStore) -> StoreState:
        """As it is now.

        Raises:
            Problem: storage_unavailable.
        """
        raw: Any = store.redis
        with translated():
            memory = await raw.info("memory")
            dead = await raw.zcard(f"{store.prefix}dead")
        return cls(int(dead), int(memory["used_memory"]), int(memory["maxmemory"]))
