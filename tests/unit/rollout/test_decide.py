from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from matte_core.contracts.k8s.model import VersionParameters
from matte_core.contracts.k8s.rollout import Cause, Phase, RolloutSpec, RolloutStatus
from matte_operator.domain.rollout.decide import decide
from matte_operator.domain.rollout.observation import (
    AnswerStats,
    Gate,
    GateResult,
    GoldenAnswer,
    GoldenResults,
    Observation,
    VersionState,
    spec_hash,
)
from pydantic import ValidationError
from rollout_simulation import EMPTY, ERRORS, FEW, GOOD, NOW, SHIFTED, SLOW, RolloutSimulation, wanted

WHOLE = [
    Phase.STEPPING,
    Phase.PROMOTING,
    Phase.SUCCEEDED,
]
NO = GateResult(Gate.FAILED, "no")


def request(action: str, version: str = "2.0.0", id_: str = "1") -> dict[str, str]:
    return {"action": action, "version": version, "id": id_}


def stepping(weight: int = 10, **simulation: Any) -> RolloutSimulation:
    made = RolloutSimulation(**simulation)
    made.until(lambda d: d.status.phase is Phase.STEPPING and d.status.weight == weight and bool(d.status.checks))
    return made


def test_a_good_version_is_promoted_by_itself_with_one_gpu_more() -> None:
    simulation = RolloutSimulation(gpus=5)
    simulation.phase(Phase.SUCCEEDED)
    assert [phase for phase in simulation.phases if phase in WHOLE] == WHOLE
    decision = simulation.pass_()
    assert (decision.weights, decision.replicas, decision.requeue_after) == ({"2.0.0": 100}, {"2.0.0": 4}, None)
    assert simulation.status
    assert simulation.status.previous == "1.0.0"
    assert simulation.most_pods == 5
    weights = [record[1].get("2.0.0", 0) for record in simulation.history]
    assert weights == sorted(weights)
    assert {10, 50, 100} <= set(weights)


def test_the_steps_take_their_time_and_each_is_judged() -> None:
    simulation = stepping()
    assert simulation.status
    assert simulation.status.checks[-1].weight == 10
    start = simulation.now
    simulation.until(lambda d: d.status.step == 1)
    assert 40 <= (simulation.now - start).total_seconds() <= 80


def test_no_traffic_before_the_golden_images() -> None:
    simulation = RolloutSimulation(gates={"golden": GoldenResults(2, (GoldenAnswer("a"),))})
    for _ in range(20):
        decision = simulation.pass_()
        assert (decision.weights, decision.mirror) == ({"1.0.0": 100}, 0)
    assert decision.status.phase is Phase.GOLDEN


@pytest.mark.parametrize(
    ("gates", "cause"),
    [
        ({"verified": GateResult(Gate.FAILED, "digest differs")}, Cause.VERIFICATION),
        ({"preflight": GateResult(Gate.FAILED, "no GPU")}, Cause.PREFLIGHT),
        ({"warmed": NO}, Cause.WARM),
        ({"golden": GoldenResults(1, (GoldenAnswer("a", bad_mask="empty mask"),))}, Cause.GOLDEN),
        ({"golden": GoldenResults(1, (GoldenAnswer("a", agreement=SHIFTED),))}, Cause.GOLDEN),
        ({"verified": GateResult()}, Cause.TIMEOUT),
        ({"warmed": GateResult()}, Cause.TIMEOUT),
        ({"golden": GoldenResults()}, Cause.TIMEOUT),
    ],
)
def test_what_fails_before_traffic_costs_nobody_any(gates: dict[str, Any], cause: Cause) -> None:
    simulation = RolloutSimulation(gates=gates)
    decision = simulation.until(lambda d: d.status.phase is Phase.FAILED, passes=800)
    assert decision.status.cause is cause
    assert all(weights == {"1.0.0": 100} for _, weights, _ in simulation.history)
    simulation.pass_()
    assert simulation.pods == {"1.0.0": 4, "2.0.0": 0}


@pytest.mark.parametrize("answers", [ERRORS, SLOW, EMPTY], ids=["errors", "slow", "empty"])
def test_a_bad_version_goes_back_at_the_first_step(answers: AnswerStats) -> None:
    simulation = RolloutSimulation(answers={"2.0.0": answers})
    decision = simulation.phase(Phase.ROLLED_BACK)
    assert decision.status.cause is Cause.ANALYSIS
    assert max(weights.get("2.0.0", 0) for _, weights, _ in simulation.history) == 10
    assert decision.weights == {"1.0.0": 100}


def test_shifted_masks_go_back() -> None:
    simulation = RolloutSimulation(pairs=(SHIFTED,) * 60)
    assert "agreement" in simulation.phase(Phase.ROLLED_BACK).status.message


def test_a_crash_with_traffic_goes_back_in_one_decision() -> None:
    simulation = stepping()
    simulation.trouble["2.0.0"], simulation.broken = "out of memory", {"2.0.0"}
    decision = simulation.pass_()
    assert (decision.status.phase, decision.weights) == (Phase.ROLLING_BACK, {"1.0.0": 100})
    assert decision.requeue_after == 0.5
    assert simulation.pass_().status.message == "out of memory"


def test_a_late_rollback_grows_stable_before_traffic_follows() -> None:
    """At 50 % with one GPU more stable is smaller than full: it gets traffic as its replicas come."""
    simulation = stepping(50, gpus=5)
    simulation.pass_()
    assert simulation.pods["1.0.0"] == 3
    simulation.spec = wanted("1.0.0")
    for _ in range(30):
        before = simulation.pods["1.0.0"]
        decision = simulation.pass_()
        assert decision.weights["1.0.0"] <= before * 25
        if decision.status.phase is Phase.ROLLED_BACK:
            break
    assert (decision.status.phase, decision.status.cause) == (Phase.ROLLED_BACK, Cause.REVERTED)
    simulation.pass_()
    assert (simulation.pods, simulation.most_pods) == ({"1.0.0": 4, "2.0.0": 0}, 5)


def test_few_samples_pause_and_retry_goes_on() -> None:
    simulation = RolloutSimulation(answers={"2.0.0": FEW})
    decision = simulation.phase(Phase.PAUSED)
    assert (decision.status.cause, decision.status.weight) == (Cause.INCONCLUSIVE, 10)
    assert "too few samples" in decision.status.message
    simulation.answers = {}
    assert simulation.pass_().status.phase is Phase.PAUSED
    simulation.spec = wanted(request=request("retry"))
    assert simulation.pass_().status.phase is Phase.STEPPING
    simulation.phase(Phase.SUCCEEDED)


def test_pause_holds_and_resume_goes_on() -> None:
    simulation = stepping()
    simulation.spec = wanted(paused=True)
    for _ in range(50):
        decision = simulation.pass_()
        assert (decision.status.phase, decision.weights) == (Phase.PAUSED, {"1.0.0": 90, "2.0.0": 10})
    simulation.spec = wanted()
    assert simulation.pass_().status.phase is Phase.STEPPING
    simulation.phase(Phase.SUCCEEDED)


def test_paused_from_the_start_gets_no_weight() -> None:
    simulation = RolloutSimulation(spec=wanted(paused=True))
    assert simulation.phase(Phase.PAUSED).weights == {"1.0.0": 100, "2.0.0": 0}


def test_a_version_that_turns_bad_while_paused_goes_back() -> None:
    simulation = stepping()
    simulation.spec = wanted(paused=True)
    simulation.pass_()
    simulation.answers = {"2.0.0": ERRORS}
    simulation.phase(Phase.ROLLED_BACK)


def test_promote_skips_the_steps_but_not_the_golden_images() -> None:
    simulation = RolloutSimulation(spec=wanted(request=request("promote")), gates={"golden": GoldenResults(1)})
    for _ in range(10):
        simulation.pass_()
    assert simulation.status
    assert simulation.status.phase is Phase.GOLDEN
    simulation.gates = {}
    simulation.phase(Phase.SUCCEEDED)
    assert simulation.status.forced


def test_abort_stays_aborted_and_retry_tries_once() -> None:
    simulation = stepping()
    simulation.spec = wanted(request=request("abort"))
    assert simulation.phase(Phase.ROLLED_BACK).status.cause is Cause.ABORTED
    for _ in range(50):
        assert simulation.pass_().status.phase is Phase.ROLLED_BACK
    simulation.spec = wanted(request=request("retry"))
    simulation.answers = {"2.0.0": ERRORS}
    simulation.phase(Phase.STEPPING)
    simulation.phase(Phase.ROLLED_BACK)
    for _ in range(50):
        assert simulation.pass_().status.phase is Phase.ROLLED_BACK
    simulation.spec, simulation.answers = wanted(request=request("retry", id_="2")), {}
    simulation.phase(Phase.SUCCEEDED)


def test_a_request_for_another_version_or_at_the_wrong_time_does_nothing() -> None:
    simulation = stepping()
    simulation.spec = wanted(request=request("abort", version="3.0.0"))
    assert simulation.pass_().status.phase is Phase.STEPPING
    simulation.spec = wanted(request=request("retry"))
    assert simulation.pass_().status.phase is Phase.STEPPING
    simulation.answers = {"2.0.0": ERRORS}
    assert simulation.phase(Phase.ROLLED_BACK).status.attempt == 1
    assert simulation.pass_().status.phase is Phase.ROLLED_BACK


def test_a_third_version_waits_until_traffic_is_back() -> None:
    simulation = stepping(50, gpus=5)
    simulation.spec = wanted("3.0.0")
    simulation.phase(Phase.ROLLING_BACK)
    simulation.until(lambda d: d.status.canary == "3.0.0")
    assert simulation.history[-2][0] is Phase.ROLLING_BACK
    assert simulation.routed == {"1.0.0": 100}
    simulation.phase(Phase.SUCCEEDED)
    assert simulation.routed == {"3.0.0": 100}


def test_failed_then_reverted_then_asked_for_again_is_a_new_rollout() -> None:
    simulation = RolloutSimulation(answers={"2.0.0": ERRORS})
    simulation.phase(Phase.ROLLED_BACK)
    simulation.spec = wanted("1.0.0")
    assert simulation.pass_().requeue_after is None
    simulation.spec, simulation.answers = wanted(), {}
    simulation.phase(Phase.SUCCEEDED)


@pytest.mark.parametrize("answers", [{}, {"2.0.0": ERRORS}], ids=["good", "bad"])
def test_taken_back_and_asked_for_again_while_traffic_still_moves(answers: dict[str, AnswerStats]) -> None:
    simulation = stepping(50, gpus=5)
    if answers:
        simulation.answers = answers
        simulation.phase(Phase.ROLLING_BACK)
    simulation.spec = wanted("1.0.0")
    assert simulation.pass_().status.phase is Phase.ROLLING_BACK
    simulation.spec, simulation.answers = wanted(), {}
    assert simulation.phase(Phase.SUCCEEDED).status.attempt == 2


def test_the_way_back_to_the_version_before_has_no_steps() -> None:
    simulation = RolloutSimulation()
    simulation.phase(Phase.SUCCEEDED)
    simulation.spec, simulation.phases = wanted("1.0.0"), []
    simulation.phase(Phase.SUCCEEDED)
    assert Phase.STEPPING not in simulation.phases
    assert simulation.routed == {"1.0.0": 100}


def test_the_first_version_goes_straight_to_all() -> None:
    simulation = RolloutSimulation(status=None, pods={}, routed={})
    simulation.phase(Phase.SUCCEEDED)
    assert Phase.STEPPING not in simulation.phases
    assert next(weights for _, weights, _ in simulation.history if weights) == {"2.0.0": 100}


def test_a_first_version_that_fails_gets_no_route() -> None:
    simulation = RolloutSimulation(status=None, pods={}, routed={}, gates={"warmed": NO})
    decision = simulation.phase(Phase.FAILED)
    assert (decision.weights, decision.replicas) == ({}, {"2.0.0": 0})


def test_what_serves_already_is_taken_over_without_a_rollout() -> None:
    simulation = RolloutSimulation(spec=wanted("1.0.0"), status=None)
    decision = simulation.pass_()
    assert (decision.status.phase, decision.replicas) == (Phase.SUCCEEDED, {"1.0.0": 4})
    other = RolloutSimulation(status=None)
    assert other.pass_().status.stable == "1.0.0"


def test_a_crash_while_promoted_goes_back() -> None:
    simulation = RolloutSimulation(gpus=5)
    simulation.until(lambda d: d.status.settled_at is not None)
    assert simulation.pods["1.0.0"] == 1
    simulation.trouble = {"2.0.0": "crash loop"}
    simulation.phase(Phase.ROLLED_BACK)
    assert simulation.routed == {"1.0.0": 100}
    assert simulation.most_pods == 5


def test_gpus_that_never_come_pause() -> None:
    simulation = RolloutSimulation(spec=wanted(limits={"shiftSeconds": 60}), gpus=4, pods={"1.0.0": 4})
    simulation.gates = {}
    decision = simulation.phase(Phase.ROLLING_BACK, Phase.FAILED)
    assert decision.status.cause is Cause.TIMEOUT
    stuck = stepping()
    stuck.gpus = sum(stuck.pods.values())
    stuck.broken = {"2.0.0"}
    stuck.spec = wanted(limits={"shiftSeconds": 60})
    decision = stuck.until(lambda d: d.status.phase is not Phase.STEPPING)
    assert (decision.status.phase, decision.weights["1.0.0"]) == (Phase.PAUSED, 100)


def test_what_was_measured_in_an_earlier_step_is_not_used() -> None:
    simulation = stepping()
    seen = simulation.seen()
    assert seen.measurements
    stale = replace(seen, measurements=replace(seen.measurements, since="2026-01-01T00:00:00Z", canary=ERRORS))
    for _ in range(10):
        simulation.now = simulation.now.replace(minute=simulation.now.minute + 1)
        decision = decide(simulation.spec, simulation.status, stale, simulation.now)
        simulation.status = decision.status
    assert decision.status.failures == 0


def test_scaling_during_a_rollout_scales_both() -> None:
    simulation = stepping()
    simulation.spec = wanted(replicas=8)
    decision = simulation.pass_()
    assert (decision.status.stable_replicas, decision.status.canary_replicas) == (8, 8)
    assert decision.replicas["1.0.0"] == 8


def test_answers_of_an_earlier_attempt_do_not_open_a_gate() -> None:
    simulation = RolloutSimulation()
    simulation.pass_()
    status = simulation.status
    assert status
    seen = simulation.seen()
    assert seen.canary
    old = replace(seen, canary=replace(seen.canary, attempt=seen.canary.attempt - 1))
    assert decide(simulation.spec, status, old, simulation.now).status.phase is status.phase


def test_a_model_without_stable_and_a_silent_router() -> None:
    seen = Observation({"1.0.0": VersionState(4, 4, 100), "2.0.0": VersionState(1, 1, None)})
    status = RolloutStatus(phase=Phase.ROLLING_BACK, stable="1.0.0", stable_replicas=4, canary="2.0.0", weight=0)
    assert decide(wanted(), status, seen, NOW).status.phase is Phase.ROLLING_BACK


def test_hash_names_the_version_not_its_size() -> None:
    one = VersionParameters.model_validate({"family": "grabcut"})
    assert spec_hash("1.0.0", one) == spec_hash("1.0.0", one.model_copy(update={"replicas": 9}))
    others = {
        spec_hash("1.0.0", one),
        spec_hash("2.0.0", one),
        spec_hash("1.0.0", one.model_copy(update={"slots": 3})),
    }
    assert len(others) == 3


@pytest.mark.parametrize(
    "fields",
    [
        {"steps": [{"weight": 50}, {"weight": 10}]},
        {"steps": [{"weight": 10}, {"weight": 10}]},
        {"steps": [{"weight": 100}]},
        {"analysis": {"queries": [{"name": "mine", "query": "up"}]}},
        {"analysis": {"queries": [{"name": "errors", "query": "up", "max": 1}]}},
    ],
)
def test_specs_that_are_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        RolloutSpec.model_validate(fields)


def test_good_is_good_enough_for_the_defaults() -> None:
    simulation = RolloutSimulation(spec=replace(wanted(), rollout=RolloutSpec()), answers={"2.0.0": GOOD})
    simulation.until(lambda d: d.status.phase is Phase.SUCCEEDED, passes=2000)
