"""Messages of Redis pub/sub: there may be work, and events of jobs as they happen.

A process has one connection for each of the two. Pub/sub only wakes; the truth is each job's stream. After a lost
connection every subscription reads its stream again, so that no event is missed and none comes twice.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import redis.exceptions as rex
from matte_core.contracts.job import Event

from matte_jobs.store import JobStore

#: in a subscription's queue: messages may have been missed, so the stream must be read
_RESYNC: Event | None = None


class Subscriber:
    """Receives the messages of a channel, and of others while they are wanted. Start it, and close it before the store.

    ``on_gap`` is called when messages may have been missed: at the start and after every lost connection, which the
    client shows only by subscribing again.
    """

    def __init__(
        self, store: JobStore, channel: str, on_message: Callable[[bytes], None], on_gap: Callable[[], None]
    ) -> None:
        self._channel = channel
        self._on_message = on_message
        self._on_gap = on_gap
        self._pubsub: Any = store.redis.pubsub()
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
            await self._pubsub.aclose()

    async def _listen(self) -> None:
        while True:
            try:
                message = await self._pubsub.get_message(timeout=None)
            except (rex.RedisError, OSError):
                await asyncio.sleep(0.2)
                continue
            kind = message and message["type"]
            if kind == "message":
                self._on_message(message["data"])
            elif kind == "subscribe" and message["channel"] == self._channel.encode():
                self._on_gap()


class WakeupChannel(Subscriber):
    """Wakes a process that waits for work. Every subscriber gets every message: one without free slots keeps none from
    another. ``on_canceled`` gets the ids of jobs that were canceled while they ran.
    """

    def __init__(self, store: JobStore, on_canceled: Callable[[str], None] = lambda _: None) -> None:
        self._woken = asyncio.Event()
        self._on_canceled = on_canceled
        super().__init__(store, store.keys.wakeup_channel(), self._wake, self._woken.set)

    def _wake(self, canceled_id: bytes) -> None:
        if canceled_id:
            self._on_canceled(canceled_id.decode())
        else:
            self._woken.set()

    async def wait(self, seconds: float) -> bool:
        """Waits for a message, at most so long; whether one came since the last wait."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._woken.wait(), seconds)
        woken = self._woken.is_set()
        self._woken.clear()
        return woken


class EventBroker(Subscriber):
    """Passes events on to this process's subscriptions. ``origin`` is this process's own: the end of a job admitted
    with it is published on a channel of this process, so that waiting for it needs no Redis subscription per job.
    """

    def __init__(self, store: JobStore, origin: str) -> None:
        super().__init__(store, store.keys.origin_channel(origin), self._dispatch, self._resync)
        self.origin = origin
        self._store = store
        self._subscriptions: dict[str, set[EventSubscription]] = {}

    @contextlib.asynccontextmanager
    async def subscribe(
        self, job_id: str, *, after: str = "0", own_job: bool = False
    ) -> AsyncIterator[EventSubscription]:
        """Subscribes to the events after the id ``after`` of a job, which need not be admitted yet, or of another
        stream. ``own_job``: the job is about to be admitted with this ``origin``, and only its end matters.
        """
        redis_channel = self._store.keys.stream_channel(job_id)
        subscription = EventSubscription(self._store, job_id, after=after, own_job=own_job)
        subscriptions = self._subscriptions.setdefault(job_id, set())
        uses_redis = any(not other.own_job for other in subscriptions)
        subscriptions.add(subscription)
        try:
            if not own_job:
                if not uses_redis:
                    await self._pubsub.subscribe(redis_channel)
                subscription.put(_RESYNC)
            yield subscription
        finally:
            subscriptions.discard(subscription)
            if not subscriptions:
                del self._subscriptions[job_id]
            if not own_job and all(other.own_job for other in subscriptions):
                with contextlib.suppress(rex.RedisError, OSError):
                    await self._pubsub.unsubscribe(redis_channel)

    def _dispatch(self, text: bytes) -> None:
        message: dict[str, str] = json.loads(text)
        if subscriptions := self._subscriptions.get(message["stream"]):
            data = json.loads(message["data"])
            event = Event(id=message["id"], type=message["type"], at=float(message["at"]), data=data)
            for subscription in subscriptions:
                subscription.put(event)

    def _resync(self) -> None:
        for subscriptions in self._subscriptions.values():
            for subscription in subscriptions:
                subscription.put(_RESYNC)


class EventSubscription:
    """The events of one job, each once and in order. ``ended``: the job's last event has been read; ``closed``: nobody
    waits for events any more.
    """

    def __init__(self, store: JobStore, job_id: str, *, after: str, own_job: bool) -> None:
        self.own_job = own_job
        self.ended = False
        self.closed = False
        self._store = store
        self._job_id = job_id
        self._after = after
        self._queue: asyncio.Queue[Event | None] = asyncio.Queue()

    def put(self, event: Event | None) -> None:
        """What the broker received; None: messages may have been missed."""
        self._queue.put_nowait(event)

    def close(self) -> None:
        """Ends a wait in another task."""
        self.closed = True
        self._queue.put_nowait(_RESYNC)

    async def read(self, timeout: float) -> list[Event]:  # noqa: ASYNC109 - empty after it, not an error
        """The next events; empty after ``timeout`` seconds without one, or once the subscription is closed."""
        deadline, waiting = asyncio.get_running_loop().time() + timeout, True
        while waiting and not self.closed:
            event = _RESYNC
            try:
                # not wait_for: until Python 3.12 it can swallow a cancellation
                async with asyncio.timeout_at(deadline):
                    event = await self._queue.get()
            except TimeoutError:
                waiting = False
            # after a timeout, too: a message lost on the way must not cost the whole wait
            events = [event] if event is not None else await self._store.events(self._job_id, self._after)
            if new := [event for event in events if _stream_id(event.id) > _stream_id(self._after)]:
                self._after = new[-1].id
                self.ended = new[-1].type == "finished"  # a dead job that was requeued goes on after its first one
                return new
        return []

    async def wait_finished(self, within: float) -> Event | None:
        """The job's last event; None after ``within`` seconds, or once the subscription is closed."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + within
        while not self.closed and (left := deadline - loop.time()) > 0:
            events = await self.read(min(left, 10.0))
            if self.ended:
                return events[-1]
        return None


def _stream_id(text: str) -> tuple[int, int]:
    ms, _, seq = text.partition("-")
    return int(ms), int(seq or 0)
