"""Leases jobs from the store and dispatches them to the versions that have free slots. Knows nothing of Ray."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from matte_core.contracts.catalog import Replica, Route, RouteTable
from matte_core.contracts.evidence import AppliedWeights
from matte_core.domain.routing import choose_arm, sole_version
from matte_core.errors import Problem
from matte_jobs.catalog import CatalogStore
from matte_jobs.events import WakeupChannel
from matte_jobs.evidence import EvidenceStore
from matte_jobs.store import JobStore, Lease
from matte_telemetry.metrics import Instruments

from matte_inference import metrics
from matte_inference.router.dispatcher import Dispatcher, InFlightJob, Versions
from matte_inference.router.route_plan import RoutePlan, free_slots

log = logging.getLogger("matte.router")


@dataclass(eq=False)
class RouterService:
    """Leases jobs, dispatches them to the replicas of a pool, renews their leases, and sweeps what expired.

    :meth:`close` closes ``store``. ``name`` is the holder of the leases, which expire after ``lease_seconds`` without
    renewal. ``clock`` gives Unix seconds, ``draw`` uniform numbers in [0, 1).
    """

    store: JobStore
    versions: Versions
    name: str
    pool: str
    clock: Callable[[], float]
    draw: Callable[[], float]
    lease_seconds: float
    instruments: Instruments

    def __post_init__(self) -> None:
        self._catalog = CatalogStore(self.store)
        self._evidence = EvidenceStore(self.store)
        self._wakeups = WakeupChannel(self.store, self._cancel)
        self._meter = self.instruments.meter
        self._dispatcher = Dispatcher(self.store, self.versions, self.pool, self.clock, self.instruments)
        self._table: RouteTable | None = None
        self._plans: dict[str, RoutePlan] = {}
        self._replicas: list[Replica] = []
        self._live: set[tuple[str, str]] = set()
        self._routers = 1
        self._refreshed_at = 0.0
        self._slots_in_use: Counter[tuple[str, str]] = Counter()
        self._in_flight: dict[str, InFlightJob] = {}
        self._mirrors: set[asyncio.Task[None]] = set()
        self._wake = asyncio.Event()
        self._unpublished = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        await self._wakeups.start()
        loops = (self._dispatch, self._wait_for_wakeup, self._renew, self._sweep, self._publish)
        self._tasks = [asyncio.create_task(self._repeat(loop), name=loop.__name__) for loop in loops]

    async def close(self) -> None:
        """Stops leasing, waits for the jobs in flight, and closes the store."""
        for task in self._tasks[:2]:
            task.cancel()
        await asyncio.gather(*(job.task for job in self._in_flight.values() if job.task), return_exceptions=True)
        remaining = [*self._tasks, *self._mirrors]
        for task in remaining:
            task.cancel()
        await asyncio.gather(*remaining, return_exceptions=True)
        await self._wakeups.close()
        with contextlib.suppress(Problem):
            await self._catalog.withdraw_router(self.pool, self.name)
            await self._evidence.withdraw_router(self.pool, self.name)
        await self.store.close()

    def healthy(self) -> bool:
        return all(not task.done() for task in self._tasks)

    def apply(self, table: RouteTable) -> None:
        """Uses ``table`` from the next job on; it is published as soon as the store can be reached."""
        self._table, self._plans = table, {route.model: RoutePlan.from_route(route) for route in table.routes}
        self._unpublished.set()
        self._wake.set()

    async def _repeat(self, loop: Callable[[], Awaitable[None]]) -> None:
        """Runs a loop's body for good. While the store is away it waits: the jobs are in the store, and stay there."""
        while True:
            try:
                await loop()
            except Problem as problem:
                log.warning("%s: %s", loop.__name__, problem)
                await asyncio.sleep(0.5)

    async def _wait_for_wakeup(self) -> None:
        await self._wakeups.wait(self.lease_seconds / 3)  # also wakes without one: a message may get lost
        self._wake.set()

    async def _publish(self) -> None:
        """Publishes a new table; jobs that wait for a version that no pool has any more are routed again."""
        await self._unpublished.wait()
        if (table := self._table) is None:
            return
        await self._publish_weights(table)
        await self._catalog.publish(self.pool, table, self.clock())
        tables = (await self._catalog.route_tables(self.clock())).values()
        for route in table.routes:
            routes = [other for each in tables if (other := each.route(route.model))]
            existing = {arm.version for other in routes for arm in other.arms}
            for version in await self.store.subqueues(route.model) - existing:
                removed = Problem("version_not_found", f"Version {version} of {route.model} was taken away.")
                while await self.store.unassign(route.model, version, removed, self.clock()):
                    log.info("jobs of %s@%s are routed again: the version was removed", route.model, version)
            await self._unassign_unroutable(route)
        if self._table is table:
            self._unpublished.clear()
        self._wake.set()

    async def _publish_weights(self, table: RouteTable) -> None:
        weights = {route.model: {arm.version: arm.weight for arm in route.arms} for route in table.routes}
        applied = AppliedWeights(expires_at=self.clock() + self.lease_seconds, weights=weights)
        await self._evidence.record_applied_weights(self.pool, self.name, applied)

    async def _unassign_unroutable(self, route: Route) -> None:
        """Jobs that wait for a version without traffic or replicas are routed again; pinned ones keep waiting."""
        stable = self._plans[route.model].stable
        routable = {arm.version for arm in route.arms if arm.weight > 0}
        if stable and (route.model, stable) in self._live:
            routable = {stable, *(version for version in routable if (route.model, version) in self._live)}
        for version in await self.store.subqueues(route.model) - routable:
            while await self.store.unassign(route.model, version, None, self.clock()):
                log.info("jobs of %s@%s are routed again: it has no traffic or no replica", route.model, version)
                self._wake.set()

    async def _dispatch(self) -> None:
        await self._wake.wait()
        self._wake.clear()
        if self.clock() - self._refreshed_at >= 1.0:
            await self._refresh()
        for route in self._table.routes if self._table is not None else ():
            while await self._dispatch_batch(route):
                pass

    async def _refresh(self) -> None:
        """Announces this router, and reads which replicas and routers of the pool are live."""
        now = self.clock()
        self._replicas = [replica for replica in await self._catalog.replicas(now) if replica.pool == self.pool]
        self._live = {(replica.model, replica.version) for replica in self._replicas}
        until = now + self.lease_seconds
        self._routers = await self._catalog.announce_router(self.pool, self.name, expires_at=until, now=now)
        self._refreshed_at = now
        for route in self._table.routes if self._table is not None else ():
            free = self._free_slots(route)
            for arm in route.arms:
                self._meter.set(metrics.FREE_SLOTS, route.model, arm.version, to=free.get(arm.version, 0))

    async def _renew(self) -> None:
        await asyncio.sleep(self.lease_seconds / 3)
        await self._refresh()
        now = self.clock()
        if self._table is not None and not self._unpublished.is_set():
            await self._publish_weights(self._table)
            await self._catalog.refresh(self.pool, self._table, now)
            for route in self._table.routes:
                await self._unassign_unroutable(route)
        # jobs on a version that lost its last replica go to their fallback instead of waiting for a new replica
        for job in self._in_flight.values():
            lost = (job.model, job.version) not in self._live
            if lost and job.options.fallback and job.task and not job.orphaned:
                job.orphaned = True
                job.task.cancel()
        leases = {job_id: job.lease.token for job_id, job in self._in_flight.items()}
        for job_id in await self.store.renew(leases, now=now, until=now + self.lease_seconds):
            self._meter.add(metrics.LEASES_LOST)
            self._cancel(job_id)  # canceled without our hearing of it, or leased by another router

    def _cancel(self, job_id: str) -> None:
        """Stops a job that this router no longer leases; its slot is free at once."""
        if (job := self._in_flight.get(job_id)) and job.task:
            job.task.cancel()

    async def _sweep(self) -> None:
        swept = await self.store.sweep(self.clock())
        if swept.requeued or swept.dead or swept.expired:
            log.info("swept: %d requeued, %d dead, %d expired", swept.requeued, swept.dead, swept.expired)
        for outcome in ("requeued", "dead", "expired"):
            self._meter.add(metrics.SWEPT, outcome, by=getattr(swept, outcome))
        wait = self.lease_seconds if swept.next_due is None else swept.next_due - self.clock()
        await asyncio.sleep(min(self.lease_seconds / 3, max(0.1, wait)))

    def _free_slots(self, route: Route) -> dict[str, int]:
        versions = [arm.version for arm in route.arms]
        return free_slots(route.model, versions, self._replicas, self._slots_in_use, routers=self._routers)

    async def _dispatch_batch(self, route: Route) -> bool:
        """Leases as many jobs as there are free slots and dispatches them; True if there may be more."""
        free = self._free_slots(route)
        if not free:
            return False
        now = self.clock()
        leases = await self.store.lease(
            route.model, holder=self.name, now=now, until=now + self.lease_seconds, n=sum(free.values()), versions=free,
            unassigned=any(arm.weight and arm.version in free for arm in route.arms), only_version=sole_version(route),
        )  # fmt: skip
        assigned: list[tuple[Lease, str]] = []
        try:
            for lease in sorted(leases, key=lambda lease: lease.version is None):  # those with a version have a slot
                version = lease.version or self._choose_version(route, lease.spec.route_key)
                if free.get(version, 0) <= 0:
                    await self.store.defer(lease.id, lease.token, version, self.clock())
                    continue
                free[version] -= 1
                self._slots_in_use[(route.model, version)] += 1
                assigned.append((lease, version))
        finally:  # an error of the store keeps no job waiting that has a slot already
            for lease, version in assigned:
                self._start_job(route.model, version, lease, free)
        return bool(leases)

    def _choose_version(self, route: Route, key: str | None) -> str:
        """Draws by weight. No job waits for a version without a replica if the stable one can answer."""
        version, stable = choose_arm(route, key, self.draw()).version, self._plans[route.model].stable
        if stable and (route.model, version) not in self._live and (route.model, stable) in self._live:
            return stable
        return version

    def _start_job(self, model: str, version: str, lease: Lease, free: dict[str, int]) -> None:
        """Dispatches the job, and mirrors it if the mirror's version has a slot that no other job needs."""
        plan = self._plans[model]
        has_slot = bool(plan.mirror) and free.get(plan.mirror, 0) > 0
        mirrored = has_slot and plan.should_mirror(version, lease.spec, self.draw())
        options = plan.options(version, lease.spec, mirrored=mirrored)
        job = InFlightJob(lease, model, version, options, self.clock())
        job.task = asyncio.create_task(self._dispatcher.run(job), name=lease.id)
        self._in_flight[lease.id] = job
        job.task.add_done_callback(lambda task: self._job_done(job, task))
        if mirrored:
            free[plan.mirror] -= 1
            self._slots_in_use[(model, plan.mirror)] += 1
            mirror = asyncio.create_task(self._dispatcher.mirror(model, plan.mirror, lease.spec, version))
            self._mirrors.add(mirror)
            mirror.add_done_callback(lambda task: self._mirror_done(model, plan.mirror, task))

    def _mirror_done(self, model: str, version: str, task: asyncio.Task[None]) -> None:
        self._mirrors.discard(task)
        self._slots_in_use[(model, version)] -= 1
        self._wake.set()

    def _job_done(self, job: InFlightJob, task: asyncio.Task[None]) -> None:
        self._slots_in_use[(job.model, job.version)] -= 1
        if self._in_flight.get(job.lease.id) is job:
            del self._in_flight[job.lease.id]
        if not task.cancelled() and (error := task.exception()):
            log.warning("job %s: left to expire with its lease: %s", job.lease.id, error)
        self._wake.set()
