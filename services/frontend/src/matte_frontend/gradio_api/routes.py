"""The routes of Gradio's API. What is not here is closed: runs that bypass the queue, monitoring, files of the disk."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from matte_frontend import sse
from matte_frontend.frontend import frontend_of
from matte_frontend.glue import APP_ID, plain_asgi
from matte_frontend.gradio_api import files, queue
from matte_frontend.gradio_api.endpoints import declared

_API = "/gradio_api"


def add_to(app: Starlette, *, max_file_size: int) -> None:
    """Adds the routes: the durable queue, and what Gradio itself answers (the description of the endpoints)."""
    server, app.state.gradio_endpoints = plain_asgi(declared(), title="Matte", max_file_size=max_file_size)
    app.router.routes += [*_durable(), Route("/config", server), Route(f"{_API}/info", server)]


def _durable() -> list[BaseRoute]:
    return [
        Route(f"{_API}/queue/join", queue.join, methods=["POST"]),
        Route(f"{_API}/queue/data", queue.data, methods=["GET"]),
        Route(f"{_API}/cancel", queue.cancel, methods=["POST"]),
        Route(f"{_API}/reset", reset, methods=["POST"]),
        Route(f"{_API}/upload", files.upload, methods=["POST"]),
        Route(f"{_API}/upload_progress", files.progress, methods=["GET"]),
        Route(f"{_API}/file={{path:path}}", files.file, methods=["GET"]),
        Route(f"{_API}/call/v2/{{api}}", queue.call_by_name, methods=["POST"]),
        Route(f"{_API}/call/v2/{{api}}/{{event_id}}", queue.call_events, methods=["GET"]),
        Route(f"{_API}/call/{{api}}", queue.call_by_position, methods=["POST"]),
        Route(f"{_API}/call/{{api}}/{{event_id}}", queue.call_events, methods=["GET"]),
        Route(f"{_API}/heartbeat/{{session_hash}}", heartbeat, methods=["GET"]),
        Route(f"{_API}/app_id", app_id, methods=["GET"]),
        Route(f"{_API}/startup-events", startup_events, methods=["GET"]),
    ]


async def reset(_request: Request) -> Response:
    """Clients send it after ``/cancel``, which has done everything."""
    return JSONResponse({"success": True})


async def app_id(_request: Request) -> Response:
    """The same on every frontend: a client that reconnects elsewhere must not start anew."""
    return JSONResponse({"app_id": APP_ID})


async def startup_events(_request: Request) -> Response:
    """There are none."""
    return JSONResponse(content=False)


async def heartbeat(request: Request) -> Response:
    """A sign of life for clients that ask for one. No job depends on it."""
    frontend = frontend_of(request)

    async def beats() -> AsyncIterator[str]:
        while not frontend.draining:
            yield "data: ALIVE\n\n"
            await asyncio.sleep(frontend.settings.heartbeat_seconds)

    return sse.stream(beats())
