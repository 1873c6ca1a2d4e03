"""Gradio's sessions: the calls of each, and one stream of the messages of all of them, on any frontend.

A session is a Redis stream beside those of the jobs, in the same form: one ``queued`` event per call, so that an
``EventSubscription`` reads it like a job's. What its readers have got is acknowledged; the rest is sent again.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncGenerator, Coroutine, Iterable
from dataclasses import asdict, dataclass
from typing import Any

from matte_core.contracts.job import Owner
from matte_jobs.store import JobStore

from matte_frontend.gradio_api.messages import CLOSE, HEARTBEAT, Message, Translator, is_last
from matte_frontend.job_events import job_events
from matte_frontend.state import AppState


@dataclass(frozen=True, slots=True)
class Call:
    """One call of a session. ``error``, an RFC 9457 document, is set if it was rejected and there is no job."""

    id: str
    endpoint: str
    error: dict[str, Any] | None = None


class Sessions:
    """Calls by session in Redis; a session is forgotten ``result_ttl_seconds`` after its last call."""

    def __init__(self, store: JobStore) -> None:
        self._redis = store.redis
        self._keys = store.keys
        self._ttl = store.settings.result_ttl_seconds

    @staticmethod
    def stream(session: str) -> str:
        """The session's name among the streams, for ``EventBroker.subscribe``."""
        return f"session-{session}"

    async def add(self, session: str, call: Call, now: float) -> None:
        stream, at, data = self.stream(session), f"{now:.3f}", json.dumps(asdict(call))
        calls, events = self._keys.session_calls(session), self._keys.events(stream)
        async with self._redis.pipeline(transaction=True) as pipe:
            pipe.hset(calls, call.id, data)
            pipe.expire(calls, self._ttl)
            pipe.xadd(events, {"t": "queued", "a": at, "d": data}, maxlen=1000)
            pipe.expire(events, self._ttl)
            event_id = (await pipe.execute())[2].decode()
        message = json.dumps({"stream": stream, "id": event_id, "type": "queued", "at": at, "data": data})
        await self._redis.publish(self._keys.stream_channel(stream), message)

    async def open_calls(self, session: str) -> dict[str, Call]:
        """Calls whose end no reader has acknowledged, by id."""
        calls = await self._redis.hgetall(self._keys.session_calls(session))
        return {call_id.decode(): Call(**json.loads(data)) for call_id, data in calls.items()}

    async def get(self, session: str, call_id: str) -> Call | None:
        data = await self._redis.hget(self._keys.session_calls(session), call_id)
        return Call(**json.loads(data)) if data else None

    async def acknowledge(self, session: str, call_ids: Iterable[str]) -> None:
        if ids := list(call_ids):
            await self._redis.hdel(self._keys.session_calls(session), *ids)


class SessionReader:
    """At-least-once delivery: a call's messages come again, from its first one, until a reader has got its last one and
    stayed connected.

    A reader that was sent everything acknowledges it when its stream ends, or when it is still connected one heartbeat
    later. One that disconnects acknowledges nothing, and the next one gets everything again.
    """

    def __init__(self, app: AppState, owner: Owner, session: str, root: str) -> None:
        self._app = app
        self._sessions = Sessions(app.store)
        self._owner = owner
        self._session = session
        self._root = root
        self._queue: asyncio.Queue[Message | BaseException] = asyncio.Queue()
        self._tasks: dict[str, asyncio.Task[None]] = {}

    async def messages(self) -> AsyncGenerator[Message]:
        """Messages until every call of the session has ended, then ``close_stream``."""
        ended: set[str] = set()
        ended_before_heartbeat: set[str] = set()
        try:
            if await self._follow_new_calls():
                self._start("", self._follow_session())
            while len(ended) < len(self._tasks) - 1 or await self._follow_new_calls():
                try:
                    async with asyncio.timeout(self._app.settings.heartbeat_seconds):
                        message = await self._queue.get()
                except TimeoutError:
                    await self._sessions.acknowledge(self._session, ended_before_heartbeat)
                    ended_before_heartbeat = set(ended)
                    message = HEARTBEAT
                if isinstance(message, BaseException):
                    raise message
                if is_last(message):
                    ended.add(message["event_id"])
                yield message
            yield CLOSE
            await self._sessions.acknowledge(self._session, ended)
        finally:
            # Canceled until they are gone: a Redis call may swallow a cancellation (asyncio.wait_for before Python
            # 3.12).
            while running := [task for task in self._tasks.values() if not task.done()]:
                for task in running:
                    task.cancel()
                await asyncio.wait(running, timeout=0.5)

    async def _follow_new_calls(self) -> bool:
        """True if there are any."""
        calls = await self._sessions.open_calls(self._session)
        new = [call for call_id, call in calls.items() if call_id not in self._tasks]
        for call in new:
            self._start(call.id, self._follow_call(call))
        return bool(new)

    async def _follow_session(self) -> None:
        async with self._app.event_broker.subscribe(Sessions.stream(self._session)) as subscription:
            while True:
                if await subscription.read(self._app.settings.heartbeat_seconds):
                    await self._follow_new_calls()

    async def _follow_call(self, call: Call) -> None:
        translator = Translator(call.id, self._root)
        if call.error is not None:
            self._queue.put_nowait(translator.rejected(call.error))
            return
        async with contextlib.aclosing(job_events(self._app, call.id, self._owner)) as items:
            async for item in items:
                for message in translator.translate(item):
                    self._queue.put_nowait(message)

    def _start(self, name: str, coroutine: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(coroutine, name=f"reader {name}")
        task.add_done_callback(self._report_error)
        self._tasks[name] = task

    def _report_error(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            self._queue.put_nowait(error)
