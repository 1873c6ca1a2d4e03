"""Sends one job to a model version, and decides what becomes of it if the version fails."""

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
from matte_telemetry import attributes, logs, tracing
from matte_telemetry.metrics import Instruments
from opentelemetry.trace import Span, SpanKind

from matte_inference import metrics
from matte_inference.metrics import RELEASE_OUTCOMES, MirrorOutcome, Outcome
from matte_inference.router.route_plan import DispatchOptions

log = logging.getLogger("matte.router")


class Versions(Protocol):
    def run(self, model: str, version: str, lease: Lease, options: DispatchOptions, /) -> Awaitable[None]:
        """Runs a leased job; returns when its outcome is stored, raises if it is not."""

    def mirror(self, model: str, version: str, spec: JobSpec, stable: str, /) -> Awaitable[None]:
        """Has ``version`` compute a job that ``stable`` answers, for the evidence only."""


@dataclasses.dataclass(slots=True, eq=False)
class InFlightJob:
    """A leased job that was sent to a version. ``orphaned``: the version has no live replica left."""

    lease: Lease
    model: str
    version: str
    options: DispatchOptions
    dispatched_at: float
    task: asyncio.Task[None] | None = None
    orphaned: bool = False


@dataclasses.dataclass(slots=True, eq=False)
class Dispatcher:
    """Sends jobs to versions. ``clock`` gives Unix seconds."""

    store: JobStore
    versions: Versions
    pool: str
    clock: Callable[[], float]
    instruments: Instruments

    async def run(self, job: InFlightJob) -> None:
        """Returns when the job's outcome is stored or the job is back in the queue. Raises Problem if neither could be
        written; the lease will expire.
        """
        lease, span = job.lease, self._start_span(job)
        traceparent = tracing.traceparent(span)
        logs.traceparent.set(traceparent or "")
        if span.is_recording():
            lease = dataclasses.replace(lease, spec=lease.spec.model_copy(update={"traceparent": traceparent}))
        # written while the job runs already, so that no picture waits for it
        started = None if lease.version else asyncio.create_task(self._mark_started(lease, job.version))
        error = ""
        try:
            await self.versions.run(job.model, job.version, lease, job.options)
        except asyncio.CancelledError as canceled:
            if not job.orphaned or (task := asyncio.current_task()) is None:
                raise
            task.uncancel()
            error = type(canceled).__name__
            await self._handle_failure(job, canceled)
        except Exception as failure:  # whatever ends the replica, the job goes on
            error = type(failure).__name__
            await self._handle_failure(job, failure)
        finally:
            tracing.end_span(span, self.clock(), error=error)
            if started is not None:
                await asyncio.wait([started])

    async def mirror(self, model: str, version: str, spec: JobSpec, stable: str) -> None:
        try:
            await self.versions.mirror(model, version, spec, stable)
        except Exception as error:  # no caller waits for it
            log.warning("job %s: its mirror on %s@%s failed: %s", spec.id, model, version, error)
            self.instruments.meter.add(metrics.MIRRORED, model, version, MirrorOutcome.FAILED)

    async def _handle_failure(self, job: InFlightJob, error: BaseException) -> None:
        """Sends the job to the fallback version if this version is at fault, else back to the queue."""
        model, version, job_id, token = job.model, job.version, job.lease.id, job.lease.token
        log.warning("job %s: lost on %s@%s: %s", job_id, model, version, error or type(error).__name__)
        problem = Problem("attempts_exhausted", f"Version {version} of {model} was lost while it ran the job.")
        at_fault = not (isinstance(error, Problem) and error.fault is Fault.STORE)
        if at_fault and job.options.sampled:
            with contextlib.suppress(Problem):
                answer = AnswerSample(at=self.clock(), error=True, seconds=self.clock() - job.dispatched_at)
                await EvidenceStore(self.store).record_answer(model, version, answer)
        fallback = job.options.fallback if at_fault else ""
        if fallback and await self.store.fall_back(job_id, token, fallback, problem, self.clock()):
            log.warning("job %s: falls back from %s@%s to %s", job_id, model, version, fallback)
            self.instruments.meter.add(metrics.JOBS, model, version, Outcome.FELL_BACK)
        else:
            released = await self.store.release(job_id, token, problem, self.clock())
            self.instruments.meter.add(metrics.JOBS, model, version, RELEASE_OUTCOMES[released])

    def _start_span(self, job: InFlightJob) -> Span:
        now, spec, tracer = self.clock(), job.lease.spec, self.instruments.tracer
        span = tracing.start_span(tracer, f"route {job.model}", at=now, parent=spec.traceparent, kind=SpanKind.CONSUMER)
        if span.is_recording():
            span.set_attributes(
                {
                    attributes.MESSAGING_SYSTEM: "redis", attributes.MESSAGING_OPERATION: "process",
                    attributes.MESSAGING_DESTINATION: job.model, attributes.MESSAGING_ID: spec.id,
                    attributes.JOB_ID: spec.id, attributes.MODEL: job.model, attributes.VERSION: job.version,
                    attributes.POOL: self.pool, attributes.JOB_ATTEMPT: job.lease.attempt,
                    attributes.QUEUE_SECONDS: max(0.0, now - spec.created_at),
                }
            )  # fmt: skip
            span.add_event("admitted", timestamp=tracing.nanoseconds(spec.created_at))
        return span

    async def _mark_started(self, lease: Lease, version: str) -> None:
        try:
            await self.store.start(lease.id, lease.token, version, self.clock())
        except Problem as problem:
            log.warning("job %s: its start was not written: %s", lease.id, problem)
