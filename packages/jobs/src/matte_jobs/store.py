"""The life of a job. Every transition is one atomic step in Redis; ``matte_jobs/lua`` holds the steps.

Times are Unix seconds and passed in. Everything here may be called by any process at any moment: a call that comes
too late (a lease that is no longer the caller's, a second result) changes nothing and says so in what it returns.
Every call raises a :class:`Problem` where Redis is full or out of reach (storage_full, storage_unavailable).
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Literal

from matte_core.contracts.job import BlobRef, Event, JobSpec, JobState, JobView, Owner, Result
from matte_core.domain.eta import MIN_MEGAPIXELS
from matte_core.errors import Problem

from matte_jobs.blobs import BlobStore, open_objects
from matte_jobs.client import RedisClient, Scripts, connect
from matte_jobs.keys import Keyspace
from matte_jobs.settings import StoreSettings
from matte_jobs.views import CapacityLookup, job_view, queue_full_retry_after, unknown_capacity

#: share of Redis' memory from which on no job is admitted
ADMIT_BELOW_MEMORY = 0.8
#: jobs ahead, and jobs that run, that an ETA looks at one by one
ETA_LOOKAHEAD = 64
#: jobs of about one size whose seconds are kept by version: they follow the load within a few
MAX_SAMPLES = 12
#: keys that one step of a scan looks at, and steps of one page
_SCAN_KEYS, _SCAN_STEPS = 1000, 20
LEASE_EXPIRED = Problem("attempts_exhausted", "The process that ran the job died or stalled on every attempt.")


@dataclass(frozen=True, slots=True)
class Admission:
    """A job is in the queue. ``existing``: it, or one with the same idempotency key, already was."""

    id: str
    position: int
    queue_length: int
    existing: bool


@dataclass(frozen=True, slots=True)
class Lease:
    """The right to finish a job until a moment.

    ``version`` is set where it was clear (a pin, a retry that keeps its version, only one that is open): the job is
    started then; else the caller chooses one and calls :meth:`JobStore.start` or :meth:`JobStore.defer`.
    """

    id: str
    token: str
    attempt: int
    spec: JobSpec
    version: str | None


@dataclass(frozen=True, slots=True)
class SweepResult:
    """How many jobs a sweep requeued, buried and expired; ``next_due`` is when the next lease or deadline runs out."""

    requeued: int
    dead: int
    expired: int
    next_due: float | None


@dataclass(frozen=True, slots=True)
class StoreStats:
    """Dead jobs, and bytes of memory; ``max_bytes`` 0 is without a limit."""

    dead_jobs: int
    used_bytes: int
    max_bytes: int


def instance_member(instance: str, name: str) -> str:
    """The name of a replica or a router that one ``matte serve`` runs; ``name`` alone where ``instance`` is ''."""
    return f"{instance}.{name}" if instance else name


class JobStore:
    """Jobs in one Redis. Open one per process and event loop; close it with :meth:`close`."""

    def __init__(self, redis: RedisClient, settings: StoreSettings) -> None:
        self.redis: Any = redis  # redis-py's types cannot say that replies are bytes here
        self.settings = settings
        self.keys = Keyspace(settings.redis_prefix)
        fsync = settings.durability == "fsync"
        objects = open_objects(settings.blob_url, fsync=fsync) if settings.blob_url else None
        self.blobs = BlobStore(redis, self.keys, settings.blob_inline_max_bytes, objects)
        self._run = Scripts(redis, self.keys, settings)

    @classmethod
    def open(cls, settings: StoreSettings) -> JobStore:
        """A store with a connection pool of its own; nothing is sent before the first call."""
        return cls(connect(settings.redis_url, max_connections=settings.redis_max_connections), settings)

    async def close(self) -> None:
        await self.redis.aclose()
        await self.redis.connection_pool.disconnect()

    # admission ------------------------------------------------------------------------------------------------

    async def admit(
        self, spec: JobSpec, data: Mapping[str, bytes], now: float, capacity: CapacityLookup = unknown_capacity
    ) -> Admission:
        """Stores the inputs (``data``: bytes by key of ``blobs.ref(spec.id, …)``), the record and the queue entry;
        idempotent in ``spec.id``. Raises queue_full or idempotency_key_reused.
        """
        refs = [ref for ref in (spec.image, spec.background) if ref is not None]
        kind, *rest = await self._run(
            "admit",
            now,
            await self._put_large(refs, data),
            job_id=spec.id,
            spec=spec.model_dump_json(),
            model=spec.model,
            pin=spec.version or "",
            tenant=spec.tenant,
            priority=spec.priority,
            tag_increment=tag_increment(spec.cost, spec.share),
            megapixels=f"{max(MIN_MEGAPIXELS, spec.picture.megapixels):.6f}",
            expires_at=spec.expires_at,
            max_attempts=spec.max_attempts,
            origin=spec.origin,
            idempotency_digest=spec.owner.digest(spec.idempotency_key) if spec.idempotency_key else "",
            fingerprint=spec.fingerprint,
            inputs=json.dumps([ref.handle for ref in refs]),
            owner=spec.owner.scope,
        )
        if kind == b"ok":
            return Admission(rest[0].decode(), int(rest[1]), int(rest[2]), existing=False)
        if kind == b"full":
            queued, megapixels = int(rest[0]), float(rest[1])
            retry_after = queue_full_retry_after(capacity(spec.model, spec.version), queued, megapixels)
            raise Problem("queue_full", f"{queued} jobs are waiting for this model already.", retry_after=retry_after)
        if kind == b"reused":
            raise Problem(
                "idempotency_key_reused",
                "This Idempotency-Key came before with another picture or other parameters; use a new key.",
            )
        view = await self.view(rest[0].decode(), now, owner=spec.owner)
        return Admission(view.id, view.position or 0, view.queue_length, existing=True)

    async def _put_large(self, refs: Sequence[BlobRef], data: Mapping[str, bytes]) -> list[tuple[str, bytes]]:
        """Stores what goes to the object store; returns the rest, for the atomic step."""
        await asyncio.gather(*(self.blobs.put_object(ref, data[ref.key]) for ref in refs if ref.store == "object"))
        return [(ref.key, data[ref.key]) for ref in refs if ref.store == "redis"]

    async def has_memory_for_jobs(self) -> bool:
        """Whether new jobs may come in; the rest of the memory is for the results of those that did."""
        stats = await self.stats()
        return not stats.max_bytes or stats.used_bytes < stats.max_bytes * ADMIT_BELOW_MEMORY

    async def stats(self) -> StoreStats:
        memory = await self.redis.info("memory")
        dead = await self.redis.zcard(self.keys.dead())
        return StoreStats(int(dead), int(memory["used_memory"]), int(memory["maxmemory"]))

    # the runner's side ----------------------------------------------------------------------------------------

    async def lease(
        self,
        model: str,
        *,
        holder: str,
        now: float,
        until: float,
        n: int,
        unassigned: bool,
        versions: Mapping[str, int],
        only_version: str | None = None,
    ) -> list[Lease]:
        """Takes up to ``n`` jobs in the queue's order, for ``holder`` (a name for people to read).

        Args:
            until: when the lease runs out if it is not renewed.
            unassigned: whether jobs without a version are taken too.
            versions: free slots by version; jobs that already have one of these versions are taken up to that.
            only_version: the one of ``versions`` that every job without a version gets; None: the caller chooses.
        """
        leased = await self._run(
            "lease", now, model=model, holder=holder, expires_at=until, limit=n, unassigned=int(unassigned),
            only_version=only_version or "", free_slots=json.dumps(dict(versions)),
        )  # fmt: skip
        return [
            Lease(id_.decode(), token.decode(), int(n), JobSpec.model_validate_json(spec), version.decode() or None)
            for id_, token, n, spec, version in leased
        ]

    async def start(self, job_id: str, token: str, version: str, now: float) -> bool:
        """Writes the chosen version on the job and emits ``started``; False if the lease is lost."""
        return bool(await self._run("start", now, job_id=job_id, token=token, version=version))

    async def defer(self, job_id: str, token: str, version: str | None, now: float) -> bool:
        """Back to the queue, in its old place, to wait for ``version``; not counted as an attempt."""
        return bool(await self._run("defer", now, job_id=job_id, token=token, version=version or ""))

    async def fall_back(self, job_id: str, token: str, version: str, problem: Problem, now: float) -> bool:
        """Back to the queue, in its old place, for ``version``: another one was tried, and is to blame.

        It counts as no attempt, and happens once in a job's life. False: the lease is lost, or it happened before.
        """
        text = _json(problem)
        return bool(await self._run("fall_back", now, job_id=job_id, token=token, version=version, problem=text))

    async def renew(self, leases: Mapping[str, str], *, now: float, until: float) -> set[str]:
        """Renews leases (token by id); returns the ids that are no longer the caller's."""
        if not leases:
            return set()
        lost = await self._run("renew", now, expires_at=until, tokens=json.dumps(dict(leases)))
        return {id_.decode() for id_ in lost}

    async def release(self, job_id: str, token: str, problem: Problem, now: float) -> str:
        """The holder could not finish: ``queued`` again, ``dead`` after the last attempt, or ``lost``."""
        state = await self._run("release", now, job_id=job_id, token=token, problem=_json(problem))
        return str(state.decode())

    async def finish(self, job_id: str, result: Result, data: Mapping[str, bytes], *, now: float) -> bool:
        """Stores the result, and how long the lease was held; the first result wins, whoever brings it.

        False: it came too late.
        """
        refs = list(result.files.values())
        stored = await self._run(
            "finish", now, await self._put_large(refs, data), job_id=job_id, result=result.model_dump_json(),
            version=result.version, max_samples=MAX_SAMPLES, handles=json.dumps([ref.handle for ref in refs]),
        )  # fmt: skip
        return bool(stored)

    async def fail(self, job_id: str, token: str, problem: Problem, now: float) -> bool:
        """Ends the job by its own fault; ``token`` '' fails one that is still queued."""
        return bool(await self._run("fail", now, job_id=job_id, token=token, problem=_json(problem)))

    async def emit_event(
        self, job_id: str, token: str, kind: Literal["progress", "preview"], data: Mapping[str, Any], now: float
    ) -> bool:
        """An event on the way, for whoever follows the job; False, and none, if the lease is lost."""
        return bool(await self._run("emit_event", now, job_id=job_id, token=token, type=kind, data=json.dumps(data)))

    async def subqueues(self, model: str) -> set[str]:
        """Versions that jobs of the model wait for."""
        return {version.decode() for version in await self.redis.smembers(self.keys.subqueues(model))}

    async def unassign(
        self, model: str, version: str, problem: Problem | None, now: float, *, limit: int = 1000
    ) -> int:
        """A version takes no jobs: they are unassigned again; those pinned to it fail with ``problem`` (None: wait on).

        Returns how many of the first ``limit`` moved or failed.
        """
        text = _json(problem) if problem else ""
        return int(await self._run("unassign", now, model=model, version=version, limit=limit, problem=text))

    async def sweep(self, now: float, *, limit: int = 1000) -> SweepResult:
        """Releases leases that ran out, expires jobs that waited too long, deletes blobs that are due."""
        requeued, dead, expired, next_due, garbage = await self._run(
            "sweep", now, limit=limit, problem=_json(LEASE_EXPIRED)
        )
        await self.blobs.collect([key.decode() for key in garbage])
        return SweepResult(int(requeued), int(dead), int(expired), float(next_due) if next_due else None)

    async def end_instance(self, instance: str, pool: str, now: float) -> int:
        """All that one ``matte serve`` ran has ended: its jobs are queued again, its replicas and routers forgotten.

        Nobody waits for leases and announcements to run out. Only for whoever ended the processes, or saw them end,
        before new ones are started. Each job is still answered once: the first result wins. Returns how many jobs are
        queued again. ``instance`` as in :func:`instance_member`, not ''.
        """
        prefix = instance_member(instance, "")
        return int(await self._run("end_instance", now, name_prefix=prefix, pool=pool, problem=_json(LEASE_EXPIRED)))

    # the owner's side -----------------------------------------------------------------------------------------

    async def view(
        self, job_id: str, now: float, capacity: CapacityLookup = unknown_capacity, *, owner: Owner | None = None
    ) -> JobView:
        """The job as its owner sees it; ``capacity`` says what its ETA rests on.

        ``owner`` is who asks; None: one of Matte's own parts, which no job is hidden from. Raises job_not_found, also
        for a job that is somebody else's.
        """
        reply = await self._run("view", now, job_id=job_id, owner=_scope(owner), lookahead=ETA_LOOKAHEAD)
        if not reply:
            raise _not_found(job_id)
        return job_view(job_id, reply, now, capacity)

    async def cancel(self, job_id: str, now: float, *, owner: Owner | None = None) -> bool:
        """Ends a job; False: it had ended. ``owner`` and job_not_found as for :meth:`view`."""
        done = await self._run("cancel", now, job_id=job_id, owner=_scope(owner))
        if done < 0:
            raise _not_found(job_id)
        return bool(done)

    async def remove(self, job_id: str, now: float, *, owner: Owner | None = None) -> None:
        """Forgets a job that has ended, with its pictures and its idempotency key; another is left alone."""
        objects = await self._run("remove", now, job_id=job_id, owner=_scope(owner))
        with suppress(Problem):  # a sweep deletes what is left
            await self.blobs.collect([key.decode() for key in objects])

    async def events(self, stream: str, after: str = "0") -> list[Event]:
        """Everything that happened to a job after the event with this id."""
        entries = await self.redis.xrange(self.keys.events(stream), min=f"({after}" if after != "0" else "-")
        return [
            Event(id=id_.decode(), type=fields[b"t"].decode(), at=float(fields[b"a"]), data=json.loads(fields[b"d"]))
            for id_, fields in entries
        ]

    async def result_bytes(self, ref: BlobRef, *, delivered_at: float | None = None) -> bytes:
        """A result's bytes; raises result_expired. ``delivered_at`` is set where this answers the caller who waited for
        it: it need not be kept for long then.
        """
        if delivered_at is None:
            data = await self.blobs.get(ref)
        else:
            data = await self.blobs.take(ref, delivered_at, keep_seconds=self.settings.delivered_ttl_seconds)
        if data is None:
            raise Problem("result_expired", "Results are kept for a while only; send the picture again.")
        return data

    # the administrator's side ---------------------------------------------------------------------------------

    async def list_job_ids(self, state: JobState | None, cursor: int, *, enough: int) -> tuple[list[str], int]:
        """Ids of some jobs in a state (None: any), in no order, and where the next page begins; 0: there is none.

        There is no index of all jobs: nothing but this asks for one, and every job would pay for it. So the keys are
        scanned, a bounded number per page; a job that is there from the first page to the last is listed at least once.
        ``cursor`` is 0, or what the page before returned; a page ends with ``enough`` ids, or some more.
        """
        prefix = self.keys.job("").encode()
        pattern = re.sub(rb"[*?\[\]\\]", rb"\\\g<0>", prefix) + b"*"
        ids: list[str] = []
        for _ in range(_SCAN_STEPS):
            cursor, keys = await self.redis.scan(cursor, match=pattern, count=_SCAN_KEYS)
            pipe = self.redis.pipeline(transaction=False)
            for key in keys:
                pipe.hget(key, "state")
            states = await pipe.execute() if keys else []
            ids += [
                key.removeprefix(prefix).decode()
                for key, found in zip(keys, states, strict=True)
                if found is not None and state in (None, found.decode())
            ]
            if not cursor or len(ids) >= enough:
                break
        return ids, int(cursor)

    async def dead_job_ids(self, *, limit: int = 100) -> list[str]:
        """Ids on the dead-letter list, the newest first."""
        return [id_.decode() for id_ in await self.redis.zrange(self.keys.dead(), 0, limit - 1, desc=True)]

    async def requeue_dead(self, job_id: str, *, now: float, expires_at: float) -> None:
        """Requeues a dead job, with all its attempts again; raises job_not_found or job_not_dead."""
        done = await self._run("requeue_dead", now, job_id=job_id, expires_at=expires_at)
        if done < 0:
            raise _not_found(job_id)
        if done == 0:
            raise Problem("job_not_dead", f"Job {job_id} is not on the dead-letter list.")


def _json(problem: Problem) -> str:
    return json.dumps(problem.document())


def _scope(owner: Owner | None) -> str:
    return "*" if owner is None else owner.scope


def _not_found(job_id: str) -> Problem:
    return Problem("job_not_found", f"There is no job {job_id}; finished jobs are kept for a while only.")


def tag_increment(cost: float, share: float) -> int:
    """How far a job advances its tenant's finish tag in fair queuing, in thousandths of a cost unit."""
    return max(1, int(cost * 1000 / share + 0.5))
