"""The router's loop, apart from Ray: what it is given is a way to run a job on a version."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import logging
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Protocol

from matte_core.contracts.catalog import Replica, Route, RouteTable
from matte_core.domain.routing import choose, sole_arm
from matte_core.errors import Problem
from matte_jobs.catalog import CatalogStore
from matte_jobs.store import JobStore, Lease
from matte_telemetry import attributes, logs, names
from matte_telemetry.instruments import Instruments
from matte_telemetry.names import RELEASED
from matte_telemetry.tracing import Span, SpanKind

from matte_inference.router.slots import free_slots

log = logging.getLogger("matte.router")


class Runner(Protocol):
    """Runs a leased job on a model version; returns when its outcome is stored, raises when it is not."""

    def __call__(self, model: str, version: str, lease: Lease, /) -> Awaitable[None]:
        """The job on that version."""
        ...


class RouterService:
    """Pulls, routes, hands over, renews and sweeps.

    Args:
        store: the job store, for this service alone; it is closed with it.
        run: hands a job to a version.
        name: who holds the leases.
        pool: whose replicas are used, and under which name the table is published.
        clock: Unix seconds.
        draw: uniform in [0, 1).
        lease_seconds: how long a job is ours without a sign of life.
        instruments: count what is lost on the way, and make a span of each job that is handed over.
    """

    def __init__(
        self,
        store: JobStore,
        run: Runner,
        *,
        name: str,
        pool: str,
        clock: Callable[[], float],
        draw: Callable[[], float],
        lease_seconds: float,
        instruments: Instruments,
    ) -> None:
        self._store = store
        self._catalog = CatalogStore(store)
        self._bell = store.bell()
        self._run = run
        self._name = name
        self._pool = pool
        self._clock = clock
        self._draw = draw
        self._lease_seconds = lease_seconds
        self._meter = instruments.meter
        self._tracer = instruments.tracer
        self._table: RouteTable | None = None
        self._replicas: list[Replica] = []
        self._routers = 1
        self._observed = 0.0
        self._held: Counter[tuple[str, str]] = Counter()
        self._leases: dict[str, tuple[str, asyncio.Task[None]]] = {}
        self._wake = asyncio.Event()
        self._unpublished = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Begins to pull."""
        await self._bell.start()
        loops = (self._pump, self._listen, self._renew, self._sweep, self._publish)
        self._tasks = [asyncio.create_task(self._forever(loop), name=loop.__name__) for loop in loops]

    async def close(self) -> None:
        """Stops pulling, waits for what is under way, and closes the store."""
        for task in self._tasks[:2]:
            task.cancel()
        await asyncio.gather(*(task for _, task in self._leases.values()), return_exceptions=True)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._bell.close()
        with contextlib.suppress(Problem):
            await self._catalog.withdraw_router(self._pool, self._name)
        await self._store.close()

    def healthy(self) -> bool:
        """Whether every loop lives."""
        return all(not task.done() for task in self._tasks)

    def apply(self, table: RouteTable) -> None:
        """Uses a new table from the next job on; others hear of it as soon as the store can be reached."""
        self._table = table
        self._unpublished.set()
        self._wake.set()

    # loops ----------------------------------------------------------------------------------------------------

    async def _forever(self, loop: Callable[[], Awaitable[None]]) -> None:
        """A loop survives a store that is away: jobs wait in it, so there is nothing to lose by waiting."""
        while True:
            try:
                await loop()
            except Problem as problem:
                log.warning("%s: %s", loop.__name__, problem)
                await asyncio.sleep(0.5)

    async def _listen(self) -> None:
        await self._bell.wait(self._lease_seconds / 3)  # looks now and then unasked: a ring may get lost
        self._wake.set()

    async def _publish(self) -> None:
        """Tells a new table; jobs that wait for a version that no pool has any more are routed again."""
        await self._unpublished.wait()
        if (table := self._table) is None:
            return
        await self._catalog.publish(self._pool, table, self._clock())
        every = (await self._catalog.tables(self._clock())).values()
        for route in table.routes:
            routes = [found for other in every if (found := other.route(route.model))]
            await self._reroute(route.model, {arm.version for found in routes for arm in found.arms})
        if self._table is table:
            self._unpublished.clear()
        self._wake.set()

    async def _reroute(self, model: str, known: set[str]) -> None:
        for version in await self._store.lanes(model) - known:
            gone = Problem("version_not_found", f"Version {version} of {model} was taken away.")
            while await self._store.unassign(model, version, gone, self._clock()):
                log.info("jobs of %s@%s are routed again", model, version)

    async def _pump(self) -> None:
        await self._wake.wait()
        self._wake.clear()
        if self._clock() - self._observed >= 1.0:
            await self._observe()
        if self._table is not None:
            for route in self._table.routes:
                while await self._feed(route):
                    pass

    async def _observe(self) -> None:
        """Learns which replicas and routers of the pool live."""
        now = self._clock()
        self._replicas = [replica for replica in await self._catalog.replicas(now) if replica.pool == self._pool]
        until = now + self._lease_seconds
        self._routers = await self._catalog.announce_router(self._pool, self._name, expires_at=until, now=now)
        self._observed = now
        for route in self._table.routes if self._table is not None else ():
            versions = [arm.version for arm in route.arms]
            free = free_slots(route.model, versions, self._replicas, self._held, routers=self._routers)
            for version in versions:
                self._meter.set(names.FREE_SLOTS, route.model, version, to=free.get(version, 0))

    async def _renew(self) -> None:
        await asyncio.sleep(self._lease_seconds / 3)
        await self._observe()
        now = self._clock()
        if self._table is not None and not self._unpublished.is_set():
            await self._catalog.keep(self._pool, self._table, now)
        leases = {job_id: token for job_id, (token, _) in self._leases.items()}
        for job_id in await self._store.renew(leases, now=now, until=now + self._lease_seconds):
            if held := self._leases.get(job_id):
                self._meter.add(names.LEASES_LOST)
                held[1].cancel()  # cancelled by its owner, or finished by somebody else

    async def _sweep(self) -> None:
        swept = await self._store.sweep(self._clock())
        if swept.requeued or swept.dead or swept.expired:
            log.info("swept: %d requeued, %d dead, %d expired", swept.requeued, swept.dead, swept.expired)
        for outcome in ("requeued", "dead", "expired"):
            self._meter.add(names.SWEPT, outcome, by=getattr(swept, outcome))
        wait = self._lease_seconds if swept.due is None else swept.due - self._clock()
        await asyncio.sleep(min(self._lease_seconds / 3, max(0.1, wait)))

    # one model --------------------------------------------------------------------------------------------------

    async def _feed(self, route: Route) -> bool:
        """Hands jobs to free slots; True if it may find more."""
        versions = [arm.version for arm in route.arms]
        free = free_slots(route.model, versions, self._replicas, self._held, routers=self._routers)
        if not free:
            return False
        now = self._clock()
        leases = await self._store.lease(
            route.model,
            holder=self._name,
            now=now,
            until=now + self._lease_seconds,
            n=sum(free.values()),
            undecided=any(arm.weight and arm.version in free for arm in route.arms),
            versions=free,
            sole=sole_arm(route),
        )
        for lease in sorted(leases, key=lambda lease: lease.version is None):  # those that are started have their slot
            await self._place(route, lease, free)
        return bool(leases)

    async def _place(self, route: Route, lease: Lease, free: dict[str, int]) -> None:
        version = lease.version or choose(route, lease.spec.route_key, self._draw()).version
        if free.get(version, 0) <= 0:
            await self._store.park(lease.id, lease.token, version, self._clock())
            return
        free[version] -= 1
        self._held[(route.model, version)] += 1
        task = asyncio.create_task(self._hand_over(route.model, version, lease), name=lease.id)
        self._leases[lease.id] = (lease.token, task)
        task.add_done_callback(lambda done: self._settled(route.model, version, lease, done))

    async def _hand_over(self, model: str, version: str, lease: Lease) -> None:
        span = self._span(model, version, lease)
        logs.traceparent.set(span.traceparent or "")
        if span.recording:
            lease = dataclasses.replace(lease, spec=lease.spec.model_copy(update={"traceparent": span.traceparent}))
        started = None if lease.version else asyncio.create_task(self._start(lease, version))
        lost = ""
        try:
            await self._run(model, version, lease)
        except Exception as error:  # whatever ended the replica, the job goes on
            lost = type(error).__name__
            log.warning("job %s on %s@%s was lost: %s", lease.id, model, version, error)
            problem = Problem("attempts_exhausted", f"Version {version} of {model} was lost while it ran the job.")
            to = await self._store.release(lease.id, lease.token, problem, self._clock())
            self._meter.add(names.JOBS, model, version, RELEASED[to])
        finally:
            span.end(self._clock(), error=lost)
            if started is not None:
                await asyncio.wait([started])

    def _span(self, model: str, version: str, lease: Lease) -> Span:
        """From the lease to the outcome."""
        now, spec = self._clock(), lease.spec
        span = self._tracer.start(f"route {model}", at=now, parent=spec.traceparent, kind=SpanKind.CONSUMER)
        if span.recording:
            span.set(
                {
                    attributes.MESSAGING_SYSTEM: "redis", attributes.MESSAGING_OPERATION: "process",
                    attributes.MESSAGING_DESTINATION: model, attributes.MESSAGING_ID: spec.id,
                    attributes.JOB_ID: spec.id, attributes.MODEL: model, attributes.VERSION: version,
                    attributes.POOL: self._pool, attributes.JOB_ATTEMPT: lease.attempt,
                    attributes.QUEUE_SECONDS: max(0.0, now - spec.created_at),
                }
            )  # fmt: skip
            span.event("admitted", spec.created_at)
        return span

    async def _start(self, lease: Lease, version: str) -> None:
        """Beside the run: nobody waits for it."""
        try:
            await self._store.start(lease.id, lease.token, version, self._clock())
        except Problem as problem:
            log.warning("job %s: its start was not written: %s", lease.id, problem)

    def _settled(self, model: str, version: str, lease: Lease, task: asyncio.Task[None]) -> None:
        self._held[(model, version)] -= 1
        if self._leases.get(lease.id, ("", None))[0] == lease.token:
            del self._leases[lease.id]
        if not task.cancelled() and (error := task.exception()):
            log.warning("job %s: its lease runs out by itself: %s", lease.id, error)
        self._wake.set()
