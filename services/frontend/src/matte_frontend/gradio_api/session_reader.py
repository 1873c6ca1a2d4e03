"""One reader of a Gradio session: the messages of all its calls, whichever frontend they were made on."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Coroutine
from typing import Any

from matte_core.contracts.owner import Owner

from matte_frontend.gradio_api.messages import CLOSE, HEARTBEAT, Message, Translator, is_last
from matte_frontend.gradio_api.sessions import Call
from matte_frontend.job_events import job_events
from matte_frontend.state import AppState


class SessionReader:
    """At-least-once delivery: a call's messages come again, from its first one, until a reader has got its last one and
    stayed connected.

    A reader that was sent everything acknowledges it when its stream ends, or when it is still connected one heartbeat
    later. One that disconnects acknowledges nothing, and the next one gets everything again.
    """

    def __init__(self, app: AppState, owner: Owner, session: str, root: str) -> None:
        self._app = app
        self._owner = owner
        self._session = session
        self._root = root
        self._queue: asyncio.Queue[Message | BaseException] = asyncio.Queue()
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._ended: set[str] = set()
        self._ended_before_heartbeat: set[str] = set()

    async def messages(self) -> AsyncGenerator[Message]:
        """Messages until every call of the session has ended, then ``close_stream``."""
        try:
            if await self._follow_new_calls():
                self._start("", self._follow_session())
            while len(self._ended) < len(self._tasks) - 1 or await self._follow_new_calls():
                yield await self._next()
            yield CLOSE
            await self._app.sessions.acknowledge(self._session, self._ended)
        finally:
            await self._stop()

    async def _next(self) -> Message:
        try:
            async with asyncio.timeout(self._app.settings.heartbeat_seconds):
                message = await self._queue.get()
        except TimeoutError:
            # acknowledges what had ended by the heartbeat before this one
            await self._app.sessions.acknowledge(self._session, self._ended_before_heartbeat)
            self._ended_before_heartbeat = set(self._ended)
            return HEARTBEAT
        if isinstance(message, BaseException):
            raise message
        if is_last(message):
            self._ended.add(message["event_id"])
        return message

    async def _follow_new_calls(self) -> bool:
        """True if there are any."""
        calls = await self._app.sessions.open_calls(self._session)
        new = [call for call_id, call in calls.items() if call_id not in self._tasks]
        for call in new:
            self._start(call.id, self._follow_call(call))
        return bool(new)

    async def _follow_session(self) -> None:
        stream = self._app.sessions.stream(self._session)
        async with self._app.event_broker.subscribe(stream) as subscription:
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

    async def _stop(self) -> None:
        # Cancelled until they are gone: a Redis call may swallow a cancellation (asyncio.wait_for before Python 3.12).
        while running := [task for task in self._tasks.values() if not task.done()]:
            for task in running:
                task.cancel()
            await asyncio.wait(running, timeout=0.5)
