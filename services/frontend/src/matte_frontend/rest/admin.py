"""``/admin``: dead letters. Served only where the settings say so."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from matte_frontend.answers import job_answer
from matte_frontend.gateway import gateway_of
from matte_frontend.rest.query import only


async def dead(request: Request) -> Response:
    """``GET /admin/dead``: jobs whose every attempt was lost, the newest first."""
    only(request)
    gateway = gateway_of(request)
    views = [await gateway.view(job_id, None) for job_id in await gateway.store.dead()]
    return JSONResponse({"jobs": [view.model_dump(mode="json") for view in views]})


async def requeue(request: Request) -> Response:
    """``POST /admin/dead/{id}/requeue``: all its attempts again."""
    only(request)
    gateway, job_id = gateway_of(request), request.path_params["id"]
    now = gateway.clock()
    await gateway.store.revive(job_id, now=now, expires_at=now + gateway.limits.job_ttl_seconds)
    return job_answer(request, await gateway.view(job_id, None), status=202)
