"""Tables of several pools as one."""

from __future__ import annotations

import pytest
from matte_core.contracts.catalog import Arm, Route, RouteTable
from matte_jobs.catalog import FORGET_SECONDS, CatalogStore, merge
from matte_jobs.store import JobStore


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


async def test_a_pool_is_asleep_for_a_day_and_then_forgotten(store: JobStore) -> None:
    catalog = CatalogStore(store)
    assert await catalog.table(0.0) is None
    await catalog.publish("a", table("x", "x"), 0.0)
    await catalog.publish("b", table(None, "y"), 0.0)
    await catalog.keep("b", table(None, "old"), 1000.0)
    late = await catalog.catalog(FORGET_SECONDS - 1)
    assert [(model.name, model.ready, model.default) for model in late.models] == [
        ("x", False, True),
        ("y", False, False),
    ]
    assert await catalog.tables(FORGET_SECONDS + 1) == {"b": table(None, "y")}
    await catalog.keep("a", table(None, "x"), FORGET_SECONDS + 2)  # its router had only been away
    assert set(await catalog.tables(FORGET_SECONDS + 3)) == {"a"} | {"b"}
    await catalog.forget("b")
    await catalog.publish("a", table(None), FORGET_SECONDS + 4)
    empty = await catalog.catalog(FORGET_SECONDS + 5)
    assert (empty.default_model, empty.models) == (None, ())
