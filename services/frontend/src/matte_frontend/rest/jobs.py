"""``/v1/jobs``: the same work, asked for now and fetched later."""

from __future__ import annotations

import contextlib
import re
from collections.abc import AsyncIterator

from matte_core.contracts.job import TERMINAL, Event, JobState, JobView
from matte_core.errors import Problem
from starlette.requests import Request
from starlette.responses import Response

from matte_frontend import problems, sse
from matte_frontend.admission import sound
from matte_frontend.answers import job_answer, result_answer
from matte_frontend.body import read_inputs
from matte_frontend.gateway import Gateway, gateway_of
from matte_frontend.rest.query import only
from matte_frontend.rest.submit import admit

_STREAM_ID = re.compile(r"\d{1,20}-\d{1,20}")


async def create(request: Request) -> Response:
    """``POST /v1/jobs``."""
    gateway = gateway_of(request)
    inputs = await read_inputs(request, gateway.limits.max_bytes)
    asked = await sound(gateway, inputs, model=None, major=None)
    return job_answer(request, await gateway.view(await admit(gateway, request, asked)), status=202)


async def one(request: Request) -> Response:
    """``GET`` and ``DELETE`` of ``/v1/jobs/{id}``; a job that had ended stays as it was."""
    return await (cancel if request.method == "DELETE" else read)(request)


async def read(request: Request) -> Response:
    """The job as it is."""
    only(request)
    return job_answer(request, await gateway_of(request).view(request.path_params["id"]))


async def cancel(request: Request) -> Response:
    """Ends the job, unless it had ended; answers what it is then."""
    only(request)
    gateway = gateway_of(request)
    await gateway.store.cancel(request.path_params["id"], gateway.clock())
    return job_answer(request, await gateway.view(request.path_params["id"]))


async def result(request: Request) -> Response:
    """``GET /v1/jobs/{id}/result``; ``?file=mask`` names one of two files."""
    only(request, "file")
    gateway = gateway_of(request)
    view = await gateway.view(request.path_params["id"])
    problem = problems.of_view(view)
    if problem is not None:
        raise problem
    assert view.result is not None
    file = request.query_params.get("file")
    if file is not None and file not in view.result.files:
        message = f"the job has: {', '.join(view.result.files)}"
        errors = [{"parameter": "file", "message": message}]
        raise Problem("invalid_parameter", f"There is no file {file!r}; {message}.", errors=errors)
    return await result_answer(gateway, request, view.id, view.result, file=file)


async def events(request: Request) -> Response:
    """``GET /v1/jobs/{id}/events``: server-sent events, from ``Last-Event-ID`` on.

    204 says that everything was sent before; it also stops an ``EventSource`` from asking again.
    """
    only(request)
    gateway = gateway_of(request)
    view = await gateway.view(request.path_params["id"])
    last = request.headers.get("last-event-id", "")
    after = last if _STREAM_ID.fullmatch(last) else "0"
    if view.state in TERMINAL and not await gateway.store.events(view.id, after):
        return Response(status_code=204)
    return sse.stream(_job_events(gateway, view, after))


async def _job_events(gateway: Gateway, view: JobView, after: str) -> AsyncIterator[str]:
    """Blocks of the stream; a waiting job's position in between, when it changed."""
    settings = gateway.settings
    quiet, told, waiting = 0.0, (view.position, view.queue_length), view.state is JobState.QUEUED
    if waiting:
        yield sse.block(_position(view), event="position")
    follow = gateway.notifier.follow(view.id, after=after, heartbeat=settings.position_seconds)
    async with contextlib.aclosing(follow) as found:
        async for event in found:
            if event is not None:
                waiting, quiet = _waits(event, before=waiting), 0.0
                yield sse.block(event.data | {"at": event.at}, event=event.type, id_=event.id)
                continue
            quiet += settings.position_seconds
            if waiting:
                view = await gateway.view(view.id)
                if view.state is JobState.QUEUED and told != (view.position, view.queue_length):
                    told, quiet = (view.position, view.queue_length), 0.0
                    yield sse.block(_position(view), event="position")
            if quiet >= settings.heartbeat_seconds:
                quiet = 0.0
                yield sse.COMMENT


def _waits(event: Event, *, before: bool) -> bool:
    return {"queued": True, "retrying": True, "started": False, "finished": False}.get(event.type, before)


def _position(view: JobView) -> dict[str, object]:
    return {"position": view.position, "queue_length": view.queue_length, "eta_seconds": view.eta_seconds}
