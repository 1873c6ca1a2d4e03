"""Routing: the split is the asked one, sticky users stay, and only those move that must."""

from __future__ import annotations

import random
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st
from matte_core.contracts.catalog import Arm, Route, RouteTable
from matte_core.domain.routing import choose, sole_arm
from pydantic import ValidationError


def route(**weights: int) -> Route:
    return Route(model="m", arms=tuple(Arm(version=f"{name[1:]}.0.0", weight=w) for name, w in weights.items()))


weight = st.integers(0, 100)
keys = [f"user{i}" for i in range(10_000)]


@given(weight, st.floats(0, 1, exclude_max=True), st.one_of(st.none(), st.text()))
def test_an_arm_without_weight_gets_nothing(share: int, draw: float, key: str | None) -> None:
    arm = choose(route(v1=share, v2=100 - share), key, draw)
    assert arm.weight > 0


def test_only_an_arm_with_everything_is_the_sole_one() -> None:
    assert sole_arm(route(v1=0, v2=100)) == "2.0.0"
    assert sole_arm(route(v1=1, v2=99)) is None


def test_draws_give_the_asked_split() -> None:
    rng = random.Random(7)
    seen = Counter(choose(route(v1=95, v2=5), None, rng.random()).version for _ in range(10_000))
    assert abs(seen["2.0.0"] - 500) < 2.58 * (10_000 * 0.05 * 0.95) ** 0.5  # the 99 % interval


@pytest.mark.parametrize("share", [5, 25, 50, 90])
def test_keys_give_the_asked_split(share: int) -> None:
    seen = Counter(choose(route(v1=100 - share, v2=share), key, 0.0).version for key in keys)
    p = share / 100
    assert abs(seen["2.0.0"] - 10_000 * p) < 2.58 * (10_000 * p * (1 - p)) ** 0.5


def test_a_user_on_the_new_version_stays_while_its_weight_grows() -> None:
    table = [route(v1=100 - share, v2=share) for share in (0, 5, 20, 50, 100)]
    for key in keys[:2000]:
        path = [choose(step, key, 0.0).version for step in table]
        assert path == sorted(path), key


def test_the_draw_does_not_move_a_sticky_user() -> None:
    assert len({choose(route(v1=50, v2=50), "anna", draw / 10).version for draw in range(10)}) == 1


@pytest.mark.parametrize("weights", [{"v1": 50, "v2": 49}, {"v1": 101}, {"v1": -1, "v2": 101}, {}])
def test_weights_must_sum_to_100(weights: dict[str, int]) -> None:
    with pytest.raises(ValidationError):
        route(**weights)


def test_a_table_names_each_model_and_version_once() -> None:
    with pytest.raises(ValidationError, match="named twice"):
        Route(model="m", arms=(Arm(version="1.0.0", weight=50), Arm(version="1.0.0", weight=50)))
    with pytest.raises(ValidationError, match="named twice"):
        RouteTable(default_model="m", routes=(route(v1=100), route(v1=100)))
    with pytest.raises(ValidationError, match="no route"):
        RouteTable(default_model="other", routes=(route(v1=100),))
    with pytest.raises(ValidationError):
        Arm(version="1.0", weight=100)
