"""Which jobs a Gradio session has, so that any frontend can answer any of its readers.

A session is a stream of its own beside those of the jobs, in the same form: one ``queued`` event per call, so that
an ``EventSubscription`` reads it like a job's. What its readers have got is acknowledged; the rest comes again.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from matte_jobs.store import JobStore


@dataclass(frozen=True, slots=True)
class Call:
    """One call of a session. ``error``, an RFC 9457 document, is set if it was refused and there is no job."""

    id: str
    endpoint: str
    error: dict[str, Any] | None = None

    @classmethod
    def from_data(cls, data: Mapping[str, Any]) -> Call:
        """The call that :meth:`Sessions.add` wrote."""
        return cls(str(data["id"]), str(data["endpoint"]), data.get("error"))


class Sessions:
    """Calls by session in Redis; a session is forgotten ``result_ttl_seconds`` after its last call."""

    def __init__(self, store: JobStore) -> None:
        self._redis = store.redis
        self._keys = store.keys
        self._ttl = store.settings.result_ttl_seconds

    def stream(self, session: str) -> str:
        """The session's name among the streams, for ``EventBroker.subscribe``."""
        return f"session-{session}"

    async def add(self, session: str, call: Call, now: float) -> None:
        """Adds a call and notifies whoever reads the session."""
        stream, at = self.stream(session), f"{now:.3f}"
        calls, events = self._keys.session_calls(session), self._keys.events(stream)
        data = json.dumps({"id": call.id, "endpoint": call.endpoint, "error": call.error})
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
        return {id_.decode(): Call.from_data(json.loads(data)) for id_, data in calls.items()}

    async def get(self, session: str, call_id: str) -> Call | None:
        """One of the session's calls that is not acknowledged yet, or None."""
        data = await self._redis.hget(self._keys.session_calls(session), call_id)
        return Call.from_data(json.loads(data)) if data else None

    async def acknowledge(self, session: str, call_ids: Iterable[str]) -> None:
        """The reader has got everything about these calls."""
        if ids := list(call_ids):
            await self._redis.hdel(self._keys.session_calls(session), *ids)
