"""``/v1/jobs``: the same work, asked for now and fetched later."""

from __future__ import annotations

import contextlib
import dataclasses
import re
from collections.abc import AsyncGenerator, AsyncIterator

from matte_core.contracts.job import TERMINAL, Event
from matte_core.errors import Problem
from starlette.requests import Request
from starlette.responses import Response

from matte_frontend import problems, sse
from matte_frontend.admission import sound
from matte_frontend.answers import job_answer, result_answer
from matte_frontend.body import read_inputs
from matte_frontend.caller import Caller, owner_of
from matte_frontend.following import Waiting, follow
from matte_frontend.frontend import frontend_of
from matte_frontend.rest.query import only
from matte_frontend.rest.submit import admit

_STREAM_ID = re.compile(r"([0-9]{1,20})-([0-9]{1,20})")
#: seconds that the store's clock may be ahead of ours
_SKEW = 600


async def create(request: Request) -> Response:
    """``POST /v1/jobs``."""
    frontend = frontend_of(request)
    with frontend.telemetry.refusing():
        caller = Caller.of(request)
        inputs = await read_inputs(request, frontend.limits.max_bytes)
    asked = await sound(frontend, inputs, caller, model=None, major=None)
    return job_answer(request, await frontend.view(await admit(frontend, request, asked), caller.owner), status=202)


async def one(request: Request) -> Response:
    """``GET`` and ``DELETE`` of ``/v1/jobs/{id}``."""
    return await (delete if request.method == "DELETE" else read)(request)


async def read(request: Request) -> Response:
    """The job as it is."""
    only(request)
    return job_answer(request, await frontend_of(request).view(request.path_params["id"], owner_of(request)))


async def delete(request: Request) -> Response:
    """Ends the job, or removes one that had ended, with its pictures; answers what it was in the end."""
    only(request)
    return job_answer(request, await frontend_of(request).delete(request.path_params["id"], owner_of(request)))


async def result(request: Request) -> Response:
    """``GET /v1/jobs/{id}/result``; ``?file=mask`` names one of two files."""
    only(request, "file")
    frontend = frontend_of(request)
    view = await frontend.view(request.path_params["id"], owner_of(request))
    problem = problems.of_view(view)
    if problem is not None:
        raise problem
    assert view.result is not None
    file = request.query_params.get("file")
    if file is not None and file not in view.result.files:
        message = f"the job has: {', '.join(view.result.files)}"
        errors = [{"parameter": "file", "message": message}]
        raise Problem("invalid_parameter", f"There is no file {file!r}; {message}.", errors=errors)
    return await result_answer(frontend, request, view.id, view.result, file=file)


async def events(request: Request) -> Response:
    """``GET /v1/jobs/{id}/events``: server-sent events, from ``Last-Event-ID`` on.

    204 says that everything was sent before; it also stops an ``EventSource`` from asking again.
    """
    only(request)
    frontend, owner = frontend_of(request), owner_of(request)
    view = await frontend.view(request.path_params["id"], owner)
    after = resume_after(request.headers.get("last-event-id", ""), frontend.clock())
    if view.state in TERMINAL and not await frontend.store.events(view.id, after):
        return Response(status_code=204)
    return sse.stream(_blocks(follow(frontend, view.id, owner, after)))


def resume_after(last: str, now: float) -> str:
    """The event after which a stream goes on: ``last``, or ``0`` for all of them where it is no id of ours.

    Ids are those of a Redis stream: milliseconds, and a number of 64 bits. Nothing comes after one of the future: its
    reader would wait for ever.
    """
    found = _STREAM_ID.fullmatch(last)
    if found is None or int(found[1]) > (now + _SKEW) * 1000 or int(found[2]) >= 2**64:
        return "0"
    return last


async def _blocks(found: AsyncGenerator[Event | Waiting | None]) -> AsyncIterator[str]:
    async with contextlib.aclosing(found):
        async for thing in found:
            if thing is None:
                yield sse.COMMENT
            elif isinstance(thing, Waiting):
                yield sse.block(dataclasses.asdict(thing), event="position")
            else:
                yield sse.block(thing.data | {"at": thing.at}, event=thing.type, id_=thing.id)
