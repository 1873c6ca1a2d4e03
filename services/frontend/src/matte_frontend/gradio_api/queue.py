"""Gradio's queue on durable jobs: ``/queue/join``, ``/queue/data``, ``/cancel`` and ``/call/…``."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import AsyncIterator
from typing import Any

import httpx
from gradio.route_utils import get_root_url
from matte_core.errors import Problem
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from matte_frontend.admission import build_job, validate_request
from matte_frontend.body import REST_BYTES, Inputs, read_limited
from matte_frontend.gradio_api.files import find_file, local_path
from matte_frontend.gradio_api.gradio_adapter import ENDPOINTS, Endpoint
from matte_frontend.gradio_api.messages import Translator, is_last
from matte_frontend.gradio_api.sessions import Call, SessionReader, Sessions
from matte_frontend.job_events import job_events
from matte_frontend.sse import EventStreamResponse, format_event
from matte_frontend.state import AppState, app_state, owner_of

_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")
#: events of ``/call`` by message and success; any other is ``error``
_CALL_EVENTS = {("process_generating", True): "generating", ("process_completed", True): "complete"}


async def join(request: Request) -> Response:
    """``POST /gradio_api/queue/join``.

    A call that is rejected gets an id too, and its problem as its end: both clients show only what comes on the
    event stream as it is. (Python's reads the ``detail`` of a 422 as a list of fields.)
    """
    app, body = app_state(request), await _read_json(request)
    session = _session_name(request, body.get("session_hash"))
    names, index = request.app.state.gradio_endpoints, body.get("fn_index")
    if not isinstance(index, int) or not 0 <= index < len(names):
        raise Problem("not_found", f"There is no function {index}.")
    endpoint = ENDPOINTS[names[index]]
    try:
        image, parameters = endpoint.bind(body.get("data"))
        call = Call(await _submit(app, request, image, parameters), endpoint.name)
    except Problem as problem:
        if problem.status >= 500:
            raise
        call = Call(app.new_id(), endpoint.name, problem.document())
    await Sessions(app.store).add(session, call, app.clock())
    return JSONResponse({"event_id": call.id})


async def data(request: Request) -> Response:
    """``GET /gradio_api/queue/data``: messages of all the session's calls."""
    session = _session_name(request, request.query_params.get("session_hash"))
    reader = SessionReader(app_state(request), owner_of(request), session, _file_root(request, "/queue/data"))

    async def stream() -> AsyncIterator[str]:
        async with contextlib.aclosing(reader.messages()) as messages:
            async for message in messages:
                yield format_event(message)  # `data:` only: the clients know neither ids nor comments here

    return EventStreamResponse(stream())


async def cancel(request: Request) -> Response:
    """``POST /gradio_api/cancel``: one of the session's own calls."""
    app, body = app_state(request), await _read_json(request)
    session, call_id = _session_name(request, body.get("session_hash")), body.get("event_id")
    is_id = isinstance(call_id, str) and _ID.fullmatch(call_id)
    call = await Sessions(app.store).get(session, str(call_id)) if is_id else None
    if call is None:
        raise Problem("job_not_found", "The session has no such call, or it has ended.")
    if call.error is None:
        await app.store.cancel(call.id, app.clock(), owner=owner_of(request))
    return JSONResponse({"success": True})


async def call_by_position(request: Request) -> Response:
    """``POST /gradio_api/call/{api}``: values in a list ``data``; the response has the ``event_id`` to ask for."""
    endpoint, body = _by_name(request), await _read_json(request)
    event_id = await _submit(app_state(request), request, *endpoint.bind(body.get("data")))
    return JSONResponse({"event_id": event_id})


async def call_by_name(request: Request) -> Response:
    """``POST /gradio_api/call/v2/{api}``: values by name."""
    endpoint, body = _by_name(request), await _read_json(request)
    event_id = await _submit(app_state(request), request, *endpoint.bind_named(body))
    return JSONResponse({"event_id": event_id})


async def call_events(request: Request) -> Response:
    """``GET /gradio_api/call/{api}/{event_id}``: ``generating``, then ``complete`` or ``error``."""
    _by_name(request)
    app, owner, call_id = app_state(request), owner_of(request), request.path_params["event_id"]
    await app.view(call_id, owner)
    root = _file_root(request, f"/call/{request.path_params['api']}/{call_id}")
    translator = Translator(call_id, root, diffs=False)

    async def stream() -> AsyncIterator[str]:
        async with contextlib.aclosing(job_events(app, call_id, owner)) as items:
            async for item in items:
                if item is None:
                    yield format_event(None, event="heartbeat")
                for message in translator.translate(item):
                    if "output" not in message:
                        continue
                    success = message["success"]
                    value = message["output"]["data"] if success else message["output"]
                    yield format_event(value, event=_CALL_EVENTS.get((message["msg"], success), "error"))
                    if is_last(message):
                        return

    return EventStreamResponse(stream())


async def _submit(app: AppState, request: Request, image: object, parameters: dict[str, object]) -> str:
    with app.count_rejections():
        stored = await find_file(app, owner_of(request), local_path(image, host=request.headers.get("host", "")))
        inputs = Inputs(await stored.read(), None, parameters)
    validated = await validate_request(app, request, inputs)
    spec, blobs = build_job(app, request, validated, preview=True)
    return (await app.admit(spec, blobs)).id


def _file_root(request: Request, route: str) -> str:
    """The public address that ends in ``/gradio_api``."""
    try:
        root = get_root_url(request, f"/gradio_api{route}", request.scope.get("root_path", ""))
    except (ValueError, httpx.InvalidURL) as error:
        raise Problem("malformed_request", f"Host or X-Forwarded-Host is no host: {error}") from error
    return f"{root}/gradio_api"


async def _read_json(request: Request) -> dict[str, Any]:
    try:
        body = json.loads(await read_limited(request, REST_BYTES))
    except (ValueError, RecursionError) as error:
        raise Problem("malformed_request", f"The body is not JSON: {error}") from error
    if not isinstance(body, dict):
        raise Problem("malformed_request", "The JSON body must be an object.")
    return body


def _session_name(request: Request, session_hash: object) -> str:
    """The session's name in the store, unique across owners: two of them may use the same hash."""
    if not isinstance(session_hash, str) or not _ID.fullmatch(session_hash):
        raise Problem("malformed_request", "session_hash is missing or invalid.")
    return owner_of(request).scoped(session_hash)


def _by_name(request: Request) -> Endpoint:
    name = request.path_params["api"]
    if name not in ENDPOINTS:
        raise Problem("not_found", f"There is no endpoint {name!r}. There is: {', '.join(ENDPOINTS)}.")
    return ENDPOINTS[name]
