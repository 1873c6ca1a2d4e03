"""One job from a router to a version: its span, and what becomes of it where the version is lost."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import logging
from collections.abc import Awaitable, Callable
from typing import Protocol

from matte_core.contracts.evidence import AnswerSample
from matte_core.contracts.job import JobSpec
from matte_core.errors import Fault, Problem
from matte_jobs.evidence import EvidenceStore
from matte_jobs.store import JobStore, Lease
from matte_telemetry import attributes, logs, names, tracing
from matte_telemetry.instruments import Instruments
from matte_telemetry.names import RELEASED, Mirrored, Outcome
from opentelemetry.trace import Span, SpanKind

from matte_inference.replica.handling import Handling

log = logging.getLogger("matte.router")


class Runner(Protocol):
    """Runs a leased job on a model version; returns when its outcome is stored, raises when it is not."""

    def __call__(self, model: str, version: str, lease: Lease, handling: Handling, /) -> Awaitable[None]:
        """The job on that version."""
        ...


class Mirror(Protocol):
    """Has a version compute a job that ``stable`` answers; what comes of it is for nobody but the evidence."""

    def __call__(self, model: str, version: str, spec: JobSpec, stable: str, /) -> Awaitable[None]:
        """The job on that version, too."""
        ...


@dataclasses.dataclass(slots=True, eq=False)
class Held:
    """A job that was handed over. ``stranded``: its version has no replica left."""

    lease: Lease
    model: str
    version: str
    handling: Handling
    begun: float
    task: asyncio.Task[None] | None = None
    stranded: bool = False


@dataclasses.dataclass(frozen=True, slots=True)
class Versions:
    """The way to the versions."""

    run: Runner
    mirror: Mirror


class HandOver:
    """Gives jobs to versions; see :class:`~matte_inference.router.service.RouterService` for the arguments."""

    def __init__(
        self,
        store: JobStore,
        versions: Versions,
        *,
        pool: str,
        clock: Callable[[], float],
        instruments: Instruments,
    ) -> None:
        self._store = store
        self._evidence = EvidenceStore(store)
        self._versions = versions
        self._pool = pool
        self._clock = clock
        self._meter = instruments.meter
        self._tracer = instruments.tracer

    async def job(self, held: Held) -> None:
        """Hands a job over; when this returns its outcome is stored, or it is in the queue again.

        Raises:
            Problem: neither could be written; the lease runs out by itself.
        """
        lease, span = held.lease, self._span(held.model, held.version, held.lease)
        traceparent = tracing.traceparent(span)
        logs.traceparent.set(traceparent or "")
        if span.is_recording():
            lease = dataclasses.replace(lease, spec=lease.spec.model_copy(update={"traceparent": traceparent}))
        started = None if lease.version else asyncio.create_task(self._start(lease, held.version))
        error = ""
        try:
            error = await self._tried(held, lease)
        finally:
            tracing.end_span(span, self._clock(), error=error)
            if started is not None:
                await asyncio.wait([started])

    async def _tried(self, held: Held, lease: Lease) -> str:
        """Runs the job; whatever ends the replica, the job goes on. Returns what ended it, or ''."""
        try:
            await self._versions.run(held.model, held.version, lease, held.handling)
        except asyncio.CancelledError as error:
            if not held.stranded or (task := asyncio.current_task()) is None:
                raise
            task.uncancel()
            return await self._lost(held, error)
        except Exception as error:  # whatever it was
            return await self._lost(held, error)
        return ""

    async def _lost(self, held: Held, error: BaseException) -> str:
        """The job goes to the version that takes what this one fails, or is tried again."""
        model, version, job_id, token = held.model, held.version, held.lease.id, held.lease.token
        log.warning("job %s on %s@%s was lost: %s", job_id, model, version, error or type(error).__name__)
        problem = Problem("attempts_exhausted", f"Version {version} of {model} was lost while it ran the job.")
        blamed = not (isinstance(error, Problem) and error.fault is Fault.STORE)
        if blamed and held.handling.watched:
            with contextlib.suppress(Problem):
                answer = AnswerSample(at=self._clock(), error=True, seconds=self._clock() - held.begun)
                await self._evidence.record_answer(model, version, answer)
        to = held.handling.fallback if blamed else ""
        if to and await self._store.fall_back(job_id, token, to, problem, self._clock()):
            log.warning("job %s falls back from %s@%s to %s", job_id, model, version, to)
            self._meter.add(names.JOBS, model, version, Outcome.FELL_BACK)
        else:
            released = await self._store.release(job_id, token, problem, self._clock())
            self._meter.add(names.JOBS, model, version, RELEASED[released])
        return type(error).__name__

    def _span(self, model: str, version: str, lease: Lease) -> Span:
        """From the lease to the outcome."""
        now, spec = self._clock(), lease.spec
        span = tracing.start_span(
            self._tracer, f"route {model}", at=now, parent=spec.traceparent, kind=SpanKind.CONSUMER
        )
        if span.is_recording():
            span.set_attributes(
                {
                    attributes.MESSAGING_SYSTEM: "redis", attributes.MESSAGING_OPERATION: "process",
                    attributes.MESSAGING_DESTINATION: model, attributes.MESSAGING_ID: spec.id,
                    attributes.JOB_ID: spec.id, attributes.MODEL: model, attributes.VERSION: version,
                    attributes.POOL: self._pool, attributes.JOB_ATTEMPT: lease.attempt,
                    attributes.QUEUE_SECONDS: max(0.0, now - spec.created_at),
                }
            )  # fmt: skip
            span.add_event("admitted", timestamp=tracing.nanoseconds(spec.created_at))
        return span

    async def _start(self, lease: Lease, version: str) -> None:
        """Beside the run: nobody waits for it."""
        try:
            await self._store.start(lease.id, lease.token, version, self._clock())
        except Problem as problem:
            log.warning("job %s: its start was not written: %s", lease.id, problem)

    async def mirrored(self, model: str, version: str, spec: JobSpec, stable: str) -> None:
        """Has a version compute the job too; raises nothing."""
        try:
            await self._versions.mirror(model, version, spec, stable)
        except Exception as error:  # nobody waits for it
            log.warning("mirrored job %s on %s@%s failed: %s", spec.id, model, version, error)
            self._meter.add(names.MIRRORED, model, version, Mirrored.FAILED)
