"""Dynamic batches of forwards: what waits when the device is free goes through it together.

``serve.batch`` does the same at several times the CPU: through a queue and tasks, and it inspects the function's
signature for every picture.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

A = TypeVar("A")
B = TypeVar("B")


class Batcher(Generic[A, B]):
    """Calls ``forward`` with one batch at a time, in the order of arrival.

    Args:
        forward: outcomes of a batch, one per item, in order. What it raises, every item of that batch raises.
        most: of items in a batch.
        wait_seconds: how long a batch that is not full waits for more.
    """

    def __init__(self, forward: Callable[[list[A]], Awaitable[list[B]]], *, most: int, wait_seconds: float) -> None:
        self._forward = forward
        self._most = most
        self._wait_seconds = wait_seconds
        self._waiting: list[tuple[A, asyncio.Future[B]]] = []
        self._full = asyncio.Event()
        self._busy: asyncio.Task[None] | None = None

    async def __call__(self, item: A) -> B:
        """The item's outcome, once its batch is through. One whose caller leaves before that is not forwarded."""
        outcome: asyncio.Future[B] = asyncio.get_running_loop().create_future()
        self._waiting.append((item, outcome))
        if len(self._waiting) >= self._most:
            self._full.set()
        if self._busy is None:
            self._busy = asyncio.create_task(self._work(), name="batches")
        return await outcome

    async def _work(self) -> None:
        try:
            while self._waiting:
                await self._gathered()
                batch = [(item, outcome) for item, outcome in self._taken() if not outcome.done()]
                if batch:
                    await self._through(batch)
        finally:
            self._busy = None

    async def _gathered(self) -> None:
        if not self._wait_seconds or len(self._waiting) >= self._most:
            return
        self._full.clear()
        try:
            await asyncio.wait_for(self._full.wait(), self._wait_seconds)
        except TimeoutError:
            return

    def _taken(self) -> list[tuple[A, asyncio.Future[B]]]:
        batch = self._waiting[: self._most]
        del self._waiting[: self._most]
        return batch

    async def _through(self, batch: list[tuple[A, asyncio.Future[B]]]) -> None:
        try:
            outcomes = await self._forward([item for item, _ in batch])
        except Exception as error:
            for _, outcome in batch:
                if not outcome.done():
                    outcome.set_exception(error)
            return
        for (_, outcome), done in zip(batch, outcomes, strict=True):
            if not outcome.done():
                outcome.set_result(done)
