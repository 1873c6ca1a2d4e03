"""One reader of a session: the messages of all its calls, on whatever frontend they were made."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Coroutine
from typing import Any

from matte_core.contracts.owner import Owner

from matte_frontend.following import follow
from matte_frontend.frontend import Frontend
from matte_frontend.gradio_api.messages import CLOSE, HEARTBEAT, Message, Translator, ended
from matte_frontend.gradio_api.sessions import Call


class Reader:
    """Redelivery: a call's messages come again, from its first one, until a reader got its end and stayed.

    A reader that was sent everything acknowledges it when its stream ends well, or when it is still there a sign of
    life later. One that breaks off acknowledges nothing, and the next one gets it all.
    """

    def __init__(self, frontend: Frontend, owner: Owner, session: str, root: str) -> None:
        self._frontend = frontend
        self._owner = owner
        self._session = session
        self._root = root
        self._queue: asyncio.Queue[Message | BaseException] = asyncio.Queue()
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._ended: set[str] = set()
        self._settled: set[str] = set()

    async def messages(self) -> AsyncGenerator[Message]:
        """Messages until every call of the session has ended, then ``close_stream``."""
        try:
            if await self._take_up():
                self._start("", self._watch_session())
            while len(self._ended) < len(self._tasks) - 1 or await self._take_up():
                yield await self._next()
            yield CLOSE
            await self._frontend.sessions.acknowledge(self._session, self._ended)
        finally:
            await self._stop()

    async def _next(self) -> Message:
        try:
            async with asyncio.timeout(self._frontend.settings.heartbeat_seconds):
                found = await self._queue.get()
        except TimeoutError:
            await self._settle()
            return HEARTBEAT
        if isinstance(found, BaseException):
            raise found
        if ended(found):
            self._ended.add(found["event_id"])
        return found

    async def _settle(self) -> None:
        """Acknowledges what had ended by the sign of life before this one."""
        await self._frontend.sessions.acknowledge(self._session, self._settled)
        self._settled = set(self._ended)

    async def _take_up(self) -> bool:
        """Follows the calls that are new; True if there are any."""
        found = await self._frontend.sessions.open_calls(self._session)
        new = [call for call_id, call in found.items() if call_id not in self._tasks]
        for call in new:
            self._start(call.id, self._watch_call(call))
        return bool(new)

    async def _watch_session(self) -> None:
        event_broker, name = self._frontend.event_broker, self._frontend.sessions.stream(self._session)
        async with contextlib.aclosing(event_broker.stream(name)) as events:
            async for _ in events:
                await self._take_up()

    async def _watch_call(self, call: Call) -> None:
        translator = Translator(call.id, self._root)
        if call.error is not None:
            self._queue.put_nowait(translator.refused(call.error))
            return
        async with contextlib.aclosing(follow(self._frontend, call.id, self._owner)) as found:
            async for thing in found:
                for message in translator.of(thing):
                    self._queue.put_nowait(message)

    def _start(self, name: str, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work, name=f"reader {name}")
        task.add_done_callback(self._report)
        self._tasks[name] = task

    def _report(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            self._queue.put_nowait(error)

    async def _stop(self) -> None:
        # Asked until they are gone: a Redis call may swallow a cancellation (asyncio.wait_for before Python 3.12).
        while left := [task for task in self._tasks.values() if not task.done()]:
            for task in left:
                task.cancel()
            await asyncio.wait(left, timeout=0.5)
