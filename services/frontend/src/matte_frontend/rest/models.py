"""``/models``, ``/v1/limits`` and the probes."""

from __future__ import annotations

from importlib import metadata

from matte_core.contracts.catalog import Catalog
from matte_core.errors import Problem
from matte_jobs.connect import translated
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from matte_frontend.frontend import frontend_of
from matte_frontend.rest.query import only

_JSON = "application/json"


async def list_models(request: Request) -> Response:
    """``GET /models``: what there is, with versions, weights and readiness."""
    only(request)
    catalog = await frontend_of(request).catalog.get()
    return Response(catalog.model_dump_json(), media_type=_JSON, headers={"Cache-Control": "no-store"})


async def read_model(request: Request) -> Response:
    """``GET /models/{model}``."""
    only(request)
    model = await frontend_of(request).catalog.model(request.path_params["model"])
    return Response(model.model_dump_json(), media_type=_JSON, headers={"Cache-Control": "no-store"})


async def limits(request: Request) -> Response:
    """``GET /v1/limits``: what is accepted."""
    only(request)
    return Response(frontend_of(request).limits.model_dump_json(), media_type=_JSON)


async def version(request: Request) -> Response:
    """``GET /version``: what runs here, and the majors of the REST interface that it serves."""
    only(request)
    found = {"version": metadata.version("matte-frontend"), "revision": frontend_of(request).settings.revision or None}
    return JSONResponse(found | {"api": ["v1"]})


async def healthz(_request: Request) -> Response:
    """The process is alive; Redis is not asked."""
    return JSONResponse({"status": "ok"})


async def readyz(request: Request) -> Response:
    """A picture sent now would be answered; behind a balancer (``ready_needs: store``): it would be taken and kept.

    Raises:
        Problem: shutting_down, storage_unavailable, model_not_ready.
    """
    frontend = frontend_of(request)
    if frontend.draining:
        raise Problem("shutting_down", "This frontend takes no new work; another one does.", retry_after=1)
    with translated():
        await frontend.store.redis.ping()
    try:
        catalog = await frontend.catalog.get()
    except Problem as problem:
        if problem.code != "model_not_ready" or frontend.settings.ready_needs == "model":
            raise
        catalog = Catalog(models=())
    if frontend.settings.ready_needs == "model" and (reason := _not_ready(catalog)):
        raise Problem("model_not_ready", reason, retry_after=5)
    return JSONResponse({"status": "ok", "models": [model.name for model in catalog.models]})


def _not_ready(catalog: Catalog) -> str:
    """Why the default model would not answer now; '' when it would."""
    default = catalog.model(catalog.default_model)
    if default is None:
        return "There is no default model."
    if not default.served:
        return f"No router is alive, so jobs of {default.name} wait in the queue; it is being started."
    return "" if default.ready else f"No replica of {default.name} is alive; jobs wait in the queue for it."
