"""From a prepared picture to its alpha: pictures that wait for the device go through the network in one batch.

``serve.batch`` does the same at several times the CPU: through a queue and tasks, and it inspects the function's
signature for every picture.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import sys
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import numpy as np
from matte_core.contracts.catalog import VersionConfig
from matte_core.errors import Problem
from matte_telemetry.metrics import Meter

from matte_inference import metrics
from matte_inference.families.base import Alpha, Prepared, Segmenter
from matte_inference.replica.stages import with_cpu_seconds

A = TypeVar("A")
B = TypeVar("B")


@dataclass(frozen=True, slots=True)
class Forwarded:
    """The alpha of one picture, or its problem."""

    outcome: Alpha | Problem
    batch_size: int = 1
    linked: tuple[str, ...] = ()  # the traceparents of the other jobs in its batch
    cpu_seconds: float = 0.0  # its share of the CPU time of the batch


class Forwarder:
    """Owns the device: the threads that call ``segmenter.forward``, and the batches.

    A remote segmenter gets single pictures, as many at once as the version has slots. ``on_backend_lost`` is awaited
    before :meth:`forward` returns backend_unavailable.
    """

    def __init__(
        self, segmenter: Segmenter, config: VersionConfig, meter: Meter,
        on_backend_lost: Callable[[], Awaitable[None]] | None = None,
    ) -> None:  # fmt: skip
        self._segmenter, self._config, self._meter = segmenter, config, meter
        self._on_backend_lost = on_backend_lost
        self._threads = ThreadPoolExecutor(config.slots if segmenter.remote else 1, thread_name_prefix="forward")
        size = min(config.max_batch_size, segmenter.batch_limit or config.max_batch_size)
        self._batched = size > 1 and not segmenter.remote
        self._batcher = Batcher(self._forward, max_batch_size=size, wait_seconds=config.batch_wait_seconds)

    async def forward(self, prepared: Prepared, traceparent: str | None = None) -> Forwarded:
        """Forwards one picture, in a batch with others; ``traceparent`` names its job in their traces."""
        item = (prepared, traceparent)
        forwarded = await self._batcher(item) if self._batched else (await self._forward([item]))[0]
        lost = isinstance(forwarded.outcome, Problem) and forwarded.outcome.code == "backend_unavailable"
        if lost and self._on_backend_lost is not None:
            await self._on_backend_lost()
        return forwarded

    async def forward_alone(self, prepared: Prepared) -> Forwarded:
        return (await self._forward([(prepared, None)]))[0]

    async def _forward(self, batch: list[tuple[Prepared, str | None]]) -> list[Forwarded]:
        prepared = [item for item, _ in batch]
        outcomes, cpu = await asyncio.get_running_loop().run_in_executor(
            self._threads, with_cpu_seconds, forward_safely, self._segmenter, prepared
        )
        self._meter.observe(metrics.BATCH_SIZE, len(batch), self._config.model, self._config.version)
        contexts = [context for _, context in batch if context is not None]
        return [
            Forwarded(outcome, len(batch), tuple(c for c in contexts if c != own), cpu / len(batch))
            for outcome, (_, own) in zip(outcomes, batch, strict=True)
        ]


class Batcher(Generic[A, B]):
    """Calls ``forward`` with one batch at a time, in the order of arrival. It returns one outcome per item, in order;
    what it raises, every item of that batch raises. A batch that is not full waits ``wait_seconds`` for more items.
    """

    def __init__(
        self, forward: Callable[[list[A]], Awaitable[list[B]]], *, max_batch_size: int, wait_seconds: float
    ) -> None:
        self._forward = forward
        self._max_batch_size = max_batch_size
        self._wait_seconds = wait_seconds
        self._waiting: list[tuple[A, asyncio.Future[B]]] = []
        self._full = asyncio.Event()
        self._worker: asyncio.Task[None] | None = None

    async def __call__(self, item: A) -> B:
        """The item's outcome, when its batch is done. An item whose caller is canceled before that is left out."""
        outcome: asyncio.Future[B] = asyncio.get_running_loop().create_future()
        self._waiting.append((item, outcome))
        if len(self._waiting) >= self._max_batch_size:
            self._full.set()
        if self._worker is None:
            self._worker = asyncio.create_task(self._work(), name="batches")
        return await outcome

    async def _work(self) -> None:
        try:
            while self._waiting:
                if self._wait_seconds and len(self._waiting) < self._max_batch_size:
                    self._full.clear()
                    with contextlib.suppress(TimeoutError):
                        await asyncio.wait_for(self._full.wait(), self._wait_seconds)
                taken = self._waiting[: self._max_batch_size]
                del self._waiting[: self._max_batch_size]
                if batch := [(item, outcome) for item, outcome in taken if not outcome.done()]:
                    await self._run(batch)
        finally:
            self._worker = None

    async def _run(self, batch: list[tuple[A, asyncio.Future[B]]]) -> None:
        try:
            results = await self._forward([item for item, _ in batch])
        except Exception as error:
            for _, outcome in batch:
                if not outcome.done():
                    outcome.set_exception(error)
            return
        for (_, outcome), result in zip(batch, results, strict=True):
            if not outcome.done():
                outcome.set_result(result)


def forward_safely(segmenter: Segmenter, batch: Sequence[Prepared]) -> list[Alpha | Problem]:
    """``segmenter.forward`` with one outcome per item, in order: a bad picture never fails its neighbors.

    Raises nothing. Out of memory: the batch is halved and tried again, down to single items; one that still fails gives
    ``Problem("out_of_memory")``. A :class:`Problem` that a single item raises is its outcome. Any other exception: the
    items are tried one by one, so that only the one at fault gives ``Problem("internal_error")``; so does an output
    with NaN or infinity.
    """
    try:
        alphas = segmenter.forward(batch)
        if len(alphas) != len(batch):
            raise RuntimeError(f"{len(alphas)} alphas for {len(batch)} pictures")
    except Exception as error:
        if isinstance(error, Problem) and len(batch) == 1:
            return [error]
        torch: Any = sys.modules.get("torch")
        out_of_memory = (
            isinstance(error, MemoryError)
            or (torch is not None and isinstance(error, torch.OutOfMemoryError))
            # torch's CPU allocator says so only in its message
            or (isinstance(error, RuntimeError) and "not enough memory" in str(error))
        )
        cause = type(error).__name__
    else:
        not_finite = Problem("internal_error", "The model's output is not a number on this picture.")
        return [alpha if np.isfinite(alpha).all() else not_finite for alpha in alphas]
    # here the exception, and with it the frames that hold the failed batch's tensors, is gone
    if out_of_memory:
        gc.collect()
        if torch is not None and torch.cuda.is_available():
            torch.cuda.empty_cache()
    if len(batch) == 1:
        if out_of_memory:
            detail = "The model ran out of memory on this picture. Send it smaller, or try again."
            return [Problem("out_of_memory", detail)]
        return [Problem("internal_error", f"The model failed on this picture ({cause}).")]
    step = (len(batch) + 1) // 2 if out_of_memory else 1
    parts = [batch[at : at + step] for at in range(0, len(batch), step)]
    return [outcome for part in parts for outcome in forward_safely(segmenter, part)]
