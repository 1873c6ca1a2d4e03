"""One job through a replica, apart from Ray."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from matte_core.contracts.catalog import VersionConfig
from matte_core.contracts.job import BlobRef, JobSpec, Result
from matte_core.contracts.limits import Limits
from matte_core.errors import Fault, Problem
from matte_jobs.evidence import EvidenceStore
from matte_jobs.store import JobStore
from matte_telemetry import logs, names
from matte_telemetry.instruments import Instruments
from matte_telemetry.names import RELEASED, Mirrored, Outcome

from matte_inference.families.base import Alpha, Segmenter
from matte_inference.pixels.types import Bytes
from matte_inference.replica.course import Course, Forwarded, Item, on_thread
from matte_inference.replica.handling import Handling
from matte_inference.replica.progress import ProgressTeller
from matte_inference.replica.reporter import Reporter
from matte_inference.replica.stages import Opened, Rendered, open_picture, render_whole, render_with_mask, small

log = logging.getLogger("matte.replica")

T = TypeVar("T")

#: seconds between tries to store a result: two minutes in all
STORE_WAITS = (0.5, 1, 2, 4, 8, 15, 30, 30, 30)


class ReplicaService:
    """Runs jobs on a loaded segmenter.

    Args:
        store: the job store.
        config: the version that is served.
        segmenter: loaded and warm.
        forward: one prepared picture to its alpha, batched with its neighbors.
        clock: Unix seconds.
        limits: bounds on pictures.
        instruments: count outcomes, time stages, and make spans of each job and its stages.
    """

    def __init__(
        self,
        store: JobStore,
        config: VersionConfig,
        segmenter: Segmenter,
        forward: Callable[[Item], Awaitable[Forwarded]],
        *,
        clock: Callable[[], float],
        limits: Limits,
        instruments: Instruments,
    ) -> None:
        self._store = store
        self._config = config
        self._segmenter = segmenter
        self._forward = forward
        self._clock = clock
        self._limits = limits
        self._meter = instruments.meter
        self._tracer = instruments.tracer
        self._threads = ThreadPoolExecutor(config.slots, thread_name_prefix="pixels")
        self._progress = ProgressTeller(store, clock)
        self._reporter = Reporter(EvidenceStore(store), config, clock=clock, meter=instruments.meter)

    async def run(self, spec: JobSpec, token: str, handling: Handling) -> None:
        """Runs a leased job and stores its outcome: a result, a failure, one attempt less, or another version."""
        course = Course(spec, self._config, self._tracer, self._clock)
        logs.traceparent.set(course.context)
        try:
            with self._progress.telling(spec, token, course):
                whole = await self._process(spec, token, course)
            course.over(self._meter, Outcome.LATE if whole is None else Outcome.SUCCEEDED)
            if whole is not None:
                self._tell(spec, handling, course, whole)
        except asyncio.CancelledError:
            log.info("job %s was dropped", spec.id)
            course.over(self._meter, Outcome.LATE, "canceled")
            raise
        except Problem as problem:
            if problem.fault is Fault.STORE:
                course.over(self._meter, None, problem.code)
                raise  # the router gives the job back
            course.over(self._meter, await self._failed(spec, token, problem, handling, course), problem.code)
        except Exception as error:
            log.exception("job %s failed on %s", spec.id, self._config.app)
            detail = f"Version {self._config.version} of {self._config.model} failed on this picture."
            lost = Problem("attempts_exhausted", detail)
            fell = await self._blamed(spec, token, lost, handling, course)
            outcome = Outcome.FELL_BACK if fell else await self._give_back(spec, token, lost)
            course.over(self._meter, outcome, type(error).__name__)

    def _tell(self, spec: JobSpec, handling: Handling, course: Course, whole: Bytes) -> None:
        """Beside the answer, which is stored; nobody waits for it."""
        if handling.watched:
            self._reporter.answered(course.seconds, whole)
        if handling.mirrored:
            self._reporter.share(spec.id, whole)

    async def _failed(self, spec: JobSpec, token: str, problem: Problem, handling: Handling, course: Course) -> Outcome:
        if problem.fault is Fault.VERSION and await self._blamed(spec, token, problem, handling, course):
            return Outcome.FELL_BACK
        if problem.code == "backend_unavailable":  # it waits for the backend, or for a version that needs none
            return await self._give_back(spec, token, problem)
        await self._store.fail(spec.id, token, problem, self._clock())
        return Outcome.FAILED

    async def _blamed(self, spec: JobSpec, token: str, problem: Problem, handling: Handling, course: Course) -> bool:
        """The version is to blame; whether another one takes the job."""
        if handling.watched:
            self._reporter.failed(course.seconds)
        to = handling.fallback
        if not to or not await self._store.fall_back(spec.id, token, to, problem, self._clock()):
            return False
        log.warning("job %s falls back from %s to %s: %s", spec.id, self._config.app, to, problem)
        return True

    async def mirror(self, spec: JobSpec, stable: str) -> None:
        """Computes a job that ``stable`` answers, for its mask alone, which is compared once that of stable is there.

        Raises nothing that the picture or the store brings about.
        """
        logs.traceparent.set("")
        try:
            blobs = await self._fetch(spec)
            opened = await self._threaded(open_picture, self._segmenter, blobs, self._limits, spec.options.parsed_hints)
            outcome = (await self._forward(Item(opened.prepared, None))).outcome
            if isinstance(outcome, Problem):
                raise outcome
            whole = await self._threaded(self._segmenter.finish, opened.pixels, outcome)
        except Problem as problem:
            gone = problem.code == "result_expired"
            log.log(logging.DEBUG if gone else logging.WARNING, "mirrored job %s: %s", spec.id, problem)
            ended = Mirrored.GONE if gone else Mirrored.FAILED
            self._meter.add(names.MIRRORED, self._config.model, self._config.version, ended)
            return
        self._reporter.compare(spec.id, stable, opened.pixels.rgb, whole)

    async def _give_back(self, spec: JobSpec, token: str, problem: Problem) -> Outcome:
        return RELEASED[await self._store.release(spec.id, token, problem, self._clock())]

    async def _fetch(self, spec: JobSpec) -> list[bytes]:
        refs = [ref for ref in (spec.image, spec.background) if ref is not None]
        blobs = [await self._store.blobs.get(ref) for ref in refs]
        if any(blob is None for blob in blobs):
            raise Problem("result_expired", "The picture is gone: the job has ended already.")
        return [blob for blob in blobs if blob is not None]

    async def _process(self, spec: JobSpec, token: str, course: Course) -> Bytes | None:
        """Every stage; the alpha at the picture's size, or None where the result came too late."""
        blobs = await self._fetch(spec)
        course.next()
        opened = await self._staged(
            course, open_picture, self._segmenter, blobs, self._limits, spec.options.parsed_hints
        )
        course.next()
        forwarded = await self._forward(Item(opened.prepared, course.traceparent))
        course.next(forwarded)
        if isinstance(forwarded.outcome, Problem):
            raise forwarded.outcome
        if spec.preview:
            rendered, whole = await self._watched(spec, token, opened, forwarded.outcome, course)
        else:
            rendered, whole = await self._staged(
                course, render_with_mask, self._segmenter, opened, forwarded.outcome, spec.options
            )
        course.next()
        stored = await self._put(spec, token, rendered, course)
        course.next()
        return whole if stored else None

    async def _watched(
        self, spec: JobSpec, token: str, opened: Opened, alpha: Alpha, course: Course
    ) -> tuple[Rendered, Bytes]:
        """The answers, and the alpha at the picture's size, with a preview before them."""
        whole = await self._staged(course, self._segmenter.finish, opened.pixels, alpha)
        preview = await self._threaded(small, opened, whole)
        await self._store.emit_event(spec.id, token, "preview", preview, self._clock())
        return await self._staged(course, render_whole, opened, whole, spec.options), whole

    async def _put(self, spec: JobSpec, token: str, rendered: Rendered, course: Course) -> bool:
        refs: dict[str, BlobRef] = {}
        data: dict[str, bytes] = {}
        for name, (content, content_type) in rendered.files.items():
            refs[name] = self._store.blobs.ref(f"{spec.id}:{token}", name, len(content), content_type)
            data[refs[name].key] = content
        result = Result(
            model=self._config.model,
            version=self._config.version,
            digest=self._segmenter.digest,
            width=rendered.width,
            height=rendered.height,
            subject_found=rendered.subject_found,
            files=refs,
            timings=course.timings(),
        )
        stored = await self._stored(spec, result, data)
        if not stored:
            log.info("job %s had ended before its result came", spec.id)
        return stored

    async def _stored(self, spec: JobSpec, result: Result, data: Mapping[str, bytes]) -> bool:
        """Keeps trying while the store is full or away: the work is done, and the lease is renewed meanwhile."""
        for wait in STORE_WAITS:
            try:
                return await self._store.finish(spec.id, result, data, now=self._clock())
            except Problem as problem:
                log.warning("job %s: its result waits for the store: %s", spec.id, problem)
                await asyncio.sleep(wait)
        raise Problem("storage_unavailable", "The store took no result.")

    async def _staged(self, course: Course, stage: Callable[..., T], *args: Any) -> T:
        """A stage of the job itself."""
        done: tuple[T, float] = await self._threaded(on_thread, stage, *args)
        course.worked(done[1])
        return done[0]

    async def _threaded(self, stage: Callable[..., T], *args: Any) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, stage, *args)

    async def close(self) -> None:
        """Writes what is still to be told, and ends the threads."""
        await self._progress.close()
        await self._reporter.close()
        self._threads.shutdown(wait=False)
