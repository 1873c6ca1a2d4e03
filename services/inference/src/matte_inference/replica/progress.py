"""How far jobs are, for those who follow them: by the stages that are done, and by time within one."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from matte_core.contracts.job import JobSpec
from matte_core.domain.eta import Cost, fit
from matte_core.errors import Problem
from matte_jobs.store import JobStore
from matte_telemetry.names import Stage

from matte_inference.replica.course import STAGES, Course

log = logging.getLogger("matte.replica")

#: a job tells no more often, and nothing before it has run so long (seconds)
TELL_SECONDS = 0.25
#: of a stage that takes longer than expected, and of a job that has not ended
_STAGE_MOST, _JOB_MOST = 0.95, 0.99
#: recent jobs whose stages are remembered
_REMEMBERED = 48
#: of the stages, in their order, until jobs have been measured here
_TYPICAL = (Cost(0.01, 0.002), Cost(0.01, 0.03), Cost(0.5, 0.0), Cost(0.02, 0.06), Cost(0.01, 0.002))


class StageCosts:
    """What each stage takes, fitted to the replica's recent jobs."""

    def __init__(self) -> None:
        self._recent: deque[tuple[float, tuple[float, ...]]] = deque(maxlen=_REMEMBERED)
        self._costs: Sequence[Cost] | None = _TYPICAL

    def add(self, megapixels: float, marks: Sequence[float]) -> None:
        """A job that went through all stages: when it began, and when each of them ended."""
        self._recent.append((megapixels, tuple(ended - begun for begun, ended in pairwise(marks))))
        self._costs = None

    def expected(self, megapixels: float) -> tuple[float, ...]:
        """Seconds of each stage, for a picture of that size."""
        if self._costs is None:
            stages = range(len(STAGES))
            fitted = [fit((size, seconds[stage]) for size, seconds in self._recent) for stage in stages]
            self._costs = [cost or typical for cost, typical in zip(fitted, _TYPICAL, strict=True)]
        return tuple(cost.seconds(megapixels) for cost in self._costs)


def progress(expected: Sequence[float], marks: Sequence[float], now: float) -> tuple[Stage, float]:
    """The stage that a job is in, and the share of the whole that is done: it never falls, and stays below 1.

    Args:
        expected: seconds of each stage.
        marks: when the job began, and when each stage that is done ended.
        now: not before the last of them.
    """
    done = min(len(marks) - 1, len(STAGES) - 1)
    within = min(now - marks[-1], _STAGE_MOST * expected[done])
    return STAGES[done], min(_JOB_MOST, (sum(expected[:done]) + within) / sum(expected))


@dataclass(slots=True)
class _Followed:
    """A job that runs. ``expected`` is set when it first tells; ``told`` is what it told last."""

    token: str
    course: Course
    megapixels: float
    due: float
    expected: tuple[float, ...] | None = None
    told: float = 0.0


class ProgressTeller:
    """Writes ``progress`` events. All jobs of a replica share one timer, which stands still while none runs.

    Args:
        store: takes the events.
        clock: Unix seconds.
    """

    def __init__(self, store: JobStore, clock: Callable[[], float]) -> None:
        self._store = store
        self._clock = clock
        self._costs = StageCosts()
        self._running: dict[str, _Followed] = {}
        self._timer: asyncio.Task[None] | None = None

    @contextlib.contextmanager
    def telling(self, spec: JobSpec, token: str, course: Course) -> Iterator[None]:
        """While a job runs. A caller who waits for the end (``spec.origin``) reads no events: nothing is written."""
        if not spec.origin:
            job = _Followed(token, course, spec.picture.megapixels, self._clock() + TELL_SECONDS)
            self._running[spec.id] = job
            if self._timer is None or self._timer.done():
                self._timer = asyncio.create_task(self._tell_all(), name="progress")
        try:
            yield
        finally:
            self._running.pop(spec.id, None)
        if len(course.marks) > len(STAGES):
            self._costs.add(spec.picture.megapixels, course.marks)

    async def _tell_all(self) -> None:
        while self._running:
            for job_id, job in list(self._running.items()):
                if job.due <= self._clock() and job_id in self._running:
                    await self._tell(job_id, job)
            next_due = min((job.due for job in self._running.values()), default=0.0)
            await asyncio.sleep(max(0.01, next_due - self._clock()))

    async def _tell(self, job_id: str, job: _Followed) -> None:
        now = self._clock()
        job.due = now + TELL_SECONDS
        job.expected = job.expected or self._costs.expected(job.megapixels)
        stage, share = progress(job.expected, job.course.marks, now)
        fraction = round(share, 3)
        if fraction <= job.told:
            return
        job.told = fraction
        try:
            await self._store.emit_event(job_id, job.token, "progress", {"stage": stage, "fraction": fraction}, now)
        except Problem as problem:
            log.debug("job %s: its progress is not told: %s", job_id, problem)

    async def close(self) -> None:
        """Ends the timer."""
        if self._timer is not None:
            self._timer.cancel()
            await asyncio.wait([self._timer])
