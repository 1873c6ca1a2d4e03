"""Events as they happen, over one connection per process.

Redis pub/sub only wakes; the truth is each job's stream. After a lost connection every stream that is followed is read
again, so that no event is missed and none comes twice.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator

from matte_core.contracts.job import Event

from matte_jobs.pubsub import Subscriber
from matte_jobs.store import JobStore

#: put into every queue when messages may have been missed: the stream is to be read
_RESYNC: Event | None = None


class EventBroker:
    """Follows the events of jobs. ``origin`` is this process' own: the end of a job that was admitted with it is
    heard without a subscription for the job.
    """

    def __init__(self, store: JobStore, origin: str) -> None:
        self.origin = origin
        self._store = store
        self._queues: dict[str, set[asyncio.Queue[Event | None]]] = {}
        self._subscriptions: Counter[str] = Counter()
        channel = store.keys.origin_channel(origin)
        self._subscriber = Subscriber(store.redis, channel, self._dispatch, self._resync)

    async def start(self) -> None:
        await self._subscriber.start()

    async def close(self) -> None:
        await self._subscriber.close()

    async def stream(self, job_id: str, *, after: str = "0", heartbeat: float = 15.0) -> AsyncGenerator[Event | None]:
        """Every event of a job after ``after``, up to the last one; None after ``heartbeat`` quiet seconds.

        Args:
            job_id: the job; following may begin before it is admitted.
            after: id of the last event already seen.
            heartbeat: seconds.
        """
        async with self._queue(job_id) as queue, self._subscribed(job_id):
            queue.put_nowait(_RESYNC)
            while True:
                message = _RESYNC
                try:
                    # not wait_for: until Python 3.12 it can swallow a cancellation
                    async with asyncio.timeout(heartbeat):
                        message = await queue.get()
                except TimeoutError:
                    yield None
                events = [message] if message is not None else await self._store.events(job_id, after)
                for event in events:
                    if _position(event.id) > _position(after):
                        after = event.id
                        yield event
                        if event.type == "finished" and event is events[-1]:  # a dead job may have been requeued
                            return

    @contextlib.asynccontextmanager
    async def completion_waiter(self, job_id: str) -> AsyncIterator[CompletionWaiter]:
        """Waits for the end of a job that is admitted with this ``origin``; enter it before that."""
        async with self._queue(job_id) as queue:
            yield CompletionWaiter(self._store, job_id, queue)

    @contextlib.asynccontextmanager
    async def _queue(self, job_id: str) -> AsyncIterator[asyncio.Queue[Event | None]]:
        queue: asyncio.Queue[Event | None] = asyncio.Queue()
        self._queues.setdefault(job_id, set()).add(queue)
        try:
            yield queue
        finally:
            self._queues[job_id].discard(queue)
            if not self._queues[job_id]:
                del self._queues[job_id]

    @contextlib.asynccontextmanager
    async def _subscribed(self, job_id: str) -> AsyncIterator[None]:
        channel = self._store.keys.stream_channel(job_id)
        self._subscriptions[job_id] += 1
        try:
            if self._subscriptions[job_id] == 1:
                await self._subscriber.add(channel)
            yield
        finally:
            self._subscriptions[job_id] -= 1
            if self._subscriptions[job_id] == 0:
                del self._subscriptions[job_id]
                await self._subscriber.remove(channel)

    def _dispatch(self, text: bytes) -> None:
        message: dict[str, str] = json.loads(text)
        queues = self._queues.get(message["stream"])
        if not queues:
            return
        event = Event(id=message["id"], type=message["type"], at=float(message["at"]), data=json.loads(message["data"]))
        for queue in queues:
            queue.put_nowait(event)

    def _resync(self) -> None:
        for queues in self._queues.values():
            for queue in queues:
                queue.put_nowait(_RESYNC)


class CompletionWaiter:
    """Waits for one job's last event."""

    def __init__(self, store: JobStore, job_id: str, queue: asyncio.Queue[Event | None]) -> None:
        self._store = store
        self._id = job_id
        self._queue = queue
        self.stopped = False

    def stop(self) -> None:
        self.stopped = True
        self._queue.put_nowait(_RESYNC)

    async def wait(self, seconds: float) -> Event | None:
        """The ``finished`` event, or None after ``seconds``, or once it is stopped."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + seconds
        while not self.stopped and (left := deadline - loop.time()) > 0:
            # the stream is read again now and then: a message lost on the way must not cost the whole wait
            event = _RESYNC
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(min(left, 10.0)):
                    event = await self._queue.get()
            events = [event] if event is not None else await self._store.events(self._id)
            if events and events[-1].type == "finished":
                return events[-1]
        return None


def _position(event_id: str) -> tuple[int, int]:
    milliseconds, _, sequence = event_id.partition("-")
    return int(milliseconds), int(sequence or 0)
