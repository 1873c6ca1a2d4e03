"""The frontend as an ASGI application."""

from __future__ import annotations

import asyncio
import contextlib
import importlib.metadata
import logging
import time
import uuid
from collections.abc import AsyncIterator

from matte_core.contracts.catalog import Catalog
from matte_core.errors import Problem
from matte_telemetry import tracing
from matte_telemetry.prometheus import MetricsServer, PrometheusMeter, Samples, ScrapeCollector
from starlette.applications import Starlette
from starlette.convertors import register_url_convertor
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.routing import BaseRoute, Route

from matte_frontend import metrics, openapi, pages, problems
from matte_frontend.compression import CompressionMiddleware
from matte_frontend.gradio_api import routes as gradio_routes
from matte_frontend.hosts import AllowedHosts, AllowedHostsMiddleware, Networks, TrustedProxyMiddleware
from matte_frontend.origins import AllowedOrigins, OriginMiddleware
from matte_frontend.request_context import RequestContextMiddleware
from matte_frontend.rest import admin, info, jobs, predict, rollouts
from matte_frontend.settings import FrontendSettings
from matte_frontend.state import AppState, Clock, Identify, NewId, anonymous, open_state

#: seconds a scrape waits for the store; after that it leaves the store's metrics out
_STORE_SECONDS = 5.0
log = logging.getLogger(__name__)
register_url_convertor("major", predict.MajorConvertor())


def create_app(
    settings: FrontendSettings,
    *,
    clock: Clock = time.time,
    new_id: NewId = lambda: uuid.uuid4().hex,
    identify: Identify = anonymous,
    machine: str = "",
) -> Starlette:
    """The application; its connections open and close with its lifespan. ``machine`` is this machine's host name, which
    requests may name unless the frontend listens on loopback.
    """
    version = importlib.metadata.version("matte-frontend")
    tracer, shut_down_tracing = tracing.set_up("matte-frontend", version=version, instance=new_id())
    meter = PrometheusMeter(metrics.FRONTEND)
    hosts = AllowedHosts.from_settings(settings.allowed_hosts, machine="" if settings.on_loopback else machine)
    origins = AllowedOrigins(frozenset(settings.allowed_origins), loopback=settings.on_loopback)

    @contextlib.asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        try:
            async with open_state(settings, clock, new_id, identify, meter, tracer) as state, _serve_metrics(state):
                app.state.matte = state
                yield
        finally:
            await asyncio.to_thread(shut_down_tracing)

    app = Starlette(
        routes=[
            *rest_routes(settings),
            Route("/", pages.page("index.html", "no-cache"), methods=["GET"]),
            Route("/static/{path:path}", pages.file, methods=["GET"]),
            Route("/docs", pages.page("docs.html", "no-cache"), methods=["GET"]),
            # browsers request it where no page names an icon
            Route("/favicon.ico", pages.page("favicon.svg", "public, max-age=86400"), methods=["GET"]),
        ],
        middleware=[  # the outermost first
            Middleware(RequestContextMiddleware, new_id, clock, meter, tracer),
            Middleware(TrustedProxyMiddleware, Networks(settings.trusted_proxies)),
            Middleware(OriginMiddleware, origins),
            Middleware(AllowedHostsMiddleware, hosts),
            Middleware(CompressionMiddleware),
        ],
        exception_handlers={Problem: problems.on_problem, HTTPException: problems.on_http_exception},
        lifespan=lifespan,
    )
    app.state.meter = meter
    gradio_routes.add_to(app, max_file_size=settings.max_bytes)
    return app


def rest_routes(settings: FrontendSettings) -> list[BaseRoute]:
    """The REST interface, the busiest first: routes are tried in order."""
    routes: list[BaseRoute] = [
        Route("/predict", predict.predict, methods=["POST"]),
        Route("/v{major:major}/predict", predict.predict, methods=["POST"]),
        Route("/models/{model}/predict", predict.predict, methods=["POST"]),
        Route("/v1/jobs", predict.create_job, methods=["POST"]),
        Route("/v1/jobs/{id}", jobs.read_or_delete, methods=["GET", "DELETE"]),
        Route("/v1/jobs/{id}/events", jobs.events, methods=["GET"]),
        Route("/v1/jobs/{id}/result", jobs.result, methods=["GET"]),
        Route("/models", info.list_models, methods=["GET"]),
        Route("/models/{model}", info.read_model, methods=["GET"]),
        Route("/v1/rollouts/{model}/{version}", rollouts.numbers, methods=["GET"]),
        Route("/v1/rollouts/{model}/{version}/report", rollouts.report_page, methods=["GET"]),
        Route("/v1/limits", info.limits, methods=["GET"]),
        Route("/version", info.version, methods=["GET"]),
        Route("/healthz", info.healthz, methods=["GET"]),
        Route("/readyz", info.readyz, methods=["GET"]),
        Route("/openapi.json", openapi.read, methods=["GET"]),
    ]
    if settings.admin:
        routes.append(Route("/admin/jobs", admin.jobs, methods=["GET"]))
        routes.append(Route("/admin/dead", admin.dead, methods=["GET"]))
        routes.append(Route("/admin/dead/{id}/requeue", admin.requeue, methods=["POST"]))
    return routes


# --- metrics ---


@contextlib.asynccontextmanager
async def _serve_metrics(app: AppState) -> AsyncIterator[None]:
    """Serves ``/metrics`` where the settings name a port: what the frontend counted, and the state of the store at each
    scrape. A port that is taken costs the metrics, not the frontend.
    """
    settings = app.settings
    server: MetricsServer | None = None
    if settings.metrics_port:
        registry, loop = app.meter.registry, asyncio.get_running_loop()

        def read_store() -> Samples:
            return asyncio.run_coroutine_threadsafe(_store_samples(app), loop).result(_STORE_SECONDS)

        def on_error(error: Exception) -> None:
            log.warning("store metrics left out: %s", error or type(error).__name__)

        registry.register(ScrapeCollector(metrics.STORE, read_store, on_error))
        try:
            server = MetricsServer.start(registry, host=settings.host, port=settings.metrics_port)
        except OSError as error:
            log.error("metrics port %d: %s; /metrics is not served", settings.metrics_port, error)
    try:
        yield
    finally:
        if server is not None:
            await asyncio.to_thread(server.close)


async def _store_samples(app: AppState) -> Samples:
    stats = await app.store.stats()
    try:
        catalog = await app.catalog.get()
    except Problem:
        catalog = Catalog(models=())  # inference has not started yet
    versions = [((model.name, version.version), version) for model in catalog.models for version in model.versions]
    return {
        metrics.DEAD_JOBS: [((), stats.dead_jobs)],
        metrics.STORE_USED: [((), stats.used_bytes)],
        metrics.STORE_MAX: [((), stats.max_bytes)],
        metrics.QUEUE_LENGTH: [((model.name,), model.queue_length) for model in catalog.models],
        metrics.VERSION_REPLICAS: [(labels, version.replicas) for labels, version in versions],
        metrics.VERSION_SLOTS: [(labels, version.slots) for labels, version in versions],
        metrics.VERSION_WEIGHT: [(labels, version.weight) for labels, version in versions],
    }
