"""Server-sent events."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator

from starlette.responses import StreamingResponse

#: a sign of life that readers ignore
COMMENT = ": alive\n\n"


def block(data: object, *, event: str = "", id_: str = "") -> str:
    """One event; without ``id_`` a reader's last event id stays as it was."""
    head = (f"id: {id_}\n" if id_ else "") + (f"event: {event}\n" if event else "")
    return f"{head}data: {json.dumps(data)}\n\n"


def stream(blocks: AsyncIterator[str]) -> StreamingResponse:
    """A stream that no proxy may store or hold back."""
    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    return StreamingResponse(blocks, media_type="text/event-stream", headers=headers)
