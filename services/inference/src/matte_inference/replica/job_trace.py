"""One job's way through the stages of a replica: timings, metrics and spans; and the progress that its caller sees."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from matte_core.contracts.catalog import VersionConfig
from matte_core.contracts.job import JobSpec, Timings
from matte_core.domain.eta import Cost, fit
from matte_core.errors import Problem
from matte_jobs.store import JobStore
from matte_telemetry import attributes, tracing
from matte_telemetry.metrics import Instruments
from opentelemetry.trace import SpanKind

from matte_inference import metrics
from matte_inference.metrics import Outcome, Stage
from matte_inference.replica.forwarder import Forwarded

log = logging.getLogger("matte.replica")

STAGES = (Stage.FETCH, Stage.DECODE, Stage.FORWARD, Stage.ENCODE, Stage.STORE)

#: seconds between two progress events of a job, and before its first one
PROGRESS_SECONDS = 0.25
#: largest share of a stage that takes longer than expected, and of a job that has not ended
_MAX_STAGE_SHARE, _MAX_JOB_SHARE = 0.95, 0.99
#: recent jobs that the costs of the stages are fitted to
_RECENT_JOBS = 48
#: costs of the stages, in their order, until jobs have been measured
_TYPICAL = (Cost(0.01, 0.002), Cost(0.01, 0.03), Cost(0.5, 0.0), Cost(0.02, 0.06), Cost(0.01, 0.002))


class JobTrace:
    """Begins when it is created. ``clock`` gives Unix seconds; ``marks`` are when the job began, and when each finished
    stage ended.
    """

    def __init__(
        self, spec: JobSpec, config: VersionConfig, instruments: Instruments, clock: Callable[[], float]
    ) -> None:
        self._spec, self._labels, self._clock = spec, (config.model, config.version), clock
        self._meter, self._tracer = instruments.meter, instruments.tracer
        self.marks = [clock()]
        self._forwarded: Forwarded | None = None
        self.cpu_seconds = 0.0
        self._span = tracing.start_span(
            self._tracer, f"segment {config.model}", at=self.marks[0], parent=spec.traceparent, kind=SpanKind.SERVER
        )

    @property
    def traceparent(self) -> str | None:
        """The job's span, if it is recorded."""
        return tracing.traceparent(self._span) if self._span.is_recording() else None

    @property
    def log_context(self) -> str:
        return tracing.traceparent(self._span) or ""

    def end_stage(self, forwarded: Forwarded | None = None) -> None:
        """Marks the end of the current stage; ``forwarded`` is the outcome of the forward."""
        self.marks.append(self._clock())
        if forwarded is not None:
            self._forwarded = forwarded
            self.cpu_seconds += forwarded.cpu_seconds

    @property
    def seconds(self) -> float:
        """Seconds in this version so far, without storing the result."""
        end = self.marks[len(STAGES) - 1] if len(self.marks) >= len(STAGES) else self._clock()
        return end - self.marks[0]

    @property
    def _queued(self) -> float:
        return max(0.0, self.marks[0] - self._spec.created_at)

    def timings(self) -> Timings:
        """Seconds of every stage, to be called once the picture is encoded."""
        fetch, decode, forward, encode = (round(after - before, 6) for before, after in pairwise(self.marks))
        return Timings(
            queued=round(self._queued, 6), fetch=fetch, decode=decode, forward=forward, encode=encode,
            total=round(self.marks[-1] - self.marks[0], 6), cpu=round(self.cpu_seconds, 6),
        )  # fmt: skip

    def finish(self, outcome: Outcome | None, error: str = "") -> None:
        """Records metrics and spans. ``outcome`` is None if the router decides it; ``error`` is the kind of failure."""
        end = self._clock()
        if outcome is not None:
            self._meter.add(metrics.JOBS, *self._labels, outcome)
        self._meter.observe(metrics.STAGE_SECONDS, self._queued, *self._labels, Stage.QUEUED)
        for stage, (begun, ended) in zip(STAGES, pairwise(self.marks), strict=False):
            self._meter.observe(metrics.STAGE_SECONDS, ended - begun, *self._labels, stage)
        if outcome is Outcome.SUCCEEDED:
            self._meter.observe(metrics.JOB_SECONDS, end - self._spec.created_at, *self._labels)
            per_megapixel = (self.marks[-2] - self.marks[0]) / max(0.01, self._spec.picture.megapixels)
            self._meter.observe(metrics.SECONDS_PER_MEGAPIXEL, per_megapixel, *self._labels)
        if self._span.is_recording():
            self._record_stages(outcome, error, end)
        tracing.end_span(self._span, end, error=error)

    def _record_stages(self, outcome: Outcome | None, error: str, end: float) -> None:
        model, version = self._labels
        self._span.set_attributes(
            {
                attributes.JOB_ID: self._spec.id, attributes.MODEL: model, attributes.VERSION: version,
                attributes.MEGAPIXELS: self._spec.picture.megapixels, attributes.JOB_OUTCOME: outcome or "given back",
            }
        )  # fmt: skip
        ends = [*self.marks, end] if error else self.marks  # the stage that failed has no mark of its end
        for stage, (begun, ended) in zip(STAGES, pairwise(ends), strict=False):
            forward = stage is Stage.FORWARD
            forwarded = self._forwarded
            child = tracing.start_span(
                self._tracer, stage, at=begun, parent=tracing.traceparent(self._span),
                attributes={attributes.BATCH_SIZE: forwarded.batch_size if forwarded else 0} if forward else None,
                links=forwarded.linked if forward and forwarded else (),
            )  # fmt: skip
            tracing.end_span(child, ended, error=error if ended == end else "")


class StageCosts:
    """The expected seconds of each stage, fitted to the replica's recent jobs."""

    def __init__(self) -> None:
        self._recent: deque[tuple[float, tuple[float, ...]]] = deque(maxlen=_RECENT_JOBS)
        self._costs: Sequence[Cost] | None = _TYPICAL

    def add(self, megapixels: float, marks: Sequence[float]) -> None:
        """Takes in a job that went through all stages; ``marks`` as of :class:`JobTrace`."""
        self._recent.append((megapixels, tuple(ended - begun for begun, ended in pairwise(marks))))
        self._costs = None

    def expected(self, megapixels: float) -> tuple[float, ...]:
        if self._costs is None:
            stages = range(len(STAGES))
            fitted = [fit((size, seconds[stage]) for size, seconds in self._recent) for stage in stages]
            self._costs = [cost or typical for cost, typical in zip(fitted, _TYPICAL, strict=True)]
        return tuple(cost.seconds(megapixels) for cost in self._costs)


def progress(expected: Sequence[float], marks: Sequence[float], now: float) -> tuple[Stage, float]:
    """The stage that a job is in, and the share of the job that is done: it never falls, and stays below 1.

    ``expected`` are seconds of each stage, ``marks`` as of :class:`JobTrace`.
    """
    done = min(len(marks) - 1, len(STAGES) - 1)
    within = min(now - marks[-1], _MAX_STAGE_SHARE * expected[done])
    return STAGES[done], min(_MAX_JOB_SHARE, (sum(expected[:done]) + within) / sum(expected))


@dataclass(slots=True)
class _TrackedJob:
    token: str
    trace: JobTrace
    megapixels: float
    due: float
    expected: tuple[float, ...] | None = None
    fraction: float = 0.0


class ProgressReporter:
    """Writes ``progress`` events. All jobs of a replica share one timer, which runs only while a job does."""

    def __init__(self, store: JobStore, clock: Callable[[], float]) -> None:
        self._store, self._clock = store, clock
        self._costs = StageCosts()
        self._running: dict[str, _TrackedJob] = {}
        self._timer: asyncio.Task[None] | None = None

    @contextlib.contextmanager
    def track(self, spec: JobSpec, token: str, trace: JobTrace) -> Iterator[None]:
        """Reports while a job runs. A caller who waits for the result (``spec.origin``) reads no events: none are
        written.
        """
        if not spec.origin:
            job = _TrackedJob(token, trace, spec.picture.megapixels, self._clock() + PROGRESS_SECONDS)
            self._running[spec.id] = job
            if self._timer is None or self._timer.done():
                self._timer = asyncio.create_task(self._report_all(), name="progress")
        try:
            yield
        finally:
            self._running.pop(spec.id, None)
        if len(trace.marks) > len(STAGES):
            self._costs.add(spec.picture.megapixels, trace.marks)

    async def _report_all(self) -> None:
        while self._running:
            for job_id, job in list(self._running.items()):
                if job.due <= self._clock() and job_id in self._running:
                    await self._report(job_id, job)
            next_due = min((job.due for job in self._running.values()), default=0.0)
            await asyncio.sleep(max(0.01, next_due - self._clock()))

    async def _report(self, job_id: str, job: _TrackedJob) -> None:
        now = self._clock()
        job.due = now + PROGRESS_SECONDS
        job.expected = job.expected or self._costs.expected(job.megapixels)
        stage, share = progress(job.expected, job.trace.marks, now)
        fraction = round(share, 3)
        if fraction <= job.fraction:
            return
        job.fraction = fraction
        try:
            await self._store.emit_event(job_id, job.token, "progress", {"stage": stage, "fraction": fraction}, now)
        except Problem as problem:
            log.debug("job %s: its progress was not written: %s", job_id, problem)

    async def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            await asyncio.wait([self._timer])
