"""Every error as RFC 9457 ``application/problem+json``."""

from __future__ import annotations

import json
import math
from typing import Any

from matte_core.contracts.job import Event, JobState, JobView
from matte_core.domain.eta import retry_after
from matte_core.errors import Problem
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

MEDIA_TYPE = "application/problem+json"
#: statuses that the framework itself answers with, and what they are called here
_CODES = {404: "not_found", 405: "method_not_allowed", 413: "payload_too_large"}


def respond(problem: Problem, *, instance: str | None = None, headers: dict[str, str] | None = None) -> Response:
    """The answer to a request that met a problem."""
    headers = dict(headers or {}) | {"Cache-Control": "no-store"}
    if problem.retry_after is not None:
        headers["Retry-After"] = str(math.ceil(problem.retry_after))
    return Response(json.dumps(problem.document(instance)), problem.status, headers, MEDIA_TYPE)


def on_problem(request: Request, problem: Exception) -> Response:
    """Starlette's handler for :class:`Problem`."""
    assert isinstance(problem, Problem)
    return respond(problem, instance=request.url.path)


def on_http_exception(request: Request, error: Exception) -> Response:
    """Starlette's handler for its own ``HTTPException``."""
    assert isinstance(error, HTTPException)
    code = _CODES.get(error.status_code, "malformed_request")
    detail = {
        "not_found": f"There is nothing at {request.url.path}; /openapi.json lists what there is.",
        "method_not_allowed": f"{request.url.path} does not take {request.method}.",
    }.get(code, str(error.detail))
    return respond(Problem(code, detail), instance=request.url.path, headers=dict(error.headers or {}))


def of_end(job_id: str, state: JobState, error: dict[str, Any] | None) -> Problem | None:
    """Why a job that ended has no result; None if it has one."""
    if state is JobState.CANCELED:
        return Problem("job_canceled", "The job was canceled before it had a result.", job=job_id)
    if state is JobState.EXPIRED:
        return Problem("job_expired", "The job waited longer than jobs may; send the picture again later.", job=job_id)
    if state in (JobState.FAILED, JobState.DEAD):
        problem = Problem.from_document(error or {})
        problem.extensions.setdefault("job", job_id)
        return problem
    return None


def of_event(job_id: str, event: Event) -> Problem | None:
    """:func:`of_end` for a ``finished`` event."""
    return of_end(job_id, JobState(event.data["state"]), event.data.get("error"))


def of_view(view: JobView) -> Problem | None:
    """Why a job has no result now; None if it has one."""
    if view.state in (JobState.QUEUED, JobState.RUNNING):
        return Problem(
            "job_not_finished", f"The job is {view.state}.", retry_after=retry_after(view.eta_seconds), job=view.id
        )
    return of_end(view.id, view.state, view.error)
