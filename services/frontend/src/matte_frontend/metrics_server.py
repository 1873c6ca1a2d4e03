"""``/metrics`` on a port of its own: what the frontend counted, and the state of the store at each scrape."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator

from matte_core.contracts.catalog import Catalog
from matte_core.errors import Problem
from matte_telemetry.prometheus import MetricsServer, Samples, ScrapeCollector

from matte_frontend import metrics
from matte_frontend.state import AppState

log = logging.getLogger(__name__)
#: seconds a scrape waits for the store; after that it leaves the store's metrics out
STORE_SECONDS = 5.0


@contextlib.asynccontextmanager
async def serve_metrics(app: AppState) -> AsyncIterator[None]:
    """Serves ``/metrics`` where the settings name a port. A port that is taken costs the metrics, not the frontend."""
    settings = app.settings
    server: MetricsServer | None = None
    if settings.metrics_port:
        registry, loop = app.meter.registry, asyncio.get_running_loop()

        def read_store() -> Samples:
            return asyncio.run_coroutine_threadsafe(_read_store(app), loop).result(STORE_SECONDS)

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


async def _read_store(app: AppState) -> Samples:
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
