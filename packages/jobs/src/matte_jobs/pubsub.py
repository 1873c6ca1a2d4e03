"""Redis pub/sub that survives lost connections and says when messages may have been missed."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import Any

import redis.exceptions as rex
from redis.asyncio import Redis


class Subscriber:
    """Hears a channel, and others while they are wanted.

    Args:
        redis: where.
        channel: heard from start to close.
        on_message: gets each message's bytes.
        on_gap: called when messages may have been missed: at the start and after every lost connection, which the
            client shows only by subscribing again.
    """

    def __init__(
        self, redis: Redis, channel: str, on_message: Callable[[bytes], None], on_gap: Callable[[], None]
    ) -> None:
        self._channel = channel
        self._on_message = on_message
        self._on_gap = on_gap
        self._pubsub = redis.pubsub()
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Subscribes and begins to listen."""
        await self._pubsub.subscribe(self._channel)
        self._task = asyncio.create_task(self._listen(), name=f"listen {self._channel}")

    async def close(self) -> None:
        """Stops listening."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
        with contextlib.suppress(rex.RedisError, OSError):
            await self._pubsub.aclose()  # type: ignore[no-untyped-call]

    async def add(self, channel: str) -> None:
        """Hears one more channel."""
        await self._pubsub.subscribe(channel)

    async def remove(self, channel: str) -> None:
        """Hears a channel no more."""
        with contextlib.suppress(rex.RedisError, OSError):
            await self._pubsub.unsubscribe(channel)

    async def _listen(self) -> None:
        while True:
            try:
                message: dict[str, Any] | None = await self._pubsub.get_message(timeout=None)
            except (rex.RedisError, OSError):
                await asyncio.sleep(0.2)
                continue
            if message is None:
                continue
            if message["type"] == "message":
                self._on_message(message["data"])
            elif message["type"] == "subscribe" and message["channel"] == self._channel.encode():
                self._on_gap()


class WakeupChannel:
    """Wakes whoever waits for work. Every listener hears every ring: one without room keeps it from nobody.

    Args:
        redis: where.
        prefix: of the store's keys.
        on_canceled: gets the ids of jobs that were canceled while they ran.
    """

    def __init__(self, redis: Redis, prefix: str, on_canceled: Callable[[str], None]) -> None:
        self._woken = asyncio.Event()
        self._on_canceled = on_canceled
        self._subscriber = Subscriber(redis, f"{prefix}wakeup", self._on_message, self._woken.set)

    async def start(self) -> None:
        """Begins to listen."""
        await self._subscriber.start()

    async def close(self) -> None:
        """Stops listening."""
        await self._subscriber.close()

    def _on_message(self, job_id: bytes) -> None:
        if job_id:
            self._on_canceled(job_id.decode())
        else:
            self._woken.set()

    async def wait(self, seconds: float) -> bool:
        """Until it rings (or rang since the last wait), at most so long; whether it did."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._woken.wait(), seconds)
        rang = self._woken.is_set()
        self._woken.clear()
        return rang
