"""``/models``, ``/v1/limits``, ``/version`` and the probes."""

from __future__ import annotations

from importlib import metadata

from matte_core.contracts.catalog import Catalog
from matte_core.errors import Problem
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from matte_frontend.problems import reject_unknown_query
from matte_frontend.responses import JSON
from matte_frontend.state import app_state


async def list_models(request: Request) -> Response:
    """``GET /models``: all models, with versions, weights and readiness."""
    reject_unknown_query(request)
    catalog = await app_state(request).catalog.get()
    return Response(catalog.model_dump_json(), media_type=JSON, headers={"Cache-Control": "no-store"})


async def read_model(request: Request) -> Response:
    reject_unknown_query(request)
    model = await app_state(request).catalog.model(request.path_params["model"])
    return Response(model.model_dump_json(), media_type=JSON, headers={"Cache-Control": "no-store"})


async def limits(request: Request) -> Response:
    reject_unknown_query(request)
    return Response(app_state(request).limits.model_dump_json(), media_type=JSON)


async def version(request: Request) -> Response:
    """``GET /version``: what runs here, and the majors of the REST interface that it serves."""
    reject_unknown_query(request)
    revision = app_state(request).settings.revision or None
    return JSONResponse({"version": metadata.version("matte-frontend"), "revision": revision, "api": ["v1"]})


async def healthz(_request: Request) -> Response:
    """The process is alive; Redis is not asked."""
    return JSONResponse({"status": "ok"})


async def readyz(request: Request) -> Response:
    """A picture sent now would be answered; behind a balancer (``ready_needs: store``): it would be queued. Raises
    Problem: shutting_down, storage_unavailable, model_not_ready.
    """
    app = app_state(request)
    if app.draining:
        raise Problem("shutting_down", "This frontend takes no new work; another one does.", retry_after=1)
    await app.store.redis.ping()
    try:
        catalog = await app.catalog.get()
    except Problem as problem:
        if problem.code != "model_not_ready" or app.settings.ready_needs == "model":
            raise
        catalog = Catalog(models=())
    if app.settings.ready_needs == "model":
        default = catalog.model(catalog.default_model)
        if default is None:
            raise Problem("model_not_ready", "There is no default model.", retry_after=5)
        if not default.served:
            detail = f"No router is alive, so jobs of {default.name} wait in the queue; it is being started."
            raise Problem("model_not_ready", detail, retry_after=5)
        if not default.ready:
            detail = f"No replica of {default.name} is alive; jobs wait in the queue for it."
            raise Problem("model_not_ready", detail, retry_after=5)
    return JSONResponse({"status": "ok", "models": [model.name for model in catalog.models]})
