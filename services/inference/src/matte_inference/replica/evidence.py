"""The evidence that a rollout is judged by. It never delays an answer, and is dropped rather than written late."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from matte_core.contracts.catalog import VersionConfig
from matte_core.contracts.evidence import Agreement, AnswerSample, MaskComparison, MirroredPair
from matte_core.errors import Problem
from matte_jobs.evidence import EvidenceStore
from matte_telemetry.metrics import Meter

from matte_inference import metrics
from matte_inference.analysis import masks
from matte_inference.analysis.uncertainty import Assessment, assess
from matte_inference.metrics import MirrorOutcome
from matte_inference.pixels.arrays import UInt8Array

log = logging.getLogger("matte.replica")

#: records that are being written, and masks among them that wait for another version's; more are dropped
MAX_PENDING = 64
MAX_WAITING = 16
#: seconds that a mask waits for the other version's
WAIT_SECONDS = 60.0
#: seconds between two comparisons that are kept for people to see
COMPARISON_SECONDS = 2.0
#: seconds that a closing replica leaves to pending records
CLOSE_SECONDS = 2.0


@dataclass(eq=False)
class EvidenceRecorder:
    """Every method but :meth:`close` returns at once and raises nothing. ``clock`` gives Unix seconds."""

    evidence: EvidenceStore
    config: VersionConfig
    clock: Callable[[], float]
    meter: Meter

    def __post_init__(self) -> None:
        self._labels = (self.config.model, self.config.version)
        self._tasks: set[asyncio.Task[None]] = set()
        self._waiting = 0
        self._compared_at = 0.0
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="evidence")

    def record_answer(self, seconds: float, assessment: Assessment) -> None:
        """An unpinned job that was answered."""
        answer = AnswerSample(
            at=self.clock(), seconds=seconds, bad_mask=bool(assessment.coverage),
            no_subject=assessment.foreground == "none", uncertainty=round(assessment.uncertainty, 4),
        )  # fmt: skip
        self._begin(self.evidence.record_answer(*self._labels, answer))

    def record_failure(self, seconds: float) -> None:
        """An unpinned job that this version is at fault for failing."""
        answer = AnswerSample(at=self.clock(), error=True, seconds=seconds)
        self._begin(self.evidence.record_answer(*self._labels, answer))

    def share_mask(self, job: str, full_size_alpha: UInt8Array) -> None:
        """The mask of a job that another version computes as well."""
        self._begin(self._write_mask(job, full_size_alpha))

    def compare_mask(self, job: str, stable: str, rgb: UInt8Array, full_size_alpha: UInt8Array) -> None:
        """This version's mask of a job that ``stable`` answers."""
        if self._waiting >= MAX_WAITING or not self._begin(self._compare(job, stable, rgb, full_size_alpha)):
            self._count(MirrorOutcome.DROPPED)

    async def close(self) -> None:
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=CLOSE_SECONDS)
        for task in self._tasks:
            task.cancel()
        self._thread.shutdown(wait=False)

    def _begin(self, work: Coroutine[Any, Any, None]) -> bool:
        if len(self._tasks) >= MAX_PENDING:
            work.close()
            return False
        task = asyncio.create_task(self._run(work))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return True

    async def _run(self, work: Coroutine[Any, Any, None]) -> None:
        try:
            await work
        except Problem as problem:
            log.warning("evidence of %s@%s is lost: %s", *self._labels, problem)
        except Exception:
            log.exception("evidence of %s@%s is lost", *self._labels)

    async def _write_mask(self, job: str, full_size_alpha: UInt8Array) -> None:
        data = await self._in_thread(lambda: masks.encode_mask(masks.shrink(full_size_alpha)))
        await self.evidence.put_mask(job, data)

    async def _compare(self, job: str, stable: str, rgb: UInt8Array, full_size_alpha: UInt8Array) -> None:
        mask = await self._in_thread(masks.shrink, full_size_alpha)
        picture = await self._in_thread(masks.shrink, rgb, masks.PREVIEW_SIDE)
        del rgb, full_size_alpha  # large, and it may have to wait
        until, wait = self.clock() + WAIT_SECONDS, 0.05
        self._waiting += 1
        try:
            while (data := await self.evidence.get_mask(job)) is None and self.clock() < until:
                await asyncio.sleep(wait)
                wait = min(1.0, wait * 1.5)
        finally:
            self._waiting -= 1
        stable_mask = None if data is None else masks.decode_mask(data)
        if stable_mask is None or stable_mask.shape != mask.shape:
            self._count(MirrorOutcome.ALONE)
            return
        agreed: Agreement = await self._in_thread(masks.agreement, mask, stable_mask)
        # of both at the size at which masks travel, so that only the masks differ
        uncertainty, stable_uncertainty = (round(assess(each).uncertainty, 4) for each in (mask, stable_mask))
        pair = MirroredPair(
            at=self.clock(), job=job, agreement=agreed, uncertainty=uncertainty, stable_uncertainty=stable_uncertainty
        )
        await self.evidence.record_pair(*self._labels, pair)
        self._count(MirrorOutcome.COMPARED)
        if masks.is_rejected(agreed) and self.clock() - self._compared_at >= COMPARISON_SECONDS:
            self._compared_at = self.clock()
            pictures, at = (picture, stable_mask, mask), self._compared_at
            comparison: MaskComparison = await self._in_thread(masks.compare_masks, job, stable, agreed, pictures, at)
            await self.evidence.record_comparison(*self._labels, comparison)

    async def _in_thread(self, function: Callable[..., Any], *args: Any) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self._thread, function, *args)

    def _count(self, outcome: MirrorOutcome) -> None:
        self.meter.add(metrics.MIRRORED, *self._labels, outcome)
