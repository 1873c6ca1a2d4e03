"""What a store says of the time that jobs take: from those that ended, on a real Redis."""

from __future__ import annotations

import math

import pytest
from jobs import MODEL, admit, finish
from matte_core.contracts.catalog import Arm, Replica, Route, RouteTable
from matte_core.domain.eta import Cost
from matte_core.errors import Problem
from matte_jobs.catalog import CatalogStore
from matte_jobs.embedded import EmbeddedRedis
from matte_jobs.settings import StoreSettings
from matte_jobs.store import JobStore
from matte_jobs.views import Capacity, CapacityLookup

pytestmark = [pytest.mark.integration, pytest.mark.timeout(60)]


def always(cost: Cost | None) -> CapacityLookup:
    """Two slots of version 1.0.0, whatever the job."""

    def capacity(model: str, version: str | None) -> Capacity:
        del model, version
        return Capacity(frozenset({"1.0.0"}), 2, cost)

    return capacity


async def run(store: JobStore, n: int, *, megapixels: float, seconds: float) -> None:
    """``n`` jobs, one after the other, at time 0."""
    for i in range(n):
        name = f"{round(1000 * megapixels)}-{round(1000 * seconds)}-{i}"
        await admit(store, name, megapixels=megapixels)
        await take(store, 0.0)
        assert await finish(store, name, now=seconds)


async def take(store: JobStore, now: float, n: int = 1) -> None:
    taken = await store.lease(
        MODEL, holder="t", now=now, until=now + 100, n=n, unassigned=True, versions={"1.0.0": n}, only_version="1.0.0"
    )
    assert len(taken) == n


async def measured(store: JobStore) -> Cost | None:
    catalog = CatalogStore(store)
    replica = Replica(
        id="r", model=MODEL, version="1.0.0", family="f", digest="sha256:0", slots=2, expires_at=1000.0
    )  # fmt: skip
    await catalog.announce_replica(replica, new=True)
    route = Route(model=MODEL, arms=(Arm(version="1.0.0", weight=100),))
    await catalog.publish("default", RouteTable(routes=(route,)), 0.0)
    version = (await catalog.routes_and_catalog(0.0))[1].models[0].versions[0]
    if version.seconds_per_picture is None or version.seconds_per_megapixel is None:
        return None
    return Cost(
        version.seconds_per_picture, version.seconds_per_megapixel, version.most_seconds_per_megapixel or math.inf
    )


async def test_a_flood_of_small_pictures_leaves_what_is_known_of_large_ones(store: JobStore) -> None:
    assert await measured(store) is None
    await run(store, 1, megapixels=0.1, seconds=20.0)  # the first one was cold
    await run(store, 3, megapixels=36, seconds=2.6)
    await run(store, 40, megapixels=0.1, seconds=0.2)
    await run(store, 4, megapixels=0.01, seconds=0.02)
    cost = await measured(store)
    assert cost is not None
    assert cost.seconds(0.01) == pytest.approx(0.02, rel=0.05)
    assert cost.seconds(0.1) == pytest.approx(0.2, rel=0.05)
    assert cost.seconds(36) == pytest.approx(2.6, rel=0.05)


async def test_an_eta_knows_what_runs_and_what_is_ahead(store: JobStore) -> None:
    capacity = always(Cost(1.0, 0.1))
    for name, megapixels in {"big": 30, "small": 10, "first": 10, "last": 20}.items():
        await admit(store, name, megapixels=megapixels)
    await admit(store, "elsewhere", megapixels=40, version="9.0.0")
    await take(store, 0.0, n=2)

    async def eta(name: str, now: float) -> float | None:
        return (await store.view(name, now, capacity)).eta_seconds

    assert await eta("big", 1.0) == 3.0
    assert await eta("first", 1.0) == 3.0  # 1 s until "small" is done
    assert await eta("last", 1.0) == 6.0  # "first" and "big" are done after 3 s
    assert (await store.view("elsewhere", 1.0)).eta_seconds is None


async def test_a_full_queue_says_when_a_tenth_of_it_is_free(redis_server: EmbeddedRedis) -> None:
    settings = StoreSettings(redis_url=redis_server.url, redis_prefix="full-eta:", max_queue_length=20)
    store = JobStore.open(settings)
    for i in range(20):
        await admit(store, str(i), megapixels=10)
    for cost, seconds in {Cost(1, 0.2): 3.0, Cost(0.01, 0): 1.0, Cost(1000, 0): 60.0, None: 30.0}.items():
        with pytest.raises(Problem, match="queue_full") as refused:
            await admit(store, "one-more", capacity=always(cost))
        assert refused.value.retry_after == seconds
    await store.close()
