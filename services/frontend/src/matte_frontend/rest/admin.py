"""``/admin``: lists of jobs, and dead letters. Served only where the settings say so."""

from __future__ import annotations

import contextlib
import re

from matte_core.contracts.job import JobState
from matte_core.errors import Problem
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from matte_frontend.problems import reject_unknown_query
from matte_frontend.responses import job_response
from matte_frontend.state import app_state

_CURSOR = re.compile(r"\d{1,19}")
_PAGE_SIZE = 200


async def jobs(request: Request) -> Response:
    """``GET /admin/jobs``: jobs of all owners, in pages and in no order; ``next`` is the next page's ``cursor``."""
    reject_unknown_query(request, "state", "cursor")
    app, query = app_state(request), request.query_params
    state, cursor = query.get("state"), query.get("cursor", "0")
    if state is not None and state not in set(JobState):
        raise Problem("invalid_parameter", f"There is no state {state!r}; there is: {', '.join(JobState)}.")
    if not _CURSOR.fullmatch(cursor):
        raise Problem("invalid_parameter", "cursor is what the page before said as next.")
    ids, next_cursor = await app.store.list_job_ids(
        None if state is None else JobState(state), int(cursor), enough=_PAGE_SIZE
    )
    views = []
    for job_id in ids:
        with contextlib.suppress(Problem):  # the job was removed meanwhile
            views.append((await app.view(job_id, None)).model_dump(mode="json"))
    return JSONResponse({"jobs": views, "next": str(next_cursor) if next_cursor else None})


async def dead(request: Request) -> Response:
    """``GET /admin/dead``: jobs whose every attempt was lost, the newest first."""
    reject_unknown_query(request)
    app = app_state(request)
    views = [await app.view(job_id, None) for job_id in await app.store.dead_job_ids()]
    return JSONResponse({"jobs": [view.model_dump(mode="json") for view in views]})


async def requeue(request: Request) -> Response:
    """``POST /admin/dead/{id}/requeue``: the job gets all its attempts again."""
    reject_unknown_query(request)
    app, job_id = app_state(request), request.path_params["id"]
    now = app.clock()
    await app.store.requeue_dead(job_id, now=now, expires_at=now + app.limits.job_ttl_seconds)
    return job_response(request, await app.view(job_id, None), status=202)
