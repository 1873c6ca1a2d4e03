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
#: statuses of Starlette's own errors; any other is ``malformed_request``
_CODES = {404: "not_found", 405: "method_not_allowed", 413: "payload_too_large"}


def problem_response(
    problem: Problem, *, instance: str | None = None, headers: dict[str, str] | None = None
) -> Response:
    headers = dict(headers or {}) | {"Cache-Control": "no-store"}
    if problem.retry_after is not None:
        headers["Retry-After"] = str(math.ceil(problem.retry_after))
    return Response(json.dumps(problem.document(instance)), problem.status, headers, MEDIA_TYPE)


def on_problem(request: Request, problem: Exception) -> Response:
    """Starlette's exception handler for :class:`Problem`."""
    assert isinstance(problem, Problem)
    return problem_response(problem, instance=request.url.path)


def on_http_exception(request: Request, error: Exception) -> Response:
    """Starlette's exception handler for its own ``HTTPException``."""
    assert isinstance(error, HTTPException)
    code = _CODES.get(error.status_code, "malformed_request")
    detail = {
        "not_found": f"There is nothing at {request.url.path}; /openapi.json lists what there is.",
        "method_not_allowed": f"{request.url.path} does not take {request.method}.",
    }.get(code, str(error.detail))
    return problem_response(Problem(code, detail), instance=request.url.path, headers=dict(error.headers or {}))


def unknown_parameter(detail: str, name: str, allowed: list[str]) -> Problem:
    return Problem("unknown_parameter", detail, parameter=name, allowed=allowed)


def reject_unknown_query(request: Request, *allowed: str) -> None:
    if request.url.query:
        for name in request.query_params:
            if name not in allowed:
                takes = f"it takes {', '.join(allowed)}" if allowed else "it takes none"
                raise unknown_parameter(f"{request.url.path} has no parameter {name!r}; {takes}.", name, list(allowed))


def invalid_parameter(name: str, message: str, detail: str = "") -> Problem:
    """``invalid_parameter`` for one parameter or header; ``detail`` is ``name: message.`` unless given."""
    errors = [{"parameter": name, "message": message}]
    return Problem("invalid_parameter", detail or f"{name}: {message}.", errors=errors)


def job_problem(job_id: str, state: JobState, error: dict[str, Any] | None) -> Problem | None:
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


def event_problem(job_id: str, finished: Event) -> Problem | None:
    """:func:`job_problem` by the job's ``finished`` event."""
    return job_problem(job_id, JobState(finished.data["state"]), finished.data.get("error"))


def view_problem(view: JobView) -> Problem | None:
    """Why a job has no result now; None if it has one."""
    if view.state in (JobState.QUEUED, JobState.RUNNING):
        return Problem(
            "job_not_finished", f"The job is {view.state}.", retry_after=retry_after(view.eta_seconds), job=view.id
        )
    return job_problem(view.id, view.state, view.error)
