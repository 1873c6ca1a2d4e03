from typing import Any

import pytest
from matte_core.contracts.k8s.common import Condition, ConditionStatus
from matte_core.contracts.k8s.rollout import Cause, Phase, RolloutStatus
from matte_operator.events import EventRecord, conditions_to_report, event_type, rollout_events
from rollout_simulation import RolloutSimulation, wanted


def status(phase: Phase, **fields: Any) -> RolloutStatus:
    known = {"stable": "1.0.0", "canary": "2.0.0", "attempt": 1, "weight": 10, "message": "why"}
    return RolloutStatus.model_validate({"phase": phase, **known, **fields})


def event_reasons(before: RolloutStatus | None, after: RolloutStatus | None) -> list[tuple[str, str]]:
    return [(one.type, one.reason) for one in rollout_events("portrait", before, after)]


def events_of(simulation: RolloutSimulation, passes: int = 400) -> list[EventRecord]:
    """Every Event of a rollout, pass by pass."""
    found = []
    for _ in range(passes):
        before = simulation.status
        simulation.pass_()
        found += rollout_events("portrait", before, simulation.status)
    return found


def test_the_story_of_a_good_version_is_told_once() -> None:
    found = events_of(RolloutSimulation())
    assert [one.reason for one in found] == [
        "RolloutStarted",
        "RolloutVerified",
        "RolloutStepping",
        "StepReached",
        "StepReached",
        "RolloutPromoting",
        "RolloutSucceeded",
    ]
    assert {one.type for one in found} == {"Normal"}
    assert "2.0.0 is to replace 1.0.0 (attempt 1)" in found[0].message
    assert "2.0.0 has 10 % of the traffic (step 1)" in found[3].message


def test_nothing_is_told_at_rest() -> None:
    for phase in Phase:
        same = status(phase, step_started_at="2026-01-01T12:00:00Z")
        assert rollout_events("portrait", same, same.model_copy(update={"weight": 11, "message": "else"})) == []


def test_what_serves_before_there_are_rollouts_is_no_news() -> None:
    assert event_reasons(None, status(Phase.SUCCEEDED, attempt=0, canary=None)) == []
    assert event_reasons(None, None) == []


def test_a_first_version_replaces_nobody() -> None:
    (one,) = rollout_events("portrait", None, status(Phase.VERIFYING, stable=None))
    assert one.message == "2.0.0 is to be the first to serve (attempt 1)"


@pytest.mark.parametrize(
    ("phase", "cause", "type_", "words"),
    [
        (Phase.PAUSED, Cause.INCONCLUSIVE, "Warning", "matte rollout abort portrait"),
        (Phase.PAUSED, Cause.PAUSED, "Normal", "held at 10 %"),
        (Phase.ROLLING_BACK, Cause.ANALYSIS, "Warning", "goes back (AnalysisFailed): why"),
        (Phase.ROLLED_BACK, Cause.ANALYSIS, "Warning", "matte rollout retry portrait"),
        (Phase.ROLLED_BACK, Cause.ABORTED, "Normal", "went back (Aborted)"),
        (Phase.FAILED, Cause.VERIFICATION, "Warning", "Give spec.version another value"),
    ],
)
def test_what_a_person_can_do_is_said(phase: Phase, cause: Cause, type_: str, words: str) -> None:
    (one,) = rollout_events("portrait", status(Phase.STEPPING), status(phase, cause=cause))
    assert one.type == type_
    assert words in one.message


def test_a_pause_for_another_reason_is_news() -> None:
    before, after = status(Phase.PAUSED, cause=Cause.INCONCLUSIVE), status(Phase.PAUSED, cause=Cause.PAUSED)
    assert event_reasons(before, after) == [("Normal", "RolloutPaused")]


def test_a_rollout_that_goes_on_says_so() -> None:
    assert event_reasons(status(Phase.PAUSED), status(Phase.STEPPING)) == [("Normal", "RolloutResumed")]


def test_a_fresh_attempt_that_fails_at_once_tells_both() -> None:
    before = status(Phase.ROLLED_BACK, cause=Cause.ANALYSIS)
    after = status(Phase.ROLLED_BACK, cause=Cause.ANALYSIS, attempt=2)
    assert [reason for _, reason in event_reasons(before, after)] == ["RolloutStarted", "RolledBack"]


def test_a_paused_world_tells_one_pause() -> None:
    simulation = RolloutSimulation(wanted(paused=True))
    found = [one.reason for one in events_of(simulation)]
    assert found.count("RolloutPaused") == 1


def condition(type_: str, state: ConditionStatus, reason: str, message: str = "") -> Condition:
    time = "2026-01-01T00:00:00Z"
    return Condition(type=type_, status=state, reason=reason, message=message, last_transition_time=time)


def test_conditions_do_not_repeat_what_the_rollout_tells() -> None:
    yes, no = ConditionStatus.TRUE, ConditionStatus.FALSE
    before = [condition("Ready", yes, "Serving", "1.0.0 100 %")]
    after = [
        condition("Ready", yes, "Serving", "1.0.0 90 %, 2.0.0 10 %"),
        condition("Progressing", yes, "Stepping"),
        condition("Stalled", yes, "AnalysisFailed"),
    ]
    assert conditions_to_report(before, after, rollout=True) == []
    assert [one.type for one in conditions_to_report(before, after[:1])] == ["Ready"]
    lost = condition("Ready", no, "OutOfMemory", "1.0.0: out of memory")
    assert conditions_to_report(before, [lost], rollout=True) == [lost]


def test_stalled_is_bad_where_it_holds() -> None:
    assert event_type(condition("Stalled", ConditionStatus.TRUE, "AnalysisFailed")) == "Warning"
    assert event_type(condition("Stalled", ConditionStatus.FALSE, "NotStalled")) == "Normal"
