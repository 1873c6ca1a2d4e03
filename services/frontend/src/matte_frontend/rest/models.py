"""``/models``, ``/v1/limits`` and the probes."""

from __future__ import annotations

from matte_core.errors import Problem
from matte_jobs.connect import translated
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from matte_frontend.gateway import gateway_of
from matte_frontend.rest.query import only

_JSON = "application/json"


async def list_models(request: Request) -> Response:
    """``GET /models``: what there is, with versions, weights and readiness."""
    only(request)
    catalog = await gateway_of(request).catalog.get()
    return Response(catalog.model_dump_json(), media_type=_JSON, headers={"Cache-Control": "no-store"})


async def read_model(request: Request) -> Response:
    """``GET /models/{model}``."""
    only(request)
    model = await gateway_of(request).catalog.model(request.path_params["model"])
    return Response(model.model_dump_json(), media_type=_JSON, headers={"Cache-Control": "no-store"})


async def limits(request: Request) -> Response:
    """``GET /v1/limits``: what is accepted."""
    only(request)
    return Response(gateway_of(request).limits.model_dump_json(), media_type=_JSON)


async def healthz(_request: Request) -> Response:
    """The process is alive; Redis is not asked."""
    return JSONResponse({"status": "ok"})


async def readyz(request: Request) -> Response:
    """Redis answers; not while draining. Without a model it is ready too: it says so better than an ingress would."""
    gateway = gateway_of(request)
    if gateway.draining:
        raise Problem("shutting_down", "This gateway takes no new work; another one does.", retry_after=1)
    with translated():
        await gateway.store.redis.ping()
    try:
        models = (await gateway.catalog.get()).models
    except Problem as problem:
        if problem.code != "model_not_ready":
            raise
        models = ()
    return JSONResponse({"status": "ok", "models": [model.name for model in models]})
