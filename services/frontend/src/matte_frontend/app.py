"""The frontend as an ASGI application."""

from __future__ import annotations

import asyncio
import contextlib
import importlib.metadata
import time
import uuid
from collections.abc import AsyncIterator

from matte_core.errors import Problem
from matte_telemetry import tracing
from starlette.applications import Starlette
from starlette.convertors import register_url_convertor
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.routing import BaseRoute, Route

from matte_frontend import openapi, pages, problems, scrape
from matte_frontend.addresses import Networks
from matte_frontend.compression import Compression
from matte_frontend.edge import Edge
from matte_frontend.frontend import Clock, Identify, NewId, anonymous, opened
from matte_frontend.gradio_api import routes as gradio_routes
from matte_frontend.hosts import AllowedHosts, Hosts
from matte_frontend.origins import AllowedOrigins, Origins
from matte_frontend.proxies import TrustedProxies
from matte_frontend.rest import admin, jobs, models, predict, rollouts
from matte_frontend.settings import FrontendSettings
from matte_frontend.telemetry import Telemetry

register_url_convertor("major", predict.Major())
VERSION = importlib.metadata.version("matte-frontend")


def new_uuid() -> str:
    """32 hexadecimal digits, 122 of the bits random."""
    return uuid.uuid4().hex


def create_app(
    settings: FrontendSettings,
    *,
    clock: Clock = time.time,
    new_id: NewId = new_uuid,
    identify: Identify = anonymous,
    machine: str = "",
) -> Starlette:
    """The application; its connections open and close with its lifespan.

    Args:
        settings: what it listens on and accepts.
        clock: Unix seconds.
        new_id: makes ids of jobs, uploads and requests; they are capabilities, so nobody may guess them.
        identify: says whose a request is, and with it everything that comes of it.
        machine: this machine's host name, by which it may be called unless it listens on loopback.
    """

    tracer, shut_down_tracing = tracing.set_up("matte-frontend", version=VERSION, instance=new_id())
    telemetry = Telemetry(tracer=tracer)

    @contextlib.asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        try:
            async with opened(settings, clock, new_id, telemetry, identify) as frontend, scrape.served(frontend):
                app.state.frontend = frontend
                yield
        finally:
            await asyncio.to_thread(shut_down_tracing)

    app = Starlette(
        routes=[*rest_routes(settings), *page_routes()],
        middleware=[Middleware(Edge, new_id, clock, telemetry), *layers(settings, machine)],
        exception_handlers={Problem: problems.on_problem, HTTPException: problems.on_http_exception},
        lifespan=lifespan,
    )
    app.state.telemetry = telemetry
    gradio_routes.add_to(app, max_file_size=settings.max_bytes)
    return app


def layers(settings: FrontendSettings, machine: str) -> list[Middleware]:
    """What every request passes after the edge, the outermost first."""
    return [
        Middleware(TrustedProxies, Networks(settings.trusted_proxies)),
        Middleware(Origins, AllowedOrigins.of(settings.allowed_origins, loopback=settings.on_loopback)),
        Middleware(Hosts, AllowedHosts.of(settings.allowed_hosts, machine="" if settings.on_loopback else machine)),
        Middleware(Compression),
    ]


def rest_routes(settings: FrontendSettings) -> list[BaseRoute]:
    """The REST interface, the busiest first: routes are tried in order."""
    routes: list[BaseRoute] = [
        Route("/predict", predict.predict_default, methods=["POST"]),
        Route("/v{major:major}/predict", predict.predict_major, methods=["POST"]),
        Route("/models/{model}/predict", predict.predict_model, methods=["POST"]),
        Route("/v1/jobs", jobs.create, methods=["POST"]),
        Route("/v1/jobs/{id}", jobs.one, methods=["GET", "DELETE"]),
        Route("/v1/jobs/{id}/events", jobs.events, methods=["GET"]),
        Route("/v1/jobs/{id}/result", jobs.result, methods=["GET"]),
        Route("/models", models.list_models, methods=["GET"]),
        Route("/models/{model}", models.read_model, methods=["GET"]),
        Route("/v1/rollouts/{model}/{version}", rollouts.numbers, methods=["GET"]),
        Route("/v1/rollouts/{model}/{version}/report", rollouts.report_page, methods=["GET"]),
        Route("/v1/limits", models.limits, methods=["GET"]),
        Route("/version", models.version, methods=["GET"]),
        Route("/healthz", models.healthz, methods=["GET"]),
        Route("/readyz", models.readyz, methods=["GET"]),
        Route("/openapi.json", openapi.read, methods=["GET"]),
    ]
    if settings.admin:
        routes.append(Route("/admin/jobs", admin.jobs, methods=["GET"]))
        routes.append(Route("/admin/dead", admin.dead, methods=["GET"]))
        routes.append(Route("/admin/dead/{id}/requeue", admin.requeue, methods=["POST"]))
    return routes


def page_routes() -> list[BaseRoute]:
    """The pages."""
    return [
        Route("/", pages.index, methods=["GET"]),
        Route("/static/{path:path}", pages.file, methods=["GET"]),
        Route("/docs", pages.docs, methods=["GET"]),
        Route("/favicon.ico", pages.favicon, methods=["GET"]),
    ]
