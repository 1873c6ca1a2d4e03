"""The routes of Gradio's API. Its other routes are not served: runs that bypass the queue, monitoring, files of the
disk.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from matte_frontend.gradio_api import files, queue
from matte_frontend.gradio_api.gradio_adapter import APP_ID, gradio_asgi
from matte_frontend.sse import EventStreamResponse
from matte_frontend.state import app_state

_API = "/gradio_api"


def add_to(app: Starlette, *, max_file_size: int) -> None:
    """Adds the durable queue, and what Gradio itself answers: the description of the endpoints."""
    gradio, app.state.gradio_endpoints = gradio_asgi(title="Matte", max_file_size=max_file_size)
    app.router.routes += [
        Route(f"{_API}/queue/join", queue.join, methods=["POST"]),
        Route(f"{_API}/queue/data", queue.data, methods=["GET"]),
        Route(f"{_API}/cancel", queue.cancel, methods=["POST"]),
        # clients send it after /cancel, which has done everything
        Route(f"{_API}/reset", _constant({"success": True}), methods=["POST"]),
        Route(f"{_API}/upload", files.upload, methods=["POST"]),
        Route(f"{_API}/upload_progress", files.upload_progress, methods=["GET"]),
        Route(f"{_API}/file={{path:path}}", files.file, methods=["GET"]),
        Route(f"{_API}/call/v2/{{api}}", queue.call_by_name, methods=["POST"]),
        Route(f"{_API}/call/v2/{{api}}/{{event_id}}", queue.call_events, methods=["GET"]),
        Route(f"{_API}/call/{{api}}", queue.call_by_position, methods=["POST"]),
        Route(f"{_API}/call/{{api}}/{{event_id}}", queue.call_events, methods=["GET"]),
        Route(f"{_API}/heartbeat/{{session_hash}}", heartbeat, methods=["GET"]),
        Route(f"{_API}/app_id", _constant({"app_id": APP_ID}), methods=["GET"]),
        Route(f"{_API}/startup-events", _constant(value=False), methods=["GET"]),
        Route("/config", gradio),
        Route(f"{_API}/info", gradio),
    ]


def _constant(value: object) -> Callable[[Request], Awaitable[Response]]:
    async def respond(_request: Request) -> Response:
        return JSONResponse(value)

    return respond


async def heartbeat(request: Request) -> Response:
    """A heartbeat stream for clients that ask for one. No job depends on it."""
    app = app_state(request)

    async def beats() -> AsyncIterator[str]:
        while not app.draining:
            yield "data: ALIVE\n\n"
            await asyncio.sleep(app.settings.heartbeat_seconds)

    return EventStreamResponse(beats())
