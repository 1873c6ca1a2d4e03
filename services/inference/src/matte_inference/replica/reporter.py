"""What a rollout is judged by, written beside the answers: never before one, and lost rather than late."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from matte_core.contracts.catalog import VersionConfig
from matte_core.contracts.evidence import Agreement, AnswerSample, MaskComparison, MirroredPair
from matte_core.errors import Problem
from matte_jobs.evidence import EvidenceStore
from matte_telemetry import names
from matte_telemetry.instruments import Meter
from matte_telemetry.names import Mirrored

from matte_inference.analysis.masks import agreement, coverage, sampled, shrunk
from matte_inference.analysis.shown import SIDE, differ, packed, shown, unpacked
from matte_inference.pixels.types import Bytes

log = logging.getLogger("matte.replica")

#: what is on its way at once, and of that masks that wait for another version's; more is not written
PENDING_MAX = 64
WAITING_MAX = 16
#: a mask waits so long for the other version's (seconds)
WAIT_SECONDS = 60.0
#: differing masks are shown no more often (seconds)
SHOW_SECONDS = 2.0
#: an ending replica gives what is on its way so long (seconds)
CLOSE_SECONDS = 2.0


class Reporter:
    """Every method but :meth:`close` returns at once and raises nothing. ``clock`` gives Unix seconds."""

    def __init__(
        self, evidence: EvidenceStore, config: VersionConfig, *, clock: Callable[[], float], meter: Meter
    ) -> None:
        self._evidence = evidence
        self._labels = (config.model, config.version)
        self._clock = clock
        self._meter = meter
        self._tasks: set[asyncio.Task[None]] = set()
        self._waiting = 0
        self._shown_at = 0.0
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="evidence")

    def answered(self, seconds: float, whole: Bytes) -> None:
        """An unpinned answer; ``whole`` is its alpha."""
        self._begin(self._answer(AnswerSample(at=self._clock(), seconds=seconds), whole))

    def failed(self, seconds: float) -> None:
        """An unpinned attempt that failed by this version's fault."""
        self._begin(self._answer(AnswerSample(at=self._clock(), error=True, seconds=seconds), None))

    def share(self, job: str, whole: Bytes) -> None:
        """The mask of a job that another version computes as well."""
        self._begin(self._share(job, whole))

    def compare(self, job: str, stable: str, rgb: Bytes, whole: Bytes) -> None:
        """This version's mask of a job that ``stable`` answers."""
        if self._waiting >= WAITING_MAX or not self._begin(self._compare(job, stable, rgb, whole)):
            self._count(Mirrored.DROPPED)

    async def close(self) -> None:
        """Gives what is on its way a moment."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=CLOSE_SECONDS)
        for task in self._tasks:
            task.cancel()
        self._thread.shutdown(wait=False)

    def _begin(self, work: Coroutine[Any, Any, None]) -> bool:
        if len(self._tasks) >= PENDING_MAX:
            work.close()
            return False
        task = asyncio.create_task(self._safely(work))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return True

    async def _safely(self, work: Coroutine[Any, Any, None]) -> None:
        try:
            await work
        except Problem as problem:
            log.warning("evidence of %s@%s is lost: %s", *self._labels, problem)
        except Exception:
            log.exception("evidence of %s@%s is lost", *self._labels)

    async def _answer(self, answer: AnswerSample, whole: Bytes | None) -> None:
        if whole is not None and coverage(sampled(whole)):
            answer = answer.model_copy(update={"bad_mask": True})
        await self._evidence.record_answer(*self._labels, answer)

    async def _share(self, job: str, whole: Bytes) -> None:
        data = await self._threaded(lambda: packed(shrunk(whole)))
        await self._evidence.put_mask(job, data)

    async def _compare(self, job: str, stable: str, rgb: Bytes, whole: Bytes) -> None:
        mask, picture = await self._threaded(_small, whole, rgb)
        del rgb, whole  # large, and it may have to wait
        self._waiting += 1
        try:
            data = await self._mask(job)
        finally:
            self._waiting -= 1
        theirs = None if data is None else unpacked(data)
        if theirs is None or theirs.shape != mask.shape:
            self._count(Mirrored.ALONE)
            return
        found: Agreement = await self._threaded(agreement, mask, theirs)
        await self._evidence.record_pair(*self._labels, MirroredPair(at=self._clock(), job=job, agreement=found))
        self._count(Mirrored.COMPARED)
        if differ(found) and self._clock() - self._shown_at >= SHOW_SECONDS:
            self._shown_at = self._clock()
            one: MaskComparison = await self._threaded(
                shown, job, stable, found, (picture, theirs, mask), self._shown_at
            )
            await self._evidence.record_comparison(*self._labels, one)

    async def _mask(self, job: str) -> bytes | None:
        """The other version's mask, once it is there; None where it does not come."""
        until, wait = self._clock() + WAIT_SECONDS, 0.05
        while (data := await self._evidence.get_mask(job)) is None and self._clock() < until:
            await asyncio.sleep(wait)
            wait = min(1.0, wait * 1.5)
        return data

    async def _threaded(self, work: Callable[..., Any], *args: Any) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work, *args)

    def _count(self, outcome: Mirrored) -> None:
        self._meter.add(names.MIRRORED, *self._labels, outcome)


def _small(whole: Bytes, rgb: Bytes) -> tuple[Bytes, Bytes]:
    return shrunk(whole), shrunk(rgb, SIDE)
