"""The router's loop, apart from Ray: what it is given is a way to run a job on a version."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Protocol

from matte_core.contracts.catalog import Replica, Route, RouteTable
from matte_core.domain.routing import choose, sole_arm
from matte_core.errors import Problem
from matte_jobs.catalog import CatalogStore
from matte_jobs.store import JobStore, Lease

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
        clock: Unix seconds.
        draw: uniform in [0, 1).
        lease_seconds: how long a job is ours without a sign of life.
    """

    def __init__(
        self,
        store: JobStore,
        run: Runner,
        *,
        name: str,
        clock: Callable[[], float],
        draw: Callable[[], float],
        lease_seconds: float,
    ) -> None:
        self._store = store
        self._catalog = CatalogStore(store)
        self._bell = store.bell()
        self._run = run
        self._name = name
        self._clock = clock
        self._draw = draw
        self._lease_seconds = lease_seconds
        self._table: RouteTable | None = None
        self._replicas: list[Replica] = []
        self._routers = 1
        self._observed = 0.0
        self._held: Counter[tuple[str, str]] = Counter()
        self._leases: dict[str, tuple[str, asyncio.Task[None]]] = {}
        self._wake = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Begins to pull."""
        await self._bell.start()
        loops = (self._pump, self._listen, self._renew, self._sweep)
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
            await self._catalog.withdraw_router(self._name)
        await self._store.close()

    def healthy(self) -> bool:
        """Whether every loop lives."""
        return all(not task.done() for task in self._tasks)

    async def apply(self, table: RouteTable) -> None:
        """Uses a new table from the next job on; jobs that wait for a version that is gone are routed again."""
        self._table = table
        await self._catalog.publish(table)
        for route in table.routes:
            known = {arm.version for arm in route.arms}
            for version in await self._store.lanes(route.model) - known:
                gone = Problem("version_not_found", f"Version {version} of {route.model} was taken away.")
                while await self._store.unassign(route.model, version, gone, self._clock()):
                    log.info("jobs of %s@%s are routed again", route.model, version)
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
        """Learns which replicas and routers live."""
        now = self._clock()
        self._replicas = await self._catalog.replicas(now)
        self._routers = await self._catalog.announce_router(self._name, expires_at=now + self._lease_seconds, now=now)
        self._observed = now

    async def _renew(self) -> None:
        await asyncio.sleep(self._lease_seconds / 3)
        await self._observe()
        now = self._clock()
        leases = {job_id: token for job_id, (token, _) in self._leases.items()}
        for job_id in await self._store.renew(leases, now=now, until=now + self._lease_seconds):
            if held := self._leases.get(job_id):
                held[1].cancel()  # cancelled by its owner, or finished by somebody else

    async def _sweep(self) -> None:
        swept = await self._store.sweep(self._clock())
        if swept.requeued or swept.dead or swept.expired:
            log.info("swept: %d requeued, %d dead, %d expired", swept.requeued, swept.dead, swept.expired)
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
        started = None if lease.version else asyncio.create_task(self._start(lease, version))
        try:
            await self._run(model, version, lease)
        except Exception as error:  # whatever ended the replica, the job goes on
            log.warning("job %s on %s@%s was lost: %s", lease.id, model, version, error)
            detail = f"Version {version} of {model} was lost while it ran the job."
            await self._store.release(lease.id, lease.token, Problem("attempts_exhausted", detail), self._clock())
        finally:
            if started is not None:
                await asyncio.wait([started])

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
