from __future__ import annotations

import itertools
from datetime import UTC, datetime

import pytest
from matte_core.contracts.k8s.rollout import Cause, Phase, RolloutStatus
from matte_core.domain.phases import TERMINAL, TRANSITIONS, IllegalTransitionError, elapsed_seconds, transition

NOW = datetime(2026, 1, 1, tzinfo=UTC)
LEGAL = [(old, new) for old in Phase for new in TRANSITIONS[old]]
ILLEGAL = sorted(set(itertools.product(Phase, Phase)) - set(LEGAL))


@pytest.mark.parametrize(("old", "new"), LEGAL)
def test_legal_moves(old: Phase, new: Phase) -> None:
    moved = transition(RolloutStatus(phase=old), new, NOW, Cause.ABORTED, "why")
    assert (moved.phase, moved.cause, moved.message) == (new, Cause.ABORTED, "why")
    assert moved.phase_started_at == "2026-01-01T00:00:00Z"


@pytest.mark.parametrize(("old", "new"), ILLEGAL)
def test_illegal_moves(old: Phase, new: Phase) -> None:
    with pytest.raises(IllegalTransitionError, match=f"from {old} to {new}"):
        transition(RolloutStatus(phase=old), new, NOW)


def test_every_phase_can_go_back_and_end() -> None:
    for phase in set(Phase) - TERMINAL - {Phase.ROLLING_BACK}:
        assert Phase.ROLLING_BACK in TRANSITIONS[phase]
    assert TRANSITIONS[Phase.ROLLING_BACK] == {Phase.ROLLED_BACK, Phase.FAILED}
    assert all(TRANSITIONS[phase] == {Phase.PENDING} for phase in TERMINAL)


def test_traffic_comes_only_after_the_golden_images() -> None:
    assert [old for old in Phase if Phase.STEPPING in TRANSITIONS[old]] == [Phase.GOLDEN, Phase.PAUSED]
    assert [old for old in Phase if Phase.PROMOTING in TRANSITIONS[old]] == [Phase.GOLDEN, Phase.STEPPING, Phase.PAUSED]


def test_a_long_message_is_cut() -> None:
    assert len(transition(RolloutStatus(), Phase.VERIFYING, NOW, message="x" * 999).message) == 300


def test_a_clock_that_goes_back_has_not_elapsed() -> None:
    assert elapsed_seconds("2026-01-01T00:00:10Z", NOW) == 0
    assert elapsed_seconds("2025-12-31T23:59:50Z", NOW) == 10
    assert elapsed_seconds(None, NOW) == 0
