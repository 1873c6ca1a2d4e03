"""The router's loop, apart from Ray: what it is given is a way to run a job on a version."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import Counter
from collections.abc import Awaitable, Callable

from matte_core.contracts.catalog import Replica, Route, RouteTable
from matte_core.contracts.evidence import AppliedWeights
from matte_core.domain.routing import choose_arm, sole_version
from matte_core.errors import Problem
from matte_jobs.catalog import CatalogStore
from matte_jobs.evidence import EvidenceStore
from matte_jobs.store import JobStore, Lease
from matte_telemetry import names
from matte_telemetry.instruments import Instruments

from matte_inference.router.arms import Plan
from matte_inference.router.hand_over import HandOver, Held, Versions
from matte_inference.router.slots import free_slots

log = logging.getLogger("matte.router")


class RouterService:
    """Pulls, routes, hands over, renews and sweeps.

    Args:
        store: the job store, for this service alone; it is closed with it.
        versions: take a job.
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
        versions: Versions,
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
        self._evidence = EvidenceStore(store)
        self._wakeups = store.wakeup_channel(self._drop)
        self._name = name
        self._pool = pool
        self._clock = clock
        self._draw = draw
        self._lease_seconds = lease_seconds
        self._meter = instruments.meter
        self._hand_over = HandOver(store, versions, pool=pool, clock=clock, instruments=instruments)
        self._table: RouteTable | None = None
        self._plans: dict[str, Plan] = {}
        self._replicas: list[Replica] = []
        self._live: set[tuple[str, str]] = set()
        self._routers = 1
        self._observed = 0.0
        self._held: Counter[tuple[str, str]] = Counter()
        self._leases: dict[str, Held] = {}
        self._mirrors: set[asyncio.Task[None]] = set()
        self._wake = asyncio.Event()
        self._unpublished = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Begins to pull."""
        await self._wakeups.start()
        loops = (self._pump, self._listen, self._renew, self._sweep, self._publish)
        self._tasks = [asyncio.create_task(self._forever(loop), name=loop.__name__) for loop in loops]

    async def close(self) -> None:
        """Stops pulling, waits for what is under way, and closes the store."""
        for task in self._tasks[:2]:
            task.cancel()
        await asyncio.gather(*(held.task for held in self._leases.values() if held.task), return_exceptions=True)
        ending = [*self._tasks, *self._mirrors]
        for task in ending:
            task.cancel()
        await asyncio.gather(*ending, return_exceptions=True)
        await self._wakeups.close()
        with contextlib.suppress(Problem):
            await self._catalog.withdraw_router(self._pool, self._name)
            await self._evidence.withdraw_router(self._pool, self._name)
        await self._store.close()

    def healthy(self) -> bool:
        """Whether every loop lives."""
        return all(not task.done() for task in self._tasks)

    def apply(self, table: RouteTable) -> None:
        """Uses a new table from the next job on; others hear of it as soon as the store can be reached."""
        self._table, self._plans = table, {route.model: Plan.of(route) for route in table.routes}
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
        await self._wakeups.wait(self._lease_seconds / 3)  # looks now and then unasked: a message may get lost
        self._wake.set()

    async def _publish(self) -> None:
        """Tells a new table; jobs that wait for a version that no pool has any more are routed again."""
        await self._unpublished.wait()
        if (table := self._table) is None:
            return
        await self._say_applied(table)
        await self._catalog.publish(self._pool, table, self._clock())
        every = (await self._catalog.route_tables(self._clock())).values()
        for route in table.routes:
            routes = [found for other in every if (found := other.route(route.model))]
            await self._reroute(route.model, {arm.version for found in routes for arm in found.arms})
            await self._relieve(route)
        if self._table is table:
            self._unpublished.clear()
        self._wake.set()

    async def _reroute(self, model: str, known: set[str]) -> None:
        for version in await self._store.subqueues(model) - known:
            gone = Problem("version_not_found", f"Version {version} of {model} was taken away.")
            while await self._store.unassign(model, version, gone, self._clock()):
                log.info("jobs of %s@%s are routed again", model, version)

    async def _say_applied(self, table: RouteTable) -> None:
        """For whoever moves weights: this is in use."""
        weights = {route.model: {arm.version: arm.weight for arm in route.arms} for route in table.routes}
        applied = AppliedWeights(expires_at=self._clock() + self._lease_seconds, weights=weights)
        await self._evidence.record_applied_weights(self._pool, self._name, applied)

    async def _relieve(self, route: Route) -> None:
        """Jobs that wait for a version without traffic or without replicas are routed again; pinned ones wait on."""
        stable = self._plans[route.model].stable
        open_ = {arm.version for arm in route.arms if arm.weight > 0}
        if stable and (route.model, stable) in self._live:
            open_ = {stable, *(version for version in open_ if (route.model, version) in self._live)}
        for version in await self._store.subqueues(route.model) - open_:
            while await self._store.unassign(route.model, version, None, self._clock()):
                log.info("jobs of %s@%s are routed again: it takes none now", route.model, version)
                self._wake.set()

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
        self._live = {(replica.model, replica.version) for replica in self._replicas}
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
            await self._say_applied(self._table)
            await self._catalog.refresh(self._pool, self._table, now)
            for route in self._table.routes:
                await self._relieve(route)
        self._strand()
        leases = {job_id: held.lease.token for job_id, held in self._leases.items()}
        for job_id in await self._store.renew(leases, now=now, until=now + self._lease_seconds):
            self._meter.add(names.LEASES_LOST)
            self._drop(job_id)  # it was canceled and we did not hear of it, or somebody else has it now

    def _drop(self, job_id: str) -> None:
        """A job that is no longer ours, if it was: its slot is free at once."""
        if (held := self._leases.get(job_id)) and held.task:
            held.task.cancel()

    def _strand(self) -> None:
        """Jobs on a version without a live replica need not wait for a new one where another version takes them."""
        for held in self._leases.values():
            gone = (held.model, held.version) not in self._live
            if gone and held.handling.fallback and held.task and not held.stranded:
                held.stranded = True
                held.task.cancel()

    async def _sweep(self) -> None:
        swept = await self._store.sweep(self._clock())
        if swept.requeued or swept.dead or swept.expired:
            log.info("swept: %d requeued, %d dead, %d expired", swept.requeued, swept.dead, swept.expired)
        for outcome in ("requeued", "dead", "expired"):
            self._meter.add(names.SWEPT, outcome, by=getattr(swept, outcome))
        wait = self._lease_seconds if swept.next_due is None else swept.next_due - self._clock()
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
            unassigned=any(arm.weight and arm.version in free for arm in route.arms),
            versions=free,
            only_version=sole_version(route),
        )
        placed: list[tuple[Lease, str]] = []
        try:
            for lease in sorted(leases, key=lambda lease: lease.version is None):  # the started ones have their slot
                if version := await self._placed(route, lease, free):
                    placed.append((lease, version))  # noqa: PERF401 - those before an error are begun all the same
        finally:
            for lease, version in placed:
                self._begin(route.model, version, lease, free)
        return bool(leases)

    async def _placed(self, route: Route, lease: Lease, free: dict[str, int]) -> str | None:
        """The version that has a slot for the job, which is taken; None where the job waits for one."""
        version = lease.version or self._chosen(route, lease.spec.route_key)
        if free.get(version, 0) <= 0:
            await self._store.defer(lease.id, lease.token, version, self._clock())
            return None
        self._take_slot(route.model, version, free)
        return version

    def _chosen(self, route: Route, key: str | None) -> str:
        """By weight; nobody waits for a version without a replica where another one can answer."""
        version, stable = choose_arm(route, key, self._draw()).version, self._plans[route.model].stable
        if stable and (route.model, version) not in self._live and (route.model, stable) in self._live:
            return stable
        return version

    def _take_slot(self, model: str, version: str, free: dict[str, int]) -> None:
        free[version] -= 1
        self._held[(model, version)] += 1

    def _begin(self, model: str, version: str, lease: Lease, free: dict[str, int]) -> None:
        """Hands the job over, and to the mirror's version as well where no other job wants the slot there."""
        plan = self._plans[model]
        mirrored = bool(plan.mirror and free.get(plan.mirror, 0) > 0) and plan.mirrors(
            version, lease.spec, self._draw()
        )
        held = Held(lease, model, version, plan.handling(version, lease.spec, mirrored=mirrored), self._clock())
        held.task = asyncio.create_task(self._hand_over.job(held), name=lease.id)
        self._leases[lease.id] = held
        held.task.add_done_callback(lambda done: self._settled(held, done))
        if mirrored:
            self._take_slot(model, plan.mirror, free)
            task = asyncio.create_task(self._hand_over.mirrored(model, plan.mirror, lease.spec, version))
            self._mirrors.add(task)
            task.add_done_callback(lambda done: self._mirrored(model, plan.mirror, done))

    def _mirrored(self, model: str, version: str, task: asyncio.Task[None]) -> None:
        self._mirrors.discard(task)
        self._held[(model, version)] -= 1
        self._wake.set()

    def _settled(self, held: Held, task: asyncio.Task[None]) -> None:
        self._held[(held.model, held.version)] -= 1
        if self._leases.get(held.lease.id) is held:
            del self._leases[held.lease.id]
        if not task.cancelled() and (error := task.exception()):
            log.warning("job %s: its lease runs out by itself: %s", held.lease.id, error)
        self._wake.set()
