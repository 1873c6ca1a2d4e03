"""``/v1/jobs/{id}``: a job's state, events and result."""

from __future__ import annotations

import contextlib
import dataclasses
import re
from collections.abc import AsyncIterator

from matte_core.contracts.job import TERMINAL
from starlette.requests import Request
from starlette.responses import Response

from matte_frontend.job_events import QueuePosition, job_events
from matte_frontend.problems import invalid_parameter, reject_unknown_query, view_problem
from matte_frontend.responses import job_response, result_response
from matte_frontend.sse import HEARTBEAT, EventStreamResponse, format_event
from matte_frontend.state import app_state, owner_of

_STREAM_ID = re.compile(r"([0-9]{1,20})-([0-9]{1,20})")
#: seconds that the store's clock may be ahead of ours
_MAX_CLOCK_SKEW = 600


async def read_or_delete(request: Request) -> Response:
    """``GET`` and ``DELETE`` of ``/v1/jobs/{id}``. DELETE cancels the job, or removes one that had ended, with its
    pictures; it answers with the job as it ended.
    """
    reject_unknown_query(request)
    app = app_state(request)
    act = app.delete if request.method == "DELETE" else app.view
    return job_response(request, await act(request.path_params["id"], owner_of(request)))


async def result(request: Request) -> Response:
    """``GET /v1/jobs/{id}/result``; ``?file=mask`` names one of two files."""
    reject_unknown_query(request, "file")
    app = app_state(request)
    view = await app.view(request.path_params["id"], owner_of(request))
    if (problem := view_problem(view)) is not None:
        raise problem
    assert view.result is not None
    file = request.query_params.get("file")
    if file is not None and file not in view.result.files:
        message = f"the job has: {', '.join(view.result.files)}"
        raise invalid_parameter("file", message, f"There is no file {file!r}; {message}.")
    return await result_response(app, request, view.id, view.result, file=file)


async def events(request: Request) -> Response:
    """``GET /v1/jobs/{id}/events``: server-sent events, from ``Last-Event-ID`` on.

    204 says that everything was sent before; it also stops an ``EventSource`` from reconnecting.
    """
    reject_unknown_query(request)
    app, owner = app_state(request), owner_of(request)
    view = await app.view(request.path_params["id"], owner)
    # ids are those of a Redis stream: milliseconds, and a number of 64 bits; an invalid one starts from the beginning,
    # and so does one of the future, after which nothing would ever come
    after = request.headers.get("last-event-id", "")
    match = _STREAM_ID.fullmatch(after)
    if match is None or int(match[1]) > (app.clock() + _MAX_CLOCK_SKEW) * 1000 or int(match[2]) >= 2**64:
        after = "0"
    if view.state in TERMINAL and not await app.store.events(view.id, after):
        return Response(status_code=204)

    async def stream() -> AsyncIterator[str]:
        async with contextlib.aclosing(job_events(app, view.id, owner, after)) as items:
            async for item in items:
                if item is None:
                    yield HEARTBEAT
                elif isinstance(item, QueuePosition):
                    yield format_event(dataclasses.asdict(item), event="position")
                else:
                    yield format_event(item.data | {"at": item.at}, event=item.type, id_=item.id)

    return EventStreamResponse(stream())
