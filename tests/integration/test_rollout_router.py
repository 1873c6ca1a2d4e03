"""The router's part of a rollout, against a real Redis: what falls back, what is mirrored, what is reported."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field

import pytest
from jobs import MODEL, admit, finish
from matte_core.contracts.catalog import Arm, Mirror, Replica, Route, RouteTable
from matte_core.contracts.job import TERMINAL, JobSpec, JobState
from matte_core.errors import Problem
from matte_inference.metrics import INFERENCE
from matte_inference.router.route_plan import DispatchOptions
from matte_inference.router.service import RouterService
from matte_jobs.catalog import CatalogStore
from matte_jobs.evidence import EvidenceStore
from matte_jobs.settings import StoreSettings
from matte_jobs.store import JobStore, Lease
from matte_telemetry.metrics import Instruments
from matte_telemetry.prometheus import PrometheusMeter
from opentelemetry.trace import NoOpTracer

pytestmark = [pytest.mark.integration, pytest.mark.timeout(60)]

LOST = Problem("internal_error", "it broke")
Outcome = Callable[[Lease], Awaitable[None]]


async def until(check: Callable[[], Awaitable[bool]], seconds: float = 20.0) -> None:
    for _ in range(int(seconds / 0.01)):
        if await check():
            return
        await asyncio.sleep(0.01)
    raise AssertionError(f"not within {seconds} s")


def table(arms: dict[str, int], mirror: str = "", percent: int = 100) -> RouteTable:
    own = tuple(Arm(version=version, weight=weight) for version, weight in arms.items())
    beside = Mirror(version=mirror, percent=percent) if mirror else None
    return RouteTable(default_model=MODEL, routes=(Route(model=MODEL, arms=own, mirror=beside),))


@dataclass
class RouterHarness:
    """A router whose versions are faked. ``dispatched``: what they were sent, by job."""

    store: JobStore
    router: RouterService
    outcomes: dict[str, Outcome] = field(default_factory=dict)
    dispatched: dict[str, list[tuple[str, DispatchOptions]]] = field(default_factory=dict)
    mirrored: list[tuple[str, str, str]] = field(default_factory=list)
    mirror_error: Exception | None = None
    hold: asyncio.Event | None = None

    async def run(self, _model: str, version: str, lease: Lease, options: DispatchOptions) -> None:
        self.dispatched.setdefault(lease.id, []).append((version, options))
        if version in self.outcomes:
            await self.outcomes[version](lease)
        else:
            await finish(self.store, lease.id, now=time.time(), version=version)

    async def mirror(self, _model: str, version: str, spec: JobSpec, stable: str) -> None:
        self.mirrored.append((version, spec.id, stable))
        if self.hold:
            await self.hold.wait()
        if self.mirror_error:
            raise self.mirror_error

    async def replicas(self, *versions: str, slots: int = 4, seconds: float = 60.0) -> None:
        """They announce themselves; the router has seen it when this returns."""
        for version in versions:
            replica = Replica(
                id=f"r-{version}", model=MODEL, version=version, pool="p", family="grabcut", digest="sha256:0",
                slots=slots, expires_at=time.time() + seconds,
            )  # fmt: skip
            await CatalogStore(self.store).announce_replica(replica, new=True)
        await asyncio.sleep(1.05)  # it looks once a second at most, and not unasked

    async def ended(self, job_id: str) -> JobState:
        async def over() -> bool:
            return (await self.store.view(job_id, time.time())).state in TERMINAL

        await until(over)
        return (await self.store.view(job_id, time.time())).state


@contextlib.asynccontextmanager
async def routing(
    settings: StoreSettings, *, lease_seconds: float = 15.0, name: str = "r"
) -> AsyncIterator[RouterHarness]:
    store = JobStore.open(settings)
    harness = RouterHarness(store, router=None)  # type: ignore[arg-type]
    harness.router = RouterService(
        JobStore.open(settings), harness, name=name, pool="p", clock=time.time,
        draw=random.Random(7).random, lease_seconds=lease_seconds,
        instruments=Instruments(PrometheusMeter(INFERENCE), NoOpTracer()),
    )  # fmt: skip
    await harness.router.start()
    try:
        yield harness
    finally:
        await harness.router.close()
        await store.close()


@pytest.fixture
async def harness(store_settings: StoreSettings) -> AsyncIterator[RouterHarness]:
    async with routing(store_settings) as made:
        yield made


async def never(_lease: Lease) -> None:
    await asyncio.Event().wait()


async def fails(_lease: Lease) -> None:
    raise RuntimeError("the replica died")


# the store --------------------------------------------------------------------------------------------------------


async def leased(store: JobStore, *versions: str, n: int = 1) -> list[Lease]:
    return await store.lease(
        MODEL, holder="h", now=1.0, until=99.0, n=n, unassigned=True, versions=dict.fromkeys(versions, 9)
    )


async def test_a_job_falls_back_once_in_its_old_place_and_no_attempt_is_counted(store: JobStore) -> None:
    for job_id in ("a", "b", "c"):
        await admit(store, job_id)
    (first,) = await leased(store)
    assert await store.fall_back("a", first.token, "1.0.0", LOST, 1.0)
    view = await store.view("a", 1.0)
    assert (view.state, view.position, view.version, view.attempts) == (JobState.QUEUED, 0, "1.0.0", 0)
    assert [event.type for event in await store.events("a")] == ["queued", "retrying"]
    assert not await store.fall_back("a", first.token, "1.0.0", LOST, 1.0)  # the lease is lost
    again, other = await leased(store, "1.0.0", n=2)
    assert (again.id, again.version, again.attempt, other.id) == ("a", "1.0.0", 1, "b")
    assert not await store.fall_back("a", again.token, "2.0.0", LOST, 1.0)  # never to and fro
    assert (await store.view("a", 1.0)).state is JobState.RUNNING
    for attempt in (1, 2, 3):  # what may be tried on the stable one is what may be tried on any
        assert again.attempt == attempt
        left = await store.release("a", again.token, LOST, 1.0)
        assert left == ("dead" if attempt == 3 else "queued")
        for again in await leased(store, "1.0.0"):
            assert again.id == ("a" if attempt < 3 else "c")


async def test_pinned_jobs_may_wait_on_where_others_are_routed_again(store: JobStore) -> None:
    await admit(store, "pinned", version="2.0.0")
    await admit(store, "free")
    (lease,) = await leased(store)
    assert lease.id == "free"
    await store.defer("free", lease.token, "2.0.0", 1.0)
    assert await store.unassign(MODEL, "2.0.0", None, 1.0) == 1
    assert await store.unassign(MODEL, "2.0.0", None, 1.0) == 0
    assert (await store.view("free", 1.0)).version is None
    assert (await store.view("pinned", 1.0)).state is JobState.QUEUED
    assert await store.subqueues(MODEL) == {"2.0.0"}


# fallback ---------------------------------------------------------------------------------------------------------


async def test_what_a_new_version_loses_the_stable_one_answers(harness: RouterHarness) -> None:
    harness.outcomes["2.0.0"] = fails
    await harness.replicas("1.0.0", "2.0.0")
    harness.router.apply(table({"1.0.0": 60, "2.0.0": 40}))
    ids = [f"j{n}" for n in range(40)]
    for job_id in ids:
        await admit(harness.store, job_id, now=time.time(), max_attempts=1)
    assert {await harness.ended(job_id) for job_id in ids} == {JobState.SUCCEEDED}
    tried = [job_id for job_id in ids if len(harness.dispatched[job_id]) > 1]
    assert 5 < len(tried) < 35
    for job_id in tried:
        assert harness.dispatched[job_id] == [
            ("2.0.0", DispatchOptions("1.0.0", sampled=True)),
            ("1.0.0", DispatchOptions(sampled=True)),
        ]
    answers = await EvidenceStore(harness.store).answers(MODEL, "2.0.0", 0)
    assert len(answers) == len(tried)
    assert all(answer.error for answer in answers)


async def test_what_was_asked_for_and_what_stable_loses_stays(harness: RouterHarness) -> None:
    harness.outcomes.update({"1.0.0": fails, "2.0.0": fails})
    await harness.replicas("1.0.0", "2.0.0")
    harness.router.apply(table({"1.0.0": 100, "2.0.0": 0}))
    await admit(harness.store, "pinned", now=time.time(), version="2.0.0", max_attempts=2)
    await admit(harness.store, "stable", now=time.time(), max_attempts=2)
    assert [await harness.ended("pinned"), await harness.ended("stable")] == [JobState.DEAD, JobState.DEAD]
    assert [version for version, _ in harness.dispatched["pinned"]] == ["2.0.0", "2.0.0"]
    assert [version for version, _ in harness.dispatched["stable"]] == ["1.0.0", "1.0.0"]
    assert not any(any(options) for dispatched in harness.dispatched.values() for _, options in dispatched)


async def test_the_stores_absence_is_nobodys_fault(harness: RouterHarness) -> None:
    times = itertools.count()

    async def away(lease: Lease) -> None:
        if next(times) == 0:
            raise Problem("storage_unavailable", "away")
        await finish(harness.store, lease.id, now=time.time(), version="2.0.0")

    harness.outcomes["2.0.0"] = away
    await harness.replicas("1.0.0", "2.0.0")
    harness.router.apply(table({"1.0.0": 1, "2.0.0": 99}, mirror="2.0.0", percent=0))
    await admit(harness.store, "a", now=time.time())
    assert await harness.ended("a") is JobState.SUCCEEDED
    assert [version for version, _ in harness.dispatched["a"]] == ["2.0.0", "2.0.0"]
    assert await EvidenceStore(harness.store).answers(MODEL, "2.0.0", 0) == []


async def test_nobody_waits_for_a_version_that_died(store_settings: StoreSettings) -> None:
    async def hangs(_lease: Lease) -> None:
        await asyncio.sleep(60)

    async with routing(store_settings, lease_seconds=1.5) as harness:
        harness.outcomes["2.0.0"] = hangs
        await harness.replicas("1.0.0")
        await harness.replicas("2.0.0", slots=1, seconds=2.0)
        harness.router.apply(table({"1.0.0": 1, "2.0.0": 99}, mirror="2.0.0", percent=0))
        ids = [f"j{n}" for n in range(4)]  # one is dispatched, the others wait for its slot
        for job_id in ids:
            await admit(harness.store, job_id, now=time.time(), max_attempts=1)
        assert {await harness.ended(job_id) for job_id in ids} == {JobState.SUCCEEDED}
        assert ["2.0.0", "1.0.0"] in [
            [version for version, _ in dispatched] for dispatched in harness.dispatched.values()
        ]
        await admit(harness.store, "late", now=time.time())
        assert await harness.ended("late") is JobState.SUCCEEDED
        assert [version for version, _ in harness.dispatched["late"]] == ["1.0.0"]


async def test_jobs_that_wait_for_a_version_leave_it_with_its_traffic(harness: RouterHarness) -> None:
    await harness.replicas("1.0.0", "2.0.0")
    free = asyncio.Event()

    async def full(lease: Lease) -> None:
        await free.wait()
        await finish(harness.store, lease.id, now=time.time(), version="2.0.0")

    harness.outcomes["2.0.0"] = full
    harness.router.apply(table({"1.0.0": 1, "2.0.0": 99}))
    ids = [f"j{n}" for n in range(12)]
    for job_id in ids:
        await admit(harness.store, job_id, now=time.time())

    async def deferred() -> bool:
        return await harness.store.subqueues(MODEL) == {"2.0.0"}

    async def elsewhere() -> bool:
        return sum(dispatched[-1][0] == "1.0.0" for dispatched in harness.dispatched.values()) >= 8

    await until(deferred)
    harness.router.apply(table({"1.0.0": 100, "2.0.0": 0}))
    await until(elsewhere)
    free.set()
    assert {await harness.ended(job_id) for job_id in ids} == {JobState.SUCCEEDED}


# mirrored jobs ----------------------------------------------------------------------------------------------------


async def test_stables_jobs_are_mirrored_and_a_broken_mirror_hurts_nobody(harness: RouterHarness) -> None:
    harness.mirror_error = RuntimeError("broken")
    await harness.replicas("1.0.0")
    await harness.replicas("2.0.0", slots=2)
    harness.router.apply(table({"1.0.0": 100, "2.0.0": 0}, mirror="2.0.0"))
    await admit(harness.store, "pinned", now=time.time(), version="1.0.0")
    await harness.ended("pinned")
    for n in range(6):
        await admit(harness.store, f"j{n}", now=time.time())
        assert await harness.ended(f"j{n}") is JobState.SUCCEEDED
    assert harness.mirrored == [("2.0.0", f"j{n}", "1.0.0") for n in range(6)]
    assert harness.dispatched["pinned"] == [("1.0.0", DispatchOptions())]
    assert harness.dispatched["j0"] == [("1.0.0", DispatchOptions(mirrored=True))]


async def test_a_mirror_without_a_free_slot_is_left_out(harness: RouterHarness) -> None:
    await harness.replicas("1.0.0", slots=9)
    await harness.replicas("2.0.0", slots=2)
    harness.hold = asyncio.Event()
    harness.router.apply(table({"1.0.0": 100, "2.0.0": 0}, mirror="2.0.0"))
    for n in range(6):
        await admit(harness.store, f"j{n}", now=time.time())
        assert await harness.ended(f"j{n}") is JobState.SUCCEEDED
    assert len(harness.mirrored) == 2
    await admit(harness.store, "pinned", now=time.time(), version="2.0.0")
    await asyncio.sleep(0.2)
    assert (await harness.store.view("pinned", time.time())).state is JobState.QUEUED  # the slots are counted
    harness.hold.set()
    assert await harness.ended("pinned") is JobState.SUCCEEDED


# what is in use ---------------------------------------------------------------------------------------------------


async def test_routers_tell_what_they_use_until_they_go(store_settings: StoreSettings, store: JobStore) -> None:
    evidence = EvidenceStore(store)

    async def weights() -> list[dict[str, int]]:
        return [applied.weights[MODEL] for applied in await evidence.applied_weights("p", time.time())]

    async def both() -> bool:
        return len(await weights()) == 2

    async def moved() -> bool:
        return {"1.0.0": 95, "2.0.0": 5} in await weights()

    async with routing(store_settings, name="one") as one:
        one.router.apply(table({"1.0.0": 100}))
        async with routing(store_settings, name="two") as two:
            two.router.apply(table({"1.0.0": 100}))
            await until(both)
            begun = time.monotonic()
            one.router.apply(table({"1.0.0": 95, "2.0.0": 5}))
            await until(moved)
            assert time.monotonic() - begun < 3  # the next renewal would come after 5
            assert {"1.0.0": 100} in await weights()
        assert await weights() == [{"1.0.0": 95, "2.0.0": 5}]
    assert await weights() == []


async def test_a_silent_router_is_forgotten_and_a_living_one_is_not(store_settings: StoreSettings) -> None:
    async with routing(store_settings, lease_seconds=0.6) as harness:
        harness.router.apply(table({"1.0.0": 100}))
        evidence = EvidenceStore(harness.store)

        async def applied() -> bool:
            return bool(await evidence.applied_weights("p", time.time()))

        await until(applied)
        await asyncio.sleep(1.5)
        assert len(await evidence.applied_weights("p", time.time())) == 1
        assert await evidence.applied_weights("p", time.time() + 1) == []


# jobs that nobody wants any more ----------------------------------------------------------------------------------


async def test_a_canceled_job_that_runs_gives_its_slot_to_the_next_at_once(store_settings: StoreSettings) -> None:
    async with routing(store_settings, lease_seconds=600) as harness:  # no lease is renewed meanwhile
        harness.outcomes["1.0.0"] = never
        harness.router.apply(table({"1.0.0": 100}))
        await harness.replicas("1.0.0", slots=1)
        for job_id in ("a", "b", "c"):
            await admit(harness.store, job_id)

        async def runs(job_id: str) -> bool:
            return (await harness.store.view(job_id, time.time())).state is JobState.RUNNING

        await until(lambda: runs("a"))
        assert await harness.store.cancel("b", time.time())
        del harness.outcomes["1.0.0"]
        assert not await runs("c")
        assert await harness.store.cancel("a", time.time())
        assert await harness.ended("c") is JobState.SUCCEEDED
        assert list(harness.dispatched) == ["a", "c"]
