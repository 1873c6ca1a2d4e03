"""Tables of several pools as one."""

from __future__ import annotations

import pytest
from jobs import MODEL, admit
from matte_core.contracts.catalog import Arm, Download, Replica, Route, RouteTable
from matte_jobs.catalog import DOWNLOAD_FORGET_SECONDS, FORGET_SECONDS, CatalogStore, merge
from matte_jobs.store import JobStore, instance_member


def table(default: str | None, *models: str, version: str = "1.0.0") -> RouteTable:
    routes = tuple(Route(model=model, arms=(Arm(version=version, weight=100),)) for model in models)
    return RouteTable(default_model=default, routes=routes)


def test_an_empty_table_is_sound_and_a_default_must_be_there() -> None:
    assert RouteTable.model_validate({"default_model": None, "routes": []}) == table(None)
    with pytest.raises(ValueError, match="has no route"):
        table("m")


def test_the_pool_that_sorts_first_wins() -> None:
    merged, clashes = merge({"b": table("y", "x", "y", version="2.0.0"), "c": table("z", "z"), "a": table(None, "x")})
    assert merged.default_model == "y"
    assert {route.model: route.arms[0].version for route in merged.routes} == {"x": "1.0.0", "y": "2.0.0", "z": "1.0.0"}
    assert clashes == {"x"}
    assert merge({"a": table(None)}) == (table(None), frozenset())


def replica(id_: str, model: str, until: float) -> Replica:
    return Replica(id=id_, model=model, version="1.0.0", family="f", digest="d", slots=1, expires_at=until)


async def test_ready_means_a_live_replica_and_a_live_router(store: JobStore) -> None:
    catalog = CatalogStore(store)
    await catalog.publish("default", table("x", "x"), 0.0)
    await catalog.announce_replica(replica("1", "x", until=30.0), new=True)
    states = []
    for now in (1.0, 2.0, 20.0):
        if now == 2.0:
            await catalog.announce_router("default", "router", expires_at=15.0, now=now)
        model = (await catalog.routes_and_catalog(now))[1].models[0]
        states.append((model.served, model.ready))
    assert states == [(False, False), (True, True), (False, False)]


async def test_an_instance_that_ended_is_forgotten_and_its_jobs_go_back(store: JobStore) -> None:
    catalog = CatalogStore(store)
    for instance in ("me", "other"):
        router = instance_member(instance, "router")
        await admit(store, instance)
        taken = await store.lease(
            MODEL, holder=router, now=1.0, until=99.0, n=1, unassigned=True, versions={"1.0.0": 1}, only_version="1.0.0"
        )
        assert [lease.id for lease in taken] == [instance]
        await catalog.announce_router("default", router, expires_at=99.0, now=1.0)
        await catalog.announce_replica(replica(instance_member(instance, "1"), MODEL, until=99.0), new=True)
    assert await store.end_instance("me", "default", 2.0) == 1
    assert [(await store.view(id_, 2.0)).state for id_ in ("me", "other")] == ["queued", "running"]
    assert [left.id for left in await catalog.replicas(2.0)] == ["other.1"]
    assert await catalog.announce_router("default", "third", expires_at=99.0, now=2.0) == 2


async def test_a_pool_is_asleep_for_a_day_and_then_forgotten(store: JobStore) -> None:
    catalog = CatalogStore(store)
    assert await catalog.route_tables(0.0) == {}
    await catalog.publish("a", table("x", "x"), 0.0)
    await catalog.publish("b", table(None, "y"), 0.0)
    await catalog.refresh("b", table(None, "old"), 1000.0)
    late = (await catalog.routes_and_catalog(FORGET_SECONDS - 1))[1]
    assert [(model.name, model.ready, model.default) for model in late.models] == [
        ("x", False, True),
        ("y", False, False),
    ]
    assert await catalog.route_tables(FORGET_SECONDS + 1) == {"b": table(None, "y")}
    await catalog.refresh("a", table(None, "x"), FORGET_SECONDS + 2)  # its router had only been away
    assert set(await catalog.route_tables(FORGET_SECONDS + 3)) == {"a"} | {"b"}
    await catalog.delete_pool("b")
    await catalog.publish("a", table(None), FORGET_SECONDS + 4)
    empty = (await catalog.routes_and_catalog(FORGET_SECONDS + 5))[1]
    assert (empty.default_model, empty.models) == (None, ())


async def test_a_download_is_shown_until_a_replica_is_there(store: JobStore) -> None:
    catalog = CatalogStore(store)
    routes = table("x", "x", "y").model_copy(update={"pending_default_model": "y"})
    await catalog.publish("b", routes, 0.0)
    await catalog.publish("c", table(None, "y"), 0.0)  # the pool that loses y says nothing of it
    half = Download(done=43, total=88)
    await catalog.report_download("b", "y", "1.0.0", half)
    await catalog.report_download("c", "y", "1.0.0", Download(error="not ours"))

    async def shown() -> tuple[str | None, Download | None, Download | None]:
        found = (await catalog.routes_and_catalog(1.0))[1]
        x, y = (found.model(name) for name in ("x", "y"))
        assert x
        assert y
        return found.pending_default_model, x.versions[0].download, y.versions[0].download

    assert await shown() == ("y", None, half)
    assert await catalog.download("b", "y", "1.0.0") == half
    seconds = await store.redis.ttl(store.keys.download("b", "y", "1.0.0"))
    assert 0 < seconds <= DOWNLOAD_FORGET_SECONDS
    failed = Download(done=43, total=88, error="SourceUnavailable: offline")
    await catalog.report_download("b", "y", "1.0.0", failed)
    assert await shown() == ("y", None, failed)
    assert await store.redis.ttl(store.keys.download("b", "y", "1.0.0")) > DOWNLOAD_FORGET_SECONDS
    await catalog.announce_replica(replica("1", "y", until=30.0).model_copy(update={"pool": "b"}), new=True)
    assert await shown() == ("y", None, None)
    assert await catalog.download("b", "y", "1.0.0") is None
