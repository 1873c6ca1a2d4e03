"""Runs one job after another through the stages of a replica, and stores their outcomes. Knows nothing of Ray."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, TypeVar

from matte_core.contracts.catalog import VersionConfig
from matte_core.contracts.job import BlobRef, JobSpec, Limits, Result
from matte_core.errors import Fault, Problem
from matte_jobs.evidence import EvidenceStore
from matte_jobs.store import JobStore
from matte_telemetry import logs
from matte_telemetry.metrics import Instruments

from matte_inference import metrics
from matte_inference.families.base import Segmenter
from matte_inference.metrics import RELEASE_OUTCOMES, MirrorOutcome, Outcome
from matte_inference.replica import stages
from matte_inference.replica.evidence import EvidenceRecorder
from matte_inference.replica.forwarder import Forwarder
from matte_inference.replica.job_trace import JobTrace, ProgressReporter
from matte_inference.router.route_plan import DispatchOptions

log = logging.getLogger("matte.replica")

T = TypeVar("T")

#: seconds between attempts to store a result: two minutes in all
STORE_RETRY_SECONDS = (0.5, 1, 2, 4, 8, 15, 30, 30, 30)


@dataclass(eq=False)
class ReplicaService:
    """Runs jobs on a segmenter that is loaded and warm. ``clock`` gives Unix seconds."""

    store: JobStore
    config: VersionConfig
    segmenter: Segmenter
    forwarder: Forwarder
    clock: Callable[[], float]
    limits: Limits
    instruments: Instruments
    running: int = field(default=0, init=False)  # jobs in progress, without mirrored ones

    def __post_init__(self) -> None:
        self._threads = ThreadPoolExecutor(self.config.slots, thread_name_prefix="pixels")
        self._progress = ProgressReporter(self.store, self.clock)
        self._evidence = EvidenceRecorder(EvidenceStore(self.store), self.config, self.clock, self.instruments.meter)

    async def run(self, spec: JobSpec, token: str, options: DispatchOptions) -> None:
        """Runs a leased job and stores its outcome: a result, a failure, or its return to the queue or to the fallback.

        Raises Problem if the store is away, so nothing was stored; the router returns the job to the queue.
        """
        self.running += 1
        trace = JobTrace(spec, self.config, self.instruments, self.clock)
        logs.traceparent.set(trace.log_context)
        try:
            with self._progress.track(spec, token, trace):
                rendered = await self._process(spec, token, trace)
            trace.finish(Outcome.LATE if rendered is None else Outcome.SUCCEEDED)
            if rendered is not None and options.sampled:
                self._evidence.record_answer(trace.seconds, rendered.assessment)
            if rendered is not None and options.mirrored:
                self._evidence.share_mask(spec.id, rendered.full_size_alpha)
        except asyncio.CancelledError:
            log.info("job %s: dropped", spec.id)
            trace.finish(Outcome.LATE, "canceled")
            raise
        except Problem as problem:
            if problem.fault is Fault.STORE:
                trace.finish(None, problem.code)
                raise
            if problem.fault is Fault.VERSION and await self._fall_back(spec, token, problem, options, trace):
                outcome = Outcome.FELL_BACK
            elif problem.code == "backend_unavailable":  # it waits for the backend, or for a version that needs none
                outcome = await self._release(spec, token, problem)
            else:
                await self.store.fail(spec.id, token, problem, self.clock())
                outcome = Outcome.FAILED
            trace.finish(outcome, problem.code)
        except Exception as error:
            log.exception("job %s: failed on %s", spec.id, self.config.app)
            detail = f"Version {self.config.version} of {self.config.model} failed on this picture."
            exhausted = Problem("attempts_exhausted", detail)
            fell_back = await self._fall_back(spec, token, exhausted, options, trace)
            outcome = Outcome.FELL_BACK if fell_back else await self._release(spec, token, exhausted)
            trace.finish(outcome, type(error).__name__)
        finally:
            self.running -= 1

    async def mirror(self, spec: JobSpec, stable: str) -> None:
        """Computes a job that ``stable`` answers, and compares the masks once that of ``stable`` is there. A problem of
        the picture or of the store is logged, not raised.
        """
        logs.traceparent.set("")
        try:
            blobs = await self._fetch(spec)
            hints = spec.options.parsed_hints
            job = await self._in_thread(stages.decode_job, self.segmenter, blobs, self.limits, hints)
            outcome = (await self.forwarder.forward(job.prepared)).outcome
            if isinstance(outcome, Problem):
                raise outcome
            full_size_alpha = await self._in_thread(self.segmenter.finish, job.pixels, outcome)
        except Problem as problem:
            expired = problem.code == "result_expired"
            log.log(logging.DEBUG if expired else logging.WARNING, "mirrored job %s: %s", spec.id, problem)
            mirrored = MirrorOutcome.GONE if expired else MirrorOutcome.FAILED
            self.instruments.meter.add(metrics.MIRRORED, self.config.model, self.config.version, mirrored)
            return
        self._evidence.compare_mask(spec.id, stable, job.pixels.rgb, full_size_alpha)

    async def close(self) -> None:
        """Writes the evidence that is pending, and ends the threads."""
        await self._progress.close()
        await self._evidence.close()
        self._threads.shutdown(wait=False)

    async def _process(self, spec: JobSpec, token: str, trace: JobTrace) -> stages.RenderedJob | None:
        """Runs every stage; None if the job had ended before its result."""
        blobs = await self._fetch(spec)
        trace.end_stage()
        hints = spec.options.parsed_hints
        job = await self._run_stage(trace, stages.decode_job, self.segmenter, blobs, self.limits, hints)
        trace.end_stage()
        forwarded = await self.forwarder.forward(job.prepared, trace.traceparent)
        trace.end_stage(forwarded)
        alpha = forwarded.outcome
        if isinstance(alpha, Problem):
            raise alpha
        if spec.preview:
            full_size_alpha = await self._run_stage(trace, self.segmenter.finish, job.pixels, alpha)
            preview = await self._in_thread(stages.render_preview, job, full_size_alpha)
            await self.store.emit_event(spec.id, token, "preview", preview, self.clock())
            rendered = await self._run_stage(trace, stages.render, job, full_size_alpha, spec.options)
        else:  # in one visit to the threads
            rendered = await self._run_stage(trace, stages.finish_and_render, self.segmenter, job, alpha, spec.options)
        trace.end_stage()
        stored = await self._store_result(spec, token, rendered, trace)
        trace.end_stage()
        return rendered if stored else None

    async def _fetch(self, spec: JobSpec) -> list[bytes]:
        refs = [ref for ref in (spec.image, spec.background) if ref is not None]
        blobs = [blob for ref in refs if (blob := await self.store.blobs.get(ref)) is not None]
        if len(blobs) < len(refs):
            raise Problem("result_expired", "The picture is gone: the job has ended already.")
        return blobs

    async def _store_result(self, spec: JobSpec, token: str, rendered: stages.RenderedJob, trace: JobTrace) -> bool:
        """Stores the result; False if the job has ended already. A store that is full or away is tried again: the work
        is done, and the lease is renewed meanwhile.
        """
        refs, data = dict[str, BlobRef](), dict[str, bytes]()
        for name, (content, content_type) in rendered.files.items():
            refs[name] = self.store.blobs.ref(f"{spec.id}:{token}", name, len(content), content_type)
            data[refs[name].key] = content
        result = Result(
            model=self.config.model, version=self.config.version, digest=self.segmenter.digest, width=rendered.width,
            height=rendered.height, foreground=rendered.assessment.foreground,
            uncertainty=round(rendered.assessment.uncertainty, 4), files=refs, timings=trace.timings(),
        )  # fmt: skip
        for wait in STORE_RETRY_SECONDS:
            try:
                stored = await self.store.finish(spec.id, result, data, now=self.clock())
            except Problem as problem:
                log.warning("job %s: its result waits for the store: %s", spec.id, problem)
                await asyncio.sleep(wait)
                continue
            if not stored:
                log.info("job %s: ended before its result came", spec.id)
            return stored
        raise Problem("storage_unavailable", "The store took no result.")

    async def _run_stage(self, trace: JobTrace, stage: Callable[..., T], *args: Any) -> T:
        """Runs a stage in a thread and adds its CPU time to the job's."""
        result: tuple[T, float] = await self._in_thread(stages.with_cpu_seconds, stage, *args)
        trace.cpu_seconds += result[1]
        return result[0]

    async def _in_thread(self, function: Callable[..., T], *args: Any) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, function, *args)

    async def _fall_back(
        self, spec: JobSpec, token: str, problem: Problem, options: DispatchOptions, trace: JobTrace
    ) -> bool:
        """Records that this version failed; True if the job went to the fallback version."""
        if options.sampled:
            self._evidence.record_failure(trace.seconds)
        to = options.fallback
        if not to or not await self.store.fall_back(spec.id, token, to, problem, self.clock()):
            return False
        log.warning("job %s: falls back from %s to %s: %s", spec.id, self.config.app, to, problem)
        return True

    async def _release(self, spec: JobSpec, token: str, problem: Problem) -> Outcome:
        return RELEASE_OUTCOMES[await self.store.release(spec.id, token, problem, self.clock())]
