"""What the handlers of one frontend process share: settings, connections, telemetry, the cached catalog."""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial

from matte_core.contracts.catalog import Catalog, ModelView, Route
from matte_core.contracts.job import ANONYMOUS, JobSpec, JobView, Limits, Owner
from matte_core.domain.eta import Cost, weighted_mean
from matte_core.errors import Problem
from matte_jobs.catalog import CatalogStore
from matte_jobs.events import EventBroker
from matte_jobs.store import Admission, JobStore
from matte_jobs.views import Capacity, CapacityLookup, unknown_capacity
from matte_telemetry import attributes, tracing
from matte_telemetry.prometheus import PrometheusMeter
from opentelemetry.trace import SpanKind, Tracer
from starlette.requests import Request

from matte_frontend import metrics
from matte_frontend.settings import FrontendSettings

#: Unix seconds
Clock = Callable[[], float]
#: 32 hexadecimal digits nobody can guess: ids of jobs, uploads and requests are capabilities
NewId = Callable[[], str]
Identify = Callable[[Request], Owner]


def anonymous(_request: Request) -> Owner:
    return ANONYMOUS


class CatalogCache:
    """The catalog and whether the store has room, read again after ``seconds``; concurrent callers share one read."""

    def __init__(self, store: JobStore, *, seconds: float, clock: Clock) -> None:
        self._store = store
        self._source = CatalogStore(store)
        self._seconds = seconds
        self._clock = clock
        self._lock = asyncio.Lock()
        self._catalog: Catalog | None = None
        self._routes: dict[str, Route] = {}
        self._expires = 0.0
        self.has_memory = True

    async def get(self) -> Catalog:
        """Raises Problem: model_not_ready, storage_unavailable."""
        if self._catalog is not None and self._clock() < self._expires:
            return self._catalog
        async with self._lock:
            if self._catalog is None or self._clock() >= self._expires:
                table, self._catalog = await self._source.routes_and_catalog(self._clock())
                self._routes = {route.model: route for route in table.routes}
                self.has_memory = await self._store.has_memory_for_jobs()
                self._expires = self._clock() + self._seconds
            return self._catalog

    async def route(self, name: str | None) -> Route:
        """One model's route, as old as the catalog; raises as :meth:`model`."""
        model = await self.model(name)
        return self._routes[model.name]  # looked up after the wait: the routes that were read with the model

    async def model(self, name: str | None) -> ModelView:
        """One model; None: the default one. Raises Problem: model_not_found, or model_not_ready while there is none."""
        catalog = await self.get()
        model = catalog.model(name or catalog.default_model)
        if model is not None:
            return model
        available = [model.name for model in catalog.models]
        if not available:
            raise Problem("model_not_ready", "No model is served yet.", retry_after=5)
        missing = f"There is no model {name!r}" if name else "There is no default model: name one"
        raise Problem("model_not_found", f"{missing}. There is: {', '.join(available)}.", models=available)


@dataclass(slots=True)
class AppState:
    """``identify`` says who owns what comes of a request: to everybody else it does not exist."""

    settings: FrontendSettings
    limits: Limits
    store: JobStore
    event_broker: EventBroker
    catalog: CatalogCache
    clock: Clock
    new_id: NewId
    identify: Identify
    meter: PrometheusMeter
    tracer: Tracer
    draining: bool = False

    @contextlib.contextmanager
    def count_rejections(self, model: str = "") -> Iterator[None]:
        """Counts a :class:`Problem` raised within; ``model`` is '' while it is not known."""
        try:
            yield
        except Problem as problem:
            self.meter.add(metrics.JOBS_REFUSED, model, problem.code)
            raise

    async def admit(self, spec: JobSpec, data: Mapping[str, bytes]) -> Admission:
        """Queues a job, in a span that is the parent of everything that happens to it."""
        span = tracing.start_span(
            self.tracer, f"admit {spec.model}", at=self.clock(), parent=spec.traceparent,
            kind=SpanKind.PRODUCER,
        )  # fmt: skip
        if span.is_recording():
            span.set_attributes(
                {
                    attributes.MESSAGING_SYSTEM: "redis", attributes.MESSAGING_OPERATION: "send",
                    attributes.MESSAGING_DESTINATION: spec.model, attributes.MESSAGING_ID: spec.id,
                    attributes.MESSAGING_SIZE: spec.image.size, attributes.JOB_ID: spec.id,
                    attributes.MODEL: spec.model, attributes.MEGAPIXELS: spec.picture.megapixels,
                }
            )  # fmt: skip
        if (traceparent := tracing.traceparent(span)) != spec.traceparent:
            spec = spec.model_copy(update={"traceparent": traceparent})
        try:
            with self.count_rejections(spec.model):
                admitted = await self.store.admit(spec, data, self.clock(), await self._capacity())
        except Exception as error:
            error_type = error.code if isinstance(error, Problem) else type(error).__name__
            tracing.end_span(span, self.clock(), error=error_type)
            raise
        tracing.end_span(span, self.clock())
        if not admitted.existing:
            self.meter.add(metrics.JOBS_ADMITTED, spec.model)
        return admitted

    async def view(self, job_id: str, owner: Owner | None) -> JobView:
        """A job as its owner sees it, or, with None, an administrator. Raises Problem: job_not_found."""
        return await self.store.view(job_id, self.clock(), await self._capacity(), owner=owner)

    async def delete(self, job_id: str, owner: Owner) -> JobView:
        """Cancels a job, or removes one that had ended, with its pictures; returns it as it ended."""
        if await self.store.cancel(job_id, self.clock(), owner=owner):
            return await self.view(job_id, owner)
        view = await self.view(job_id, owner)
        await self.store.remove(job_id, self.clock(), owner=owner)
        return view

    async def _capacity(self) -> CapacityLookup:
        """By the catalog; nothing is measured while there is none."""
        try:
            return partial(capacity, await self.catalog.get())
        except Problem:
            return unknown_capacity


def capacity(catalog: Catalog, model: str, version: str | None) -> Capacity:
    """What can run a job of ``model``: its pinned version, or all that get traffic, with the mean cost by weight.

    Nobody knows when a version will be there that is being downloaded: it has no cost, so its jobs have no ETA.
    """
    view = catalog.model(model)
    versions = [v for v in view.versions if v.version == version or (version is None and v.weight)] if view else []
    costs = [
        (
            Cost(v.seconds_per_picture, v.seconds_per_megapixel, v.most_seconds_per_megapixel or math.inf),
            1 if v.version == version else v.weight,
        )
        for v in versions
        if v.seconds_per_picture is not None and v.seconds_per_megapixel is not None and (v.ready or not v.download)
    ]
    return Capacity(frozenset(v.version for v in versions), sum(v.slots for v in versions), weighted_mean(costs))


@contextlib.asynccontextmanager
async def open_state(
    settings: FrontendSettings, clock: Clock, new_id: NewId, identify: Identify, meter: PrometheusMeter, tracer: Tracer
) -> AsyncIterator[AppState]:
    """The state with its connections, which are closed at the end."""
    async with contextlib.AsyncExitStack() as stack:
        store = JobStore.open(settings)
        stack.push_async_callback(store.close)
        event_broker = EventBroker(store, new_id())
        await event_broker.start()
        stack.push_async_callback(event_broker.close)
        cache = CatalogCache(store, seconds=settings.catalog_seconds, clock=clock)
        yield AppState(settings, settings.limits, store, event_broker, cache, clock, new_id, identify, meter, tracer)


def app_state(request: Request) -> AppState:
    state: AppState = request.app.state.matte
    return state


def owner_of(request: Request) -> Owner:
    return app_state(request).identify(request)
