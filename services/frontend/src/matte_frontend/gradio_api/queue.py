"""Gradio's queue on durable jobs: ``/queue/join``, ``/queue/data``, ``/cancel`` and ``/call/…``."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from typing import Any

import httpx
from gradio.route_utils import get_root_url
from matte_core.contracts.job import Event
from matte_core.errors import Problem
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from matte_frontend import sse
from matte_frontend.admission import sound, to_job
from matte_frontend.body import Inputs, read_bounded
from matte_frontend.caller import Caller, owner_of
from matte_frontend.following import Waiting, follow
from matte_frontend.frontend import Frontend, frontend_of
from matte_frontend.gradio_api.endpoints import ENDPOINTS, Endpoint
from matte_frontend.gradio_api.files import own_path, read_path
from matte_frontend.gradio_api.messages import Translator, ended
from matte_frontend.gradio_api.reader import Reader
from matte_frontend.gradio_api.sessions import Call
from matte_frontend.json_body import REST_BYTES

_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")


def file_root(request: Request, route: str) -> str:
    """The public address that ends in ``/gradio_api``.

    Raises:
        Problem: malformed_request, where the headers that name the host are no address.
    """
    try:
        root = get_root_url(request, f"/gradio_api{route}", request.scope.get("root_path", ""))
    except (ValueError, httpx.InvalidURL) as error:
        raise Problem("malformed_request", f"Host or X-Forwarded-Host is no host: {error}") from error
    return f"{root}/gradio_api"


async def join(request: Request) -> Response:
    """``POST /gradio_api/queue/join``.

    A call that is refused gets an id too, and its problem as its end: both clients show only what comes on the
    event stream as it is. (Python's reads the ``detail`` of a 422 as a list of fields.)
    """
    frontend, body = frontend_of(request), await _json(request)
    session, endpoint = _session(request, body.get("session_hash")), _by_index(request, body.get("fn_index"))
    try:
        image, parameters = endpoint.bind(_data(body))
        call = Call(await _submit(frontend, request, image, parameters), endpoint.name)
    except Problem as problem:
        if problem.status >= 500:
            raise
        call = Call(frontend.new_id(), endpoint.name, problem.document())
    await frontend.sessions.add(session, call, frontend.clock())
    return JSONResponse({"event_id": call.id})


async def data(request: Request) -> Response:
    """``GET /gradio_api/queue/data``: messages of all the session's calls."""
    session = _session(request, request.query_params.get("session_hash"))
    root = file_root(request, "/queue/data")
    return sse.stream(_data_lines(Reader(frontend_of(request), owner_of(request), session, root)))


async def _data_lines(reader: Reader) -> AsyncIterator[str]:
    async with contextlib.aclosing(reader.messages()) as messages:
        async for message in messages:
            yield sse.block(message)  # `data:` only: the clients know neither ids nor comments here


async def cancel(request: Request) -> Response:
    """``POST /gradio_api/cancel``: one of the session's own calls."""
    frontend, body = frontend_of(request), await _json(request)
    session, call_id = _session(request, body.get("session_hash")), body.get("event_id")
    known = isinstance(call_id, str) and _ID.fullmatch(call_id)
    call = await frontend.sessions.get(session, str(call_id)) if known else None
    if call is None:
        raise Problem("job_not_found", "The session has no such call, or it has ended.")
    if call.error is None:
        await frontend.store.cancel(call.id, frontend.clock(), owner=owner_of(request))
    return JSONResponse({"success": True})


async def call_by_position(request: Request) -> Response:
    """``POST /gradio_api/call/{api}``: values in a list ``data``; the answer's ``event_id`` is asked for next."""
    endpoint, body = _by_name(request), await _json(request)
    return await _called(request, *endpoint.bind(_data(body)))


async def call_by_name(request: Request) -> Response:
    """``POST /gradio_api/call/v2/{api}``: values by name."""
    endpoint, body = _by_name(request), await _json(request)
    return await _called(request, *endpoint.bind_named(body))


async def _called(request: Request, image: object, parameters: dict[str, object]) -> Response:
    return JSONResponse({"event_id": await _submit(frontend_of(request), request, image, parameters)})


async def call_events(request: Request) -> Response:
    """``GET /gradio_api/call/{api}/{event_id}``: ``generating``, then ``complete`` or ``error``."""
    _by_name(request)
    frontend, owner, call_id = frontend_of(request), owner_of(request), request.path_params["event_id"]
    await frontend.view(call_id, owner)
    root = file_root(request, f"/call/{request.path_params['api']}/{call_id}")
    translator = Translator(call_id, root, changes=False)
    return sse.stream(_call_lines(follow(frontend, call_id, owner), translator))


_NAMES = {("process_generating", True): "generating", ("process_completed", True): "complete"}


async def _call_lines(found: AsyncGenerator[Event | Waiting | None], translator: Translator) -> AsyncIterator[str]:
    async with contextlib.aclosing(found):
        async for thing in found:
            if thing is None:
                yield sse.block(None, event="heartbeat")
            for message in translator.of(thing):
                if "output" not in message:
                    continue
                good = message["success"]
                yield sse.block(
                    message["output"]["data"] if good else message["output"],
                    event=_NAMES.get((message["msg"], good), "error"),
                )
                if ended(message):
                    return


async def _submit(frontend: Frontend, request: Request, image: object, parameters: dict[str, object]) -> str:
    with frontend.telemetry.refusing():
        caller = Caller.of(request)
        picture, _ = await read_path(frontend, caller.owner, own_path(image, host=request.headers.get("host", "")))
    asked = await sound(frontend, Inputs(picture, None, parameters), caller, model=None, major=None)
    spec, blobs = to_job(frontend, asked, traceparent=request.scope["matte"]["traceparent"], preview=True)
    return (await frontend.admit(spec, blobs)).id


async def _json(request: Request) -> dict[str, Any]:
    try:
        body = json.loads(await read_bounded(request, REST_BYTES))
    except (ValueError, RecursionError) as error:
        raise Problem("malformed_request", f"The body is not JSON: {error}") from error
    if not isinstance(body, dict):
        raise Problem("malformed_request", "The JSON body must be an object.")
    return body


def _session(request: Request, value: object) -> str:
    """The session's name among everybody's: two owners may use the same one."""
    if not isinstance(value, str) or not _ID.fullmatch(value):
        raise Problem("malformed_request", "session_hash is missing or odd.")
    return owner_of(request).scoped(value)


def _data(body: dict[str, Any]) -> Sequence[object]:
    values = body.get("data")
    if not isinstance(values, list):
        raise Problem("malformed_request", "data must be a list.")
    return values


def _by_index(request: Request, index: object) -> Endpoint:
    names: list[str] = request.app.state.gradio_endpoints
    if not isinstance(index, int) or not 0 <= index < len(names):
        raise Problem("not_found", f"There is no function {index}.")
    return ENDPOINTS[names[index]]


def _by_name(request: Request) -> Endpoint:
    name = request.path_params["api"]
    if name not in ENDPOINTS:
        raise Problem("not_found", f"There is no endpoint {name!r}. There is: {', '.join(ENDPOINTS)}.")
    return ENDPOINTS[name]
