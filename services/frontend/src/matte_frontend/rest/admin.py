"""``/admin``: lists of jobs, and dead letters. Served only where the settings say so."""

from __future__ import annotations

import contextlib
import re

from matte_core.contracts.job import JobState
from matte_core.errors import Problem
from matte_jobs.listing import list_job_ids
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from matte_frontend.answers import job_answer
from matte_frontend.frontend import frontend_of
from matte_frontend.rest.query import only

_CURSOR = re.compile(r"\d{1,19}")


_PAGE = 200


async def jobs(request: Request) -> Response:
    """``GET /admin/jobs``: jobs of everybody, in pages and without an order; ``next`` is the next page's ``cursor``."""
    only(request, "state", "cursor")
    frontend, query = frontend_of(request), request.query_params
    state, cursor = query.get("state"), query.get("cursor", "0")
    if state is not None and state not in set(JobState):
        raise Problem("invalid_parameter", f"There is no state {state!r}; there is: {', '.join(JobState)}.")
    if not _CURSOR.fullmatch(cursor):
        raise Problem("invalid_parameter", "cursor is what the page before said as next.")
    ids, following = await list_job_ids(
        frontend.store, None if state is None else JobState(state), int(cursor), enough=_PAGE
    )
    views = []
    for job_id in ids:
        with contextlib.suppress(Problem):  # it is gone meanwhile
            views.append((await frontend.view(job_id, None)).model_dump(mode="json"))
    return JSONResponse({"jobs": views, "next": str(following) if following else None})


async def dead(request: Request) -> Response:
    """``GET /admin/dead``: jobs whose every attempt was lost, the newest first."""
    only(request)
    frontend = frontend_of(request)
    views = [await frontend.view(job_id, None) for job_id in await frontend.store.dead_job_ids()]
    return JSONResponse({"jobs": [view.model_dump(mode="json") for view in views]})


async def requeue(request: Request) -> Response:
    """``POST /admin/dead/{id}/requeue``: all its attempts again."""
    only(request)
    frontend, job_id = frontend_of(request), request.path_params["id"]
    now = frontend.clock()
    await frontend.store.requeue_dead(job_id, now=now, expires_at=now + frontend.limits.job_ttl_seconds)
    return job_answer(request, await frontend.view(job_id, None), status=202)
