"""What one ``matte serve`` runs on its machine, and how its next start gives back what died with it."""

from __future__ import annotations

import json

from matte_jobs.connect import translated
from matte_jobs.scripts import Scripts
from matte_jobs.store import LEASE_EXPIRED, JobStore


def named(instance: str, name: str) -> str:
    """The name of a replica or a router of an instance; ``name`` alone where there is none ('')."""
    return f"{instance}.{name}" if instance else name


async def end_instance(store: JobStore, instance: str, pool: str, now: float) -> int:
    """All that an instance ran has ended: its jobs go back to the queue, its replicas and routers are forgotten.

    Nobody waits for leases and announcements to run out. Only for whoever ended the processes, or saw them end, before
    new ones are started. Each job is still answered once: the first result wins.

    Args:
        store: the job store.
        instance: as in :func:`named`, not ''.
        pool: of its router.
        now: Unix seconds.

    Returns:
        How many jobs went back.

    Raises:
        Problem: storage_unavailable.
    """
    step = Scripts(store.redis, store.prefix)
    keep = store.settings.dead_ttl_seconds
    with translated():
        return int(
            await step("end_instance", now, named(instance, ""), pool, json.dumps(LEASE_EXPIRED.document()), keep)
        )
