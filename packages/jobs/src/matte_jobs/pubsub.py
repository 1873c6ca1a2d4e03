"""Redis pub/sub that survives lost connections."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import Any

import redis.exceptions as rex
from redis.asyncio import Redis


class Subscriber:
    """Receives the messages of a channel, and of others while they are wanted.

    Args:
        redis: the client.
        channel: subscribed to from start to close.
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
        await self._pubsub.subscribe(self._channel)
        self._task = asyncio.create_task(self._listen(), name=f"listen {self._channel}")

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
        with contextlib.suppress(rex.RedisError, OSError):
            await self._pubsub.aclose()  # type: ignore[no-untyped-call]

    async def add(self, channel: str) -> None:
        await self._pubsub.subscribe(channel)

    async def remove(self, channel: str) -> None:
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
    """Wakes a process that waits for work. Every subscriber gets every message: one without free slots keeps none from
    another.

    Args:
        redis: the client.
        channel: see :meth:`Keyspace.wakeup_channel`.
        on_canceled: gets the ids of jobs that were canceled while they ran.
    """

    def __init__(self, redis: Redis, channel: str, on_canceled: Callable[[str], None]) -> None:
        self._woken = asyncio.Event()
        self._on_canceled = on_canceled
        self._subscriber = Subscriber(redis, channel, self._on_message, self._woken.set)

    async def start(self) -> None:
        await self._subscriber.start()

    async def close(self) -> None:
        await self._subscriber.close()

    def _on_message(self, job_id: bytes) -> None:
        if job_id:
            self._on_canceled(job_id.decode())
        else:
            self._woken.set()

    async def wait(self, seconds: float) -> bool:
        """Waits for a message, at most so long; whether one came since the last wait."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._woken.wait(), seconds)
        woken = self._woken.is_set()
        self._woken.clear()
        return woken
