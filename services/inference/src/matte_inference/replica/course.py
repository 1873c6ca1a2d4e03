"""One job's course through a replica: when each stage ended, and what that says as timings, metrics and spans."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, TypeVar

from matte_core.contracts.catalog import VersionConfig
from matte_core.contracts.job import JobSpec, Timings
from matte_telemetry import attributes, names, tracing
from matte_telemetry.instruments import Meter
from matte_telemetry.names import Outcome, Stage
from opentelemetry.trace import SpanKind, Tracer

T = TypeVar("T")
STAGES = (Stage.FETCH, Stage.DECODE, Stage.FORWARD, Stage.ENCODE, Stage.STORE)


@dataclass(frozen=True, slots=True)
class Item:
    """One picture of a batch; ``traceparent`` is its job's span, None where nobody records it."""

    prepared: Any
    traceparent: str | None


@dataclass(frozen=True, slots=True)
class Forwarded:
    """What became of it, and with how many others, whose spans are linked, it went; ``cpu``: its seconds of CPU."""

    outcome: Any
    batch_size: int = 1
    linked: tuple[str, ...] = ()
    cpu: float = 0.0


def on_thread(work: Callable[..., T], *args: Any) -> tuple[T, float]:
    """What ``work`` returns, and the seconds of CPU that this thread spent on it."""
    begun = time.thread_time()
    done = work(*args)
    return done, time.thread_time() - begun


def forwarded(batch: list[Item], outcomes: list[Any], cpu: float = 0.0) -> list[Forwarded]:
    """The outcomes of a batch, in order; ``cpu`` is that of all of them."""
    contexts, share = [item.traceparent for item in batch], cpu / max(1, len(batch))
    return [
        Forwarded(outcome, len(batch), tuple(c for c in contexts if c is not None and c != item.traceparent), share)
        for item, outcome in zip(batch, outcomes, strict=True)
    ]


class Course:
    """Begins when it is made. ``clock`` gives Unix seconds."""

    def __init__(self, spec: JobSpec, config: VersionConfig, tracer: Tracer, clock: Callable[[], float]) -> None:
        self._spec = spec
        self._labels = (config.model, config.version)
        self._tracer = tracer
        self._clock = clock
        self._marks = [clock()]
        self._forwarded = Forwarded(None, 0)
        self._cpu = 0.0
        self._span = tracing.start_span(
            tracer, f"segment {config.model}", at=self._marks[0], parent=spec.traceparent, kind=SpanKind.SERVER
        )

    @property
    def traceparent(self) -> str | None:
        """The job's span here, where it is recorded."""
        return tracing.traceparent(self._span) if self._span.is_recording() else None

    @property
    def context(self) -> str:
        """For the log."""
        return tracing.traceparent(self._span) or ""

    def next(self, batch: Forwarded | None = None) -> None:
        """A stage has ended; ``batch`` says with whom, for the forward."""
        self._marks.append(self._clock())
        self._forwarded = batch or self._forwarded
        self._cpu += batch.cpu if batch else 0.0

    def worked(self, cpu: float) -> None:
        """Seconds of CPU that a thread spent on a stage."""
        self._cpu += cpu

    @property
    def marks(self) -> Sequence[float]:
        """When it began, and when each stage that is done ended."""
        return self._marks

    @property
    def seconds(self) -> float:
        """So far, in this version's hands; without the time that the result took to be stored."""
        ended = self._marks[len(STAGES) - 1] if len(self._marks) >= len(STAGES) else self._clock()
        return ended - self._marks[0]

    def timings(self) -> Timings:
        """Seconds of every stage; call it once the picture is encoded."""
        fetch, decode, forward, encode = (round(after - before, 6) for before, after in pairwise(self._marks))
        return Timings(
            queued=round(self._queued, 6), fetch=fetch, decode=decode, forward=forward, encode=encode,
            total=round(self._marks[-1] - self._marks[0], 6), cpu=round(self._cpu, 6),
        )  # fmt: skip

    @property
    def _queued(self) -> float:
        return max(0.0, self._marks[0] - self._spec.created_at)

    def over(self, meter: Meter, outcome: Outcome | None, error: str = "") -> None:
        """It ended: counts it and tells its spans.

        Args:
            meter: what counts.
            outcome: None: the router finds out, and counts it.
            error: the kind of failure; '' for none.
        """
        end = self._clock()
        if outcome is not None:
            meter.add(names.JOBS, *self._labels, outcome)
        meter.observe(names.STAGE_SECONDS, self._queued, *self._labels, Stage.QUEUED)
        for stage, (begun, ended) in zip(STAGES, pairwise(self._marks), strict=False):
            meter.observe(names.STAGE_SECONDS, ended - begun, *self._labels, stage)
        if outcome is Outcome.SUCCEEDED:
            meter.observe(names.JOB_SECONDS, end - self._spec.created_at, *self._labels)
            run = self._marks[-2] - self._marks[0]
            meter.observe(names.SECONDS_PER_MEGAPIXEL, run / max(0.01, self._spec.picture.megapixels), *self._labels)
        if self._span.is_recording():
            self._tell(outcome, error, end)
        tracing.end_span(self._span, end, error=error)

    def _tell(self, outcome: Outcome | None, error: str, end: float) -> None:
        model, version = self._labels
        self._span.set_attributes(
            {
                attributes.JOB_ID: self._spec.id, attributes.MODEL: model, attributes.VERSION: version,
                attributes.MEGAPIXELS: self._spec.picture.megapixels, attributes.JOB_OUTCOME: outcome or "given back",
            }
        )  # fmt: skip
        ends = [*self._marks, end] if error else self._marks  # the stage that failed has no mark of its end
        for stage, (begun, ended) in zip(STAGES, pairwise(ends), strict=False):
            forward = stage is Stage.FORWARD
            child = tracing.start_span(
                self._tracer, stage, at=begun, parent=tracing.traceparent(self._span),
                attributes={attributes.BATCH_SIZE: self._forwarded.batch_size} if forward else None,
                links=self._forwarded.linked if forward else (),
            )  # fmt: skip
            tracing.end_span(child, ended, error=error if ended == end else "")
