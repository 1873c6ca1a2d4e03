"""Server-sent events."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator

from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

#: a sign of life that readers ignore
COMMENT = ": alive\n\n"


def block(data: object, *, event: str = "", id_: str = "") -> str:
    """One event; without ``id_`` a reader's last event id stays as it was."""
    head = (f"id: {id_}\n" if id_ else "") + (f"event: {event}\n" if event else "")
    return f"{head}data: {json.dumps(data)}\n\n"


class Stream(StreamingResponse):
    """To HEAD it ends at once: its headers are known before anything happens."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers."""
        if scope["method"] == "HEAD":
            await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
            await send({"type": "http.response.body"})
        else:
            await super().__call__(scope, receive, send)


def stream(blocks: AsyncIterator[str]) -> Stream:
    """A stream that no proxy may store or hold back."""
    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    return Stream(blocks, media_type="text/event-stream", headers=headers)
