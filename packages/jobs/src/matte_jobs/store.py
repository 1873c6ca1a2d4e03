"""The life of a job. Every move is one atomic step in Redis; ``matte_jobs/lua`` holds the steps.

Times are Unix seconds and passed in. Everything here may be called by any process at any moment: a call that comes
too late (a lease that is no longer the caller's, a second result) changes nothing and says so in what it returns.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Literal

from matte_core.contracts.job import BlobRef, Event, JobSpec, JobView, Result
from matte_core.contracts.owner import Owner
from matte_core.domain.eta import MIN_MEGAPIXELS
from matte_core.domain.order import tag_increment
from matte_core.errors import Problem
from redis.asyncio import Redis

from matte_jobs.blobs import BlobStore
from matte_jobs.connect import connect, translated
from matte_jobs.pubsub import WakeupChannel
from matte_jobs.samples import SAMPLES_KEPT, samples_key
from matte_jobs.scripts import Scripts
from matte_jobs.settings import StoreSettings
from matte_jobs.views import CapacityLookup, job_view, seconds_until_room, unknown_capacity

#: share of Redis' memory from which on no job is admitted
ADMIT_BELOW = 0.8
#: jobs ahead, and jobs that run, that an ETA looks at one by one
LOOKED_AT = 64
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

    ``version`` is set where it was clear (a pin, a retry that keeps its arm, only one version that is open): the job is
    started then; else the caller chooses one and calls :meth:`JobStore.start` or :meth:`JobStore.defer`.
    """

    id: str
    token: str
    attempt: int
    spec: JobSpec
    version: str | None


@dataclass(frozen=True, slots=True)
class SweepResult:
    """What a sweep found; ``next_due`` is when the next lease or deadline runs out."""

    requeued: int
    dead: int
    expired: int
    next_due: float | None


class JobStore:
    """Jobs in one Redis. Open one per process and event loop; close it with :meth:`close`."""

    def __init__(self, redis: Redis, settings: StoreSettings) -> None:
        self.redis = redis
        self._raw: Any = redis  # the client's own types cannot say that answers are bytes here
        self.settings = settings
        self.prefix = settings.redis_prefix
        self.blobs = BlobStore.open(
            redis,
            prefix=self.prefix,
            inline_max_bytes=settings.blob_inline_max_bytes,
            url=settings.blob_url,
            fsync=settings.durability == "fsync",
        )
        self._run = Scripts(redis, self.prefix)

    @classmethod
    def open(cls, settings: StoreSettings) -> JobStore:
        """A store with a connection pool of its own; nothing is sent before the first call."""
        return cls(connect(settings.redis_url, max_connections=settings.redis_max_connections), settings)

    async def close(self) -> None:
        """Closes every connection."""
        await self.redis.aclose()
        await self.redis.connection_pool.disconnect()

    # admission ------------------------------------------------------------------------------------------------

    async def admit(
        self, spec: JobSpec, data: Mapping[str, bytes], now: float, capacity: CapacityLookup = unknown_capacity
    ) -> Admission:
        """Stores the inputs, the record and the queue entry; idempotent in ``spec.id``.

        Args:
            spec: the job; its blob references come from ``blobs.ref(spec.id, …)``.
            data: bytes by blob key.
            now: Unix seconds.
            capacity: says when a full queue has room again.

        Raises:
            Problem: queue_full, idempotency_key_reused, storage_full, storage_unavailable.
        """
        refs = [ref for ref in (spec.image, spec.background) if ref is not None]
        inline = await self._put_large(refs, data)
        with translated():
            kind, *rest = await self._run(
                "admit", now, spec.id, spec.model_dump_json(), spec.model, spec.version or "", spec.tenant,
                spec.priority, tag_increment(spec.cost, spec.share),
                f"{max(MIN_MEGAPIXELS, spec.picture.megapixels):.6f}",
                spec.expires_at, spec.max_attempts, spec.origin, _idempotency(spec), spec.fingerprint,
                self.settings.idempotency_ttl_seconds, self.settings.max_queue_length,
                json.dumps([ref.handle for ref in refs]), spec.owner.scope, blobs=inline,
            )  # fmt: skip
        if kind == b"full":
            queued, megapixels = int(rest[0]), float(rest[1])
            able = capacity(spec.model, spec.version)
            raise Problem(
                "queue_full", f"{queued} jobs are waiting for this model already.",
                retry_after=seconds_until_room(able, queued, megapixels),
            )  # fmt: skip
        return await self._admitted(spec.owner, kind.decode(), rest, now)

    async def _put_large(self, refs: Sequence[BlobRef], data: Mapping[str, bytes]) -> list[tuple[str, bytes]]:
        """Stores what goes to the object store; returns the rest, for the atomic step."""
        await asyncio.gather(*(self.blobs.put_object(ref, data[ref.key]) for ref in refs if ref.store == "object"))
        return [(ref.key, data[ref.key]) for ref in refs if ref.store == "redis"]

    async def _admitted(self, owner: Owner, kind: str, rest: Sequence[Any], now: float) -> Admission:
        if kind == "ok":
            return Admission(rest[0].decode(), int(rest[1]), int(rest[2]), existing=False)
        if kind == "reused":
            raise Problem(
                "idempotency_key_reused",
                "This Idempotency-Key came before with another picture or other parameters; use a new key.",
            )
        view = await self.view(rest[0].decode(), now, owner=owner)
        return Admission(view.id, view.position or 0, view.queue_length, existing=True)

    # the holder's side ----------------------------------------------------------------------------------------

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
        """Takes up to ``n`` jobs in the queue's order.

        Args:
            model: whose queue.
            holder: who takes them, for people to read.
            now: Unix seconds.
            until: when the lease runs out if it is not renewed.
            n: at most so many.
            unassigned: whether jobs without a version are taken too.
            versions: free slots by version; jobs that already have one of these versions are taken up to that.
            only_version: the one of ``versions`` that every job without a version gets; None: the caller chooses.
        """
        slots = [part for version, free in versions.items() for part in (version, free)]
        with translated():
            taken = await self._run("lease", now, model, holder, until, n, int(unassigned), only_version or "", *slots)
        return [
            Lease(
                id_.decode(), token.decode(), int(attempt), JobSpec.model_validate_json(spec), version.decode() or None
            )
            for id_, token, attempt, spec, version in taken
        ]

    async def start(self, job_id: str, token: str, version: str, now: float) -> bool:
        """Writes the chosen arm on the job and tells whoever waits; False if the lease is lost."""
        with translated():
            return bool(await self._run("start", now, job_id, token, version))

    async def defer(self, job_id: str, token: str, version: str | None, now: float) -> bool:
        """Back to the queue, in its old place, to wait for ``version``; not counted as an attempt."""
        with translated():
            return bool(await self._run("defer", now, job_id, token, version or ""))

    async def fall_back(self, job_id: str, token: str, version: str, problem: Problem, now: float) -> bool:
        """Back to the queue, in its old place, for ``version``: another one was tried, and is to blame.

        It counts as no attempt, and happens once in a job's life. False: the lease is lost, or it happened before.
        """
        with translated():
            return bool(await self._run("fall_back", now, job_id, token, version, json.dumps(problem.document())))

    async def renew(self, leases: Mapping[str, str], *, now: float, until: float) -> set[str]:
        """Renews leases (token by id); returns the ids that are no longer the caller's."""
        pairs = [part for pair in leases.items() for part in pair]
        with translated():
            return {id_.decode() for id_ in await self._run("renew", now, until, *pairs)} if pairs else set()

    async def release(self, job_id: str, token: str, problem: Problem, now: float) -> str:
        """The holder could not finish: ``queued`` again, ``dead`` after the last attempt, or ``lost``."""
        with translated():
            return str(
                (
                    await self._run(
                        "release", now, job_id, token, json.dumps(problem.document()), self.settings.dead_ttl_seconds
                    )
                ).decode()
            )

    async def finish(self, job_id: str, result: Result, data: Mapping[str, bytes], *, now: float) -> bool:
        """Stores the result, and how long the lease was held; the first result wins, whoever brings it.

        False: it came too late.
        """
        refs = list(result.files.values())
        inline = await self._put_large(refs, data)
        samples = samples_key(self.prefix, result.model, result.version)
        with translated():
            stored = await self._run(
                "finish", now, job_id, result.model_dump_json(), self.settings.result_ttl_seconds, samples,
                SAMPLES_KEPT, *(ref.handle for ref in refs), blobs=inline,
            )  # fmt: skip
        return bool(stored)

    async def fail(self, job_id: str, token: str, problem: Problem, now: float) -> bool:
        """Ends the job by its own fault; ``token`` '' fails one that is still queued."""
        with translated():
            return bool(
                await self._run(
                    "fail", now, job_id, token, json.dumps(problem.document()), self.settings.result_ttl_seconds
                )
            )

    async def subqueues(self, model: str) -> set[str]:
        """Versions that jobs of the model wait for."""
        with translated():
            return {version.decode() for version in await self._raw.smembers(f"{self.prefix}subqueues:{model}")}

    async def unassign(
        self, model: str, version: str, problem: Problem | None, now: float, *, limit: int = 1000
    ) -> int:
        """A version takes no jobs: they are unassigned again; those pinned to it fail with ``problem``.

        Args:
            model: whose jobs.
            version: that they wait for.
            problem: None: those that are pinned wait on.
            now: Unix seconds.
            limit: looks at so many; returns how many of them moved or failed.
        """
        document = json.dumps(problem.document()) if problem else ""
        with translated():
            return int(
                await self._run("unassign", now, model, version, limit, document, self.settings.result_ttl_seconds)
            )

    async def sweep(self, now: float, *, limit: int = 1000) -> SweepResult:
        """Gives back leases that ran out, expires jobs that waited too long, deletes blobs that are due.

        Any process may do it.
        """
        keep = (self.settings.dead_ttl_seconds, self.settings.result_ttl_seconds)
        with translated():
            requeued, dead, expired, due, garbage = await self._run(
                "sweep", now, limit, json.dumps(LEASE_EXPIRED.document()), *keep
            )
            await self.blobs.collect([key.decode() for key in garbage])
        return SweepResult(int(requeued), int(dead), int(expired), float(due) if due else None)

    async def emit_event(
        self, job_id: str, token: str, kind: Literal["progress", "preview"], data: Mapping[str, Any], now: float
    ) -> bool:
        """An event on the way, for whoever follows the job; False, and none, if the lease is lost."""
        with translated():
            return bool(await self._run("emit_event", now, job_id, token, kind, json.dumps(data)))

    def wakeup_channel(self, on_canceled: Callable[[str], None] = lambda _: None) -> WakeupChannel:
        """Rings when a job may be ready, or a running one was canceled; start it, and close it before the store."""
        return WakeupChannel(self.redis, self.prefix, on_canceled)

    # the owner's side -----------------------------------------------------------------------------------------

    async def view(
        self, job_id: str, now: float, capacity: CapacityLookup = unknown_capacity, *, owner: Owner | None = None
    ) -> JobView:
        """The job as its owner sees it; ``capacity`` says what its ETA rests on.

        ``owner`` is who asks; None: one of Matte's own parts, which no job is hidden from.

        Raises:
            Problem: job_not_found, also for a job that is somebody else's.
        """
        with translated():
            found = await self._run("view", now, job_id, _asker(owner), LOOKED_AT)
        if not found:
            raise _no_job(job_id)
        return job_view(job_id, found, now, capacity)

    async def has_memory_for_jobs(self) -> bool:
        """Whether new jobs may come in; the rest of the memory is for the results of those that did."""
        with translated():
            memory = await self._raw.info("memory")
        most = int(memory["maxmemory"])
        return not most or int(memory["used_memory"]) < most * ADMIT_BELOW

    async def cancel(self, job_id: str, now: float, *, owner: Owner | None = None) -> bool:
        """Ends a job; False: it had ended. ``owner`` as for :meth:`view`.

        Raises:
            Problem: job_not_found.
        """
        with translated():
            done = int(await self._run("cancel", now, job_id, _asker(owner), self.settings.result_ttl_seconds))
        if done < 0:
            raise _no_job(job_id)
        return bool(done)

    async def remove(self, job_id: str, now: float, *, owner: Owner | None = None) -> None:
        """Forgets a job that has ended, with its pictures and its idempotency key; another is left alone."""
        with translated():
            objects = await self._run("remove", now, job_id, _asker(owner))
            with suppress(Problem):  # a sweep deletes what is left
                await self.blobs.collect([key.decode() for key in objects])

    async def events(self, job_id: str, after: str = "0") -> list[Event]:
        """Everything that happened after the event with this id."""
        with translated():
            found = await self._raw.xrange(f"{self.prefix}ev:{job_id}", min=f"({after}" if after != "0" else "-")
        return [
            Event(id=sid.decode(), type=f[b"t"].decode(), at=float(f[b"a"]), data=json.loads(f[b"d"]))
            for sid, f in found
        ]

    async def result_bytes(self, ref: BlobRef, *, delivered_at: float | None = None) -> bytes:
        """A result's bytes.

        Args:
            ref: from the job's result.
            delivered_at: set where this answers the caller who waited for it: it need not be kept for long then.

        Raises:
            Problem: result_expired.
        """
        with translated():
            if delivered_at is None:
                data = await self.blobs.get(ref)
            else:
                data = await self.blobs.take(ref, delivered_at, keep_seconds=self.settings.delivered_ttl_seconds)
        if data is None:
            raise Problem("result_expired", "Results are kept for a while only; send the picture again.")
        return data

    # dead letters ---------------------------------------------------------------------------------------------

    async def dead_job_ids(self, *, limit: int = 100) -> list[str]:
        """Ids on the dead-letter list, the newest first."""
        with translated():
            found = await self._raw.zrange(f"{self.prefix}dead", 0, limit - 1, desc=True)
        return [id_.decode() for id_ in found]

    async def requeue_dead(self, job_id: str, *, now: float, expires_at: float) -> None:
        """Requeues a dead job, with all its attempts again.

        Raises:
            Problem: job_not_found, job_not_dead.
        """
        with translated():
            done = int(await self._run("requeue_dead", now, job_id, expires_at))
        if done < 0:
            raise _no_job(job_id)
        if done == 0:
            raise Problem("job_not_dead", f"Job {job_id} is not on the dead-letter list.")


def _idempotency(spec: JobSpec) -> str:
    return spec.owner.digest(spec.idempotency_key) if spec.idempotency_key else ""


def _asker(owner: Owner | None) -> str:
    return "*" if owner is None else owner.scope


def _no_job(job_id: str) -> Problem:
    return Problem("job_not_found", f"There is no job {job_id}; finished jobs are kept for a while only.")
