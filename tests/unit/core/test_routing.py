"""Routing: the split is the asked one, sticky users stay, and only those move that must."""

from __future__ import annotations

import random
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st
from matte_core.contracts.catalog import Arm, Route, RouteTable, Rule
from matte_core.domain.routing import choose_arm, matching_versions, pinned_version, sole_version
from pydantic import ValidationError


def route(**weights: int) -> Route:
    return Route(model="m", arms=tuple(Arm(version=f"{name[1:]}.0.0", weight=w) for name, w in weights.items()))


weight = st.integers(0, 100)
keys = [f"user{i}" for i in range(10_000)]


@given(weight, st.floats(0, 1, exclude_max=True), st.one_of(st.none(), st.text()))
def test_an_arm_without_weight_gets_nothing(share: int, draw: float, key: str | None) -> None:
    arm = choose_arm(route(v1=share, v2=100 - share), key, draw)
    assert arm.weight > 0


def test_only_an_arm_with_everything_is_the_sole_one() -> None:
    assert sole_version(route(v1=0, v2=100)) == "2.0.0"
    assert sole_version(route(v1=1, v2=99)) is None


def test_draws_give_the_asked_split() -> None:
    rng = random.Random(7)
    seen = Counter(choose_arm(route(v1=95, v2=5), None, rng.random()).version for _ in range(10_000))
    assert abs(seen["2.0.0"] - 500) < 2.58 * (10_000 * 0.05 * 0.95) ** 0.5  # the 99 % interval


@pytest.mark.parametrize("share", [5, 25, 50, 90])
def test_keys_give_the_asked_split(share: int) -> None:
    seen = Counter(choose_arm(route(v1=100 - share, v2=share), key, 0.0).version for key in keys)
    p = share / 100
    assert abs(seen["2.0.0"] - 10_000 * p) < 2.58 * (10_000 * p * (1 - p)) ** 0.5


def test_a_user_on_the_new_version_stays_while_its_weight_grows() -> None:
    table = [route(v1=100 - share, v2=share) for share in (0, 5, 20, 50, 100)]
    for key in keys[:2000]:
        path = [choose_arm(step, key, 0.0).version for step in table]
        assert path == sorted(path), key


def test_the_draw_does_not_move_a_sticky_user() -> None:
    assert len({choose_arm(route(v1=50, v2=50), "anna", draw / 10).version for draw in range(10)}) == 1


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


BETA = Rule(version="2.0.0", header="X-Beta", values=("yes", "1"))
STAFF = Rule(version="1.0.0", tenants=("staff",))


def ruled(*rules: Rule, **weights: int) -> Route:
    return route(**weights).model_copy(update={"rules": rules})


@pytest.mark.parametrize(
    ("tenant", "headers", "version"),
    [
        ("anna", {}, None),
        ("anna", {"x-beta": "yes"}, "2.0.0"),
        ("anna", {"x-beta": "Yes"}, None),
        ("staff", {}, "1.0.0"),
        ("staff", {"x-beta": "1"}, "2.0.0"),
    ],
)
def test_the_first_rule_that_holds_pins(tenant: str, headers: dict[str, str], version: str | None) -> None:
    assert pinned_version(ruled(BETA, STAFF, v1=100, v2=0), None, tenant, headers) == version


@pytest.mark.parametrize(
    ("groups", "version"),
    [("testers", "2.0.0"), ("staff, testers", "2.0.0"), ("staff,testers ", "2.0.0"), ("testers-not", None), ("", None)],
)
def test_a_role_is_one_of_those_that_a_header_lists(groups: str, version: str | None) -> None:
    role = Rule(version="2.0.0", header="X-Auth-Request-Groups", values=("testers",))
    assert pinned_version(ruled(role, v1=100, v2=0), None, "anna", {"x-auth-request-groups": groups}) == version


def test_everything_that_a_rule_names_must_hold() -> None:
    both = Rule(version="2.0.0", tenants=("staff",), header="x-beta")
    table = ruled(both, v1=100, v2=0)
    assert pinned_version(table, None, "staff", {"x-beta": ""}) == "2.0.0", "no values: that it is there is enough"
    assert pinned_version(table, None, "staff", {}) is None
    assert pinned_version(table, None, "anna", {"x-beta": "yes"}) is None


def test_a_rule_whose_version_has_no_arm_is_passed_over() -> None:
    gone = Rule(version="3.0.0", header="x-beta")
    assert pinned_version(ruled(gone, BETA, v1=100, v2=0), None, "anna", {"x-beta": "1"}) == "2.0.0"
    assert pinned_version(ruled(gone, v1=100), None, "anna", {"x-beta": "1"}) is None


def test_a_version_that_is_asked_for_wins_over_rules() -> None:
    table = ruled(BETA, v1=100, v2=0)
    assert pinned_version(table, "1.0.0", "anna", {"x-beta": "1"}) == "1.0.0"
    assert pinned_version(table, "1", "anna", {"x-beta": "1"}) == "1.0.0", "a rule for another major is passed over"
    assert pinned_version(table, "2", "anna", {}) == "2.0.0", "without a share it answers those who ask for it"
    with pytest.raises(LookupError):
        pinned_version(table, "4", "anna", {"x-beta": "1"})


def minor(**weights: int) -> Route:
    return Route(model="m", arms=tuple(Arm(version=f"1.{name[1:]}.0", weight=w) for name, w in weights.items()))


def test_a_major_does_not_pin_everybody_to_a_version_on_its_way() -> None:
    """``/v1/predict`` is what most clients call: a new 1.1.0 gets of it what it gets of the rest."""
    assert pinned_version(minor(v0=100, v1=0), "1", "anna", {}) == "1.0.0"
    assert pinned_version(minor(v0=95, v1=5), "1", "anna", {}) is None
    assert pinned_version(minor(v0=0, v1=100), "1", "anna", {}) == "1.1.0"
    shares = {"1.0.0": 60, "1.1.0": 10, "2.0.0": 30}
    beside = Route(model="m", arms=tuple(Arm(version=version, weight=share) for version, share in shares.items()))
    assert pinned_version(beside, "1", "anna", {}) == "1.0.0", "2.0.0 must not answer, so the largest that fits does"
    canary = minor(v0=100, v1=0).model_copy(update={"rules": (Rule(version="1.1.0", header="x-beta"),)})
    assert pinned_version(canary, "1", "anna", {"x-beta": "1"}) == "1.1.0"


some_rules = st.lists(
    st.builds(
        Rule,
        version=st.sampled_from(["1.0.0", "2.0.0", "3.0.0"]),
        tenants=st.lists(st.sampled_from(["anna", "staff"]), max_size=2).map(tuple),
        header=st.sampled_from([None, "X-Beta", "x-other"]),
    ),
    max_size=4,
).map(tuple)
some_headers = st.dictionaries(st.sampled_from(["x-beta", "x-other"]), st.text(max_size=3))


@given(some_rules, weight, st.sampled_from(["anna", "staff"]), some_headers)
def test_rules_only_ever_pin_to_an_arm(
    rules: tuple[Rule, ...], share: int, tenant: str, headers: dict[str, str]
) -> None:
    table = route(v1=100 - share, v2=share).model_copy(update={"rules": rules})
    assert pinned_version(table, None, tenant, headers) in {None, "1.0.0", "2.0.0"}
    assert pinned_version(table, "2.0.0", tenant, headers) == "2.0.0"
    assert pinned_version(table.model_copy(update={"rules": ()}), None, tenant, headers) is None
    assert pinned_version(table, None, tenant, headers) == pinned_version(
        table, None, tenant, dict(reversed(headers.items()))
    )


@given(weight, some_rules, some_headers, st.sampled_from(["1", "2", "1.0", "v2"]))
def test_a_major_is_kept_whatever_the_rules(
    share: int, rules: tuple[Rule, ...], headers: dict[str, str], asked: str
) -> None:
    table = route(v1=100 - share, v2=share).model_copy(update={"rules": rules})
    assert pinned_version(table, asked, "anna", headers) == f"{asked.strip('v')[0]}.0.0"


def test_versions_as_people_write_them() -> None:
    have = ["1.0.0", "1.2.0", "1.10.1", "2.0.0-rc.1"]
    assert matching_versions("1", have) == matching_versions("v1", have) == ["1.10.1", "1.2.0", "1.0.0"]
    assert matching_versions("1.2", have) == ["1.2.0"]
    assert matching_versions("2.0.0-rc.1", have) == ["2.0.0-rc.1"]
    for unknown in ("2", "3", "1.2.1", "latest", "", "1."):
        assert matching_versions(unknown, have) == []
