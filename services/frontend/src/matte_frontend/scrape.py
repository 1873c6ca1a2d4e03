"""``/metrics`` on a port of its own: what the frontend counted, and what it sees in the store just then."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator

from matte_core.contracts.catalog import Catalog
from matte_core.errors import Problem
from matte_jobs.gauges import StoreState
from matte_telemetry import names
from matte_telemetry.names import Metric
from matte_telemetry.prometheus import MetricsServer, Samples, Seen

from matte_frontend.frontend import Frontend

log = logging.getLogger(__name__)
#: a scrape waits this long (seconds) for the store; what that would have said is left out then
STORE_SECONDS = 5.0


@contextlib.asynccontextmanager
async def served(frontend: Frontend) -> AsyncIterator[None]:
    """Serves ``/metrics`` where the settings name a port. A port that is taken costs the metrics, not the frontend."""
    settings = frontend.settings
    server: MetricsServer | None = None
    if settings.metrics_port:
        registry, loop = frontend.telemetry.meter.registry, asyncio.get_running_loop()
        registry.register(Seen(names.SEEN, lambda: _read(frontend, loop), _failed))
        try:
            server = MetricsServer.start(registry, host=settings.host, port=settings.metrics_port)
        except OSError as error:
            log.error("no metrics: port %d: %s", settings.metrics_port, error)
    try:
        yield
    finally:
        if server is not None:
            await asyncio.to_thread(server.close)


def _failed(error: Exception) -> None:
    log.warning("the store's metrics are left out: %s", error or type(error).__name__)


def _read(frontend: Frontend, loop: asyncio.AbstractEventLoop) -> Samples:
    return asyncio.run_coroutine_threadsafe(_samples(frontend), loop).result(STORE_SECONDS)


async def _samples(frontend: Frontend) -> Samples:
    state = await StoreState.read(frontend.store)
    try:
        catalog = await frontend.catalog.get()
    except Problem:
        catalog = Catalog(models=())  # inference has not started yet
    return {
        names.DEAD_JOBS: [((), state.dead_jobs)],
        names.STORE_USED: [((), state.used_bytes)],
        names.STORE_MAX: [((), state.max_bytes)],
        names.QUEUE_LENGTH: [((model.name,), model.queue_length) for model in catalog.models],
        **_versions(catalog),
    }


def _versions(catalog: Catalog) -> dict[Metric, list[tuple[tuple[str, ...], float]]]:
    every = [((model.name, version.version), version) for model in catalog.models for version in model.versions]
    return {
        names.VERSION_REPLICAS: [(labels, version.replicas) for labels, version in every],
        names.VERSION_SLOTS: [(labels, version.slots) for labels, version in every],
        names.VERSION_WEIGHT: [(labels, version.weight) for labels, version in every],
    }
