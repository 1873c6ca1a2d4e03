"""Events as they happen, over one connection per process.

Redis pub/sub only wakes; the truth is each job's stream. After a lost connection every watcher reads its stream
again, so that nothing is missed and nothing comes twice.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncGenerator, AsyncIterator

from matte_core.contracts.job import Event

from matte_jobs.pubsub import Subscriber
from matte_jobs.store import JobStore

#: put into every watcher's queue when messages may have been missed
_RESYNC: Event | None = None


class EventBroker:
    """Follows the events of jobs. ``channel`` is this process' own: the end of a job admitted with
    ``origin=channel`` is heard without a subscription for it.
    """

    def __init__(self, store: JobStore, channel: str) -> None:
        self.channel = channel
        self._store = store
        self._prefix = f"{store.prefix}n:"
        self._watchers: dict[str, set[asyncio.Queue[Event | None]]] = {}
        self._foreign: dict[str, int] = {}
        self._subscriber = Subscriber(store.redis, self._prefix + channel, self._dispatch, self._resync)

    async def start(self) -> None:
        """Subscribes and begins to listen."""
        await self._subscriber.start()

    async def close(self) -> None:
        """Stops listening."""
        await self._subscriber.close()

    async def stream(self, job_id: str, *, after: str = "0", heartbeat: float = 15.0) -> AsyncGenerator[Event | None]:
        """Every event of a job after ``after``, up to the last one; None after ``heartbeat`` quiet seconds.

        Args:
            job_id: the job; following may begin before it is admitted.
            after: id of the last event already seen.
            heartbeat: seconds.
        """
        async with self._watching(job_id) as queue, self._subscribed(job_id):
            queue.put_nowait(_RESYNC)
            while True:
                event = _RESYNC
                try:
                    # not wait_for: until Python 3.12 it can swallow a cancellation
                    async with asyncio.timeout(heartbeat):
                        event = await queue.get()
                except TimeoutError:
                    yield None
                events = [event] if event is not None else await self._store.events(job_id, after)
                for found in events:
                    if _later(found.id, after):
                        after = found.id
                        yield found
                        if found.type == "finished" and found is events[-1]:  # a dead job may have been revived
                            return

    @contextlib.asynccontextmanager
    async def completion_waiter(self, job_id: str) -> AsyncIterator[CompletionWaiter]:
        """Waits for the end of a job whose ``origin`` is the channel; enter it before the job is admitted."""
        async with self._watching(job_id) as queue:
            yield CompletionWaiter(self._store, job_id, queue)

    @contextlib.asynccontextmanager
    async def _watching(self, job_id: str) -> AsyncIterator[asyncio.Queue[Event | None]]:
        queue: asyncio.Queue[Event | None] = asyncio.Queue()
        self._watchers.setdefault(job_id, set()).add(queue)
        try:
            yield queue
        finally:
            watchers = self._watchers[job_id]
            watchers.discard(queue)
            if not watchers:
                del self._watchers[job_id]

    @contextlib.asynccontextmanager
    async def _subscribed(self, job_id: str) -> AsyncIterator[None]:
        channel = f"{self._prefix}job:{job_id}"
        self._foreign[job_id] = self._foreign.get(job_id, 0) + 1
        try:
            if self._foreign[job_id] == 1:
                await self._subscriber.add(channel)
            yield
        finally:
            self._foreign[job_id] -= 1
            if self._foreign[job_id] == 0:
                del self._foreign[job_id]
                await self._subscriber.remove(channel)

    def _dispatch(self, text: bytes) -> None:
        message: dict[str, str] = json.loads(text)
        watchers = self._watchers.get(message["job"])
        if not watchers:
            return
        event = Event(id=message["id"], type=message["type"], at=float(message["at"]), data=json.loads(message["data"]))
        for queue in watchers:
            queue.put_nowait(event)

    def _resync(self) -> None:
        for queues in self._watchers.values():
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
        """Ends the waiting."""
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


def _later(a: str, b: str) -> bool:
    return _stream_id(a) > _stream_id(b)


def _stream_id(text: str) -> tuple[int, int]:
    ms, _, seq = text.partition("-")
    return int(ms), int(seq or 0)
