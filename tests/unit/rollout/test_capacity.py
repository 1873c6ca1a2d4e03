from __future__ import annotations

import pytest
from matte_core.contracts.k8s.rollout import Phase, RolloutSpec, RolloutStatus
from matte_operator.domain.rollout.capacity import (
    desired_replicas,
    max_total_replicas,
    next_weight,
    replicas_for_weight,
    weight_for_replicas,
)
from matte_operator.domain.rollout.observation import Observation, VersionState

FULL = [1, 2, 3, 4, 7, 10, 33, 99, 100, 101, 150, 250, 1000]


@pytest.mark.parametrize("full", FULL)
def test_need_and_capacity_are_each_others_inverse(full: int) -> None:
    for weight in range(101):
        enough = replicas_for_weight(weight, full)
        assert weight_for_replicas(enough, full) >= weight
        assert enough == 0 or weight_for_replicas(enough - 1, full) < weight
    assert replicas_for_weight(100, full) == full
    assert weight_for_replicas(full, full) == 100


@pytest.mark.parametrize("full", FULL)
def test_both_sides_of_every_split_fit_the_budget(full: int) -> None:
    assert max(
        replicas_for_weight(weight, full) + replicas_for_weight(100 - weight, full) for weight in range(101)
    ) <= max_total_replicas(full, full, 1)


def test_one_more_is_enough_up_to_a_hundred() -> None:
    assert [max_total_replicas(full, full, 1) - full for full in (1, 4, 100, 101, 1000)] == [1, 1, 1, 3, 11]
    assert max_total_replicas(2, 5, 3) == 8


def status(phase: Phase, weight: int, stable: int = 4, canary: int = 4) -> RolloutStatus:
    return RolloutStatus(
        phase=phase, stable="1", stable_replicas=stable, canary="2", canary_replicas=canary, weight=weight
    )


def seen(stable: tuple[int, int], canary: tuple[int, int]) -> Observation:
    """Ready replicas and applied weight of each; what is held is ready."""
    (a, x), (b, y) = stable, canary
    return Observation({"1": VersionState(a, a, x), "2": VersionState(b, b, y)})


SPEC = RolloutSpec.model_validate({"steps": [{"weight": 10}, {"weight": 60}]})


def test_back_to_a_stable_at_full_size_at_once() -> None:
    at = seen((4, 90), (1, 10))
    assert next_weight(SPEC, status(Phase.ROLLING_BACK, 10), at) == 0


def test_back_to_a_smaller_stable_follows_its_capacity() -> None:
    rolling = status(Phase.ROLLING_BACK, 60)
    assert next_weight(SPEC, rolling, seen((2, 40), (3, 60))) == 50
    assert desired_replicas(SPEC, rolling, seen((2, 40), (3, 60))) == {"1": 2, "2": 3}
    moved = status(Phase.ROLLING_BACK, 50)
    assert desired_replicas(SPEC, moved, seen((2, 50), (3, 50))) == {"1": 2, "2": 2}
    assert desired_replicas(SPEC, moved, seen((2, 50), (2, 50))) == {"1": 3, "2": 2}


def test_what_a_dead_canary_cannot_carry_moves_at_once() -> None:
    dead = Observation({"1": VersionState(2, 2, 40), "2": VersionState(3, 0, 60)})
    for phase in (Phase.STEPPING, Phase.PAUSED, Phase.ROLLING_BACK):
        assert next_weight(SPEC, status(phase, 60), dead) == 0


def test_silent_routers_keep_what_they_may_use() -> None:
    silent = Observation({"1": VersionState(4, 4, None), "2": VersionState(2, 2, None)})
    kept = desired_replicas(SPEC, status(Phase.STEPPING, 10), silent)
    assert kept == {"1": 4, "2": 1}


def test_a_version_of_another_size() -> None:
    """Two large replicas instead of eight small ones."""
    stepping = status(Phase.STEPPING, 0, stable=8, canary=2).model_copy(update={"step": 1})
    assert desired_replicas(SPEC, stepping, seen((8, 100), (0, 0))) == {"1": 8, "2": 1}
    assert next_weight(SPEC, stepping, seen((8, 100), (1, 0))) == 50


def test_nothing_is_scaled_down_before_every_router_has_moved() -> None:
    at_60, back = status(Phase.STEPPING, 60), status(Phase.ROLLING_BACK, 0)
    assert desired_replicas(SPEC, at_60.model_copy(update={"step": 1}), seen((4, 90), (3, 10)))["1"] == 4
    assert desired_replicas(SPEC, at_60.model_copy(update={"step": 1}), seen((4, 40), (3, 60)))["1"] == 2
    assert desired_replicas(SPEC, back, seen((4, 90), (2, 30)))["2"] == 2
    assert desired_replicas(SPEC, back, seen((4, 100), (2, 0)))["2"] == 0
