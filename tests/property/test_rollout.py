"""What holds for every rollout, whatever is seen and whenever the operator restarts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import HealthCheck, event, given, settings
from matte_core.contracts.k8s.rollout import HISTORY_MAX, Phase, RolloutSpec, RolloutStatus
from matte_core.domain.phases import SERVING, TERMINAL, TRANSITIONS
from matte_operator.domain.rollout.capacity import max_total_replicas, replicas_for_weight, weight_for_replicas
from matte_operator.domain.rollout.decide import Decision, decide
from matte_operator.domain.rollout.observation import (
    CanaryGates,
    DesiredRollout,
    Gate,
    GateResult,
    GoldenAnswer,
    GoldenResults,
    Measurements,
    Observation,
    VersionState,
)
from rollout_simulation import EMPTY, ERRORS, FEW, GOOD, NOW, SAME, SHIFTED, SLOW, RolloutSimulation

# a long example may be long to print too
pytestmark = pytest.mark.filterwarnings("ignore:Generating overly large repr")
EXAMPLES = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
VERSIONS = ["1.0.0", "2.0.0", "3.0.0"]
SHORT = {
    "verifySeconds": 60,
    "startSeconds": 60,
    "warmSeconds": 60,
    "goldenSeconds": 60,
    "shiftSeconds": 60,
    "confirmSeconds": 20,
    "promoteSeconds": 60,
    "rollbackSeconds": 60,
}
ANALYSIS = {"intervalSeconds": 5, "inconclusiveLimit": 3, "failureLimit": 2}
END = TERMINAL | {Phase.PAUSED}

gates = st.builds(GateResult, st.sampled_from([*Gate, Gate.PASSED, Gate.PASSED]), st.just("why"))
golden = st.sampled_from(
    [
        GoldenResults(),
        GoldenResults(1, (GoldenAnswer("a"),)),
        GoldenResults(1, (GoldenAnswer("a", agreement=SAME),)),
        GoldenResults(2, (GoldenAnswer("a"),)),
        GoldenResults(1, (GoldenAnswer("a", error="lost"),)),
    ]
)
versions_now = st.builds(
    VersionState,
    allocated=st.integers(0, 8),
    ready=st.integers(0, 8),
    weight=st.none() | st.sampled_from([0, 0, 10, 50, 90, 100]),
    failure=st.sampled_from(["", "", "", "", "", "out of memory"]),
)
# by name, since an example is printed with all that it holds
ANSWERS = {"good": GOOD, "few": FEW, "errors": ERRORS, "slow": SLOW, "empty": EMPTY}
answers = st.sampled_from(["good", "good", *ANSWERS])


@dataclass(frozen=True)
class PassInput:
    """What is seen in a pass; it is put together with the status, as the operator does."""

    versions: dict[str, VersionState]
    gates: dict[str, Any]
    stable: str
    canary: str
    shifted: bool
    follows: bool
    seconds: float

    def of(self, status: RolloutStatus | None, last: Decision | None) -> Observation:
        versions = self.versions
        if self.follows and last:
            # as it mostly is: what was decided has happened
            routed = {name: (last.replicas.get(name, 0), weight) for name, weight in last.weights.items()}
            extra = {name: (count, 0) for name, count in last.replicas.items() if name not in routed}
            versions = {name: VersionState(count, count, weight) for name, (count, weight) in (routed | extra).items()}
        if status is None or status.canary is None:
            return Observation(versions)
        pairs = (SHIFTED if self.shifted else SAME,) * 60
        stable, canary = ANSWERS[self.stable], ANSWERS[self.canary]
        measured = status.step_started_at and Measurements(status.step_started_at, stable, canary, pairs)
        return Observation(versions, CanaryGates(status.canary, status.attempt, **self.gates), measured or None)


passes = st.builds(
    PassInput,
    versions=st.dictionaries(st.sampled_from(VERSIONS), versions_now, max_size=3),
    gates=st.fixed_dictionaries({"verified": gates, "preflight": gates, "warmed": gates, "golden": golden}),
    stable=answers,
    canary=answers,
    shifted=st.sampled_from([False, False, False, True]),
    follows=st.sampled_from([True, True, True, False]),
    seconds=st.sampled_from([0.3, 2.0, 7.0, 40.0]),
)


@st.composite
def specs(draw: st.DrawFn, *, no_requests: bool = False) -> DesiredRollout:
    weights = sorted(draw(st.sets(st.integers(1, 99), max_size=3)))
    version = draw(st.sampled_from(VERSIONS))
    asked = st.sampled_from(["promote", "abort", "retry"])
    request = draw(st.none() | asked.map(lambda action: {"action": action, "version": version, "id": "1"}))
    rollout = RolloutSpec.model_validate(
        {
            "steps": [{"weight": weight, "durationSeconds": 15, "minSamples": 50} for weight in weights],
            "analysis": ANALYSIS,
            "limits": SHORT | {"surge": draw(st.integers(1, 3))},
            "paused": False if no_requests else draw(st.sampled_from([False, False, True])),
            "request": None if no_requests else request,
        }
    )
    return DesiredRollout(version, f"hash of {version}", draw(st.integers(1, 8)), rollout)


def start(stable: bool) -> RolloutStatus | None:
    if not stable:
        return None
    return RolloutStatus(phase=Phase.SUCCEEDED, stable="1.0.0", stable_replicas=4, observed_spec_hash="hash of 1.0.0")


def saved(status: RolloutStatus | None) -> RolloutStatus | None:
    """As Kubernetes keeps it."""
    if status is None:
        return None
    return RolloutStatus.model_validate_json(status.model_dump_json(by_alias=True, exclude_none=True))


def assert_invariants(status: RolloutStatus | None, seen: Observation, decision: Decision) -> None:
    """What holds for every decision."""
    new = decision.status
    assert sum(decision.weights.values()) == 100 or (not decision.weights and new.stable is None)
    assert all(weight >= 0 for weight in decision.weights.values())
    assert all(count >= 0 for count in decision.replicas.values())
    assert set(decision.weights) <= set(decision.replicas)
    assert len(new.checks) <= HISTORY_MAX
    if new.stable is None:
        return
    assert decision.replicas[new.stable] >= replicas_for_weight(decision.weights[new.stable], new.stable_replicas)
    applied = seen.version(new.stable).weight
    assert decision.replicas[new.stable] >= replicas_for_weight(
        100 if applied is None else applied, new.stable_replicas
    )
    if new.canary and (applied := seen.version(new.canary).weight):
        assert decision.replicas[new.canary] >= replicas_for_weight(applied, new.canary_replicas)
    same = status is not None and status.stable == new.stable and status.canary == new.canary
    if same and status and new.canary and new.weight < status.weight:
        stable, canary = seen.version(new.stable), seen.version(new.canary)
        enough = weight_for_replicas(stable.ready, new.stable_replicas) >= 100 - new.weight
        assert enough or new.weight >= weight_for_replicas(canary.ready, new.canary_replicas)
    if new.canary and seen.canary is not None and new.weight > (status.weight if status and same else 0):
        assert new.phase in SERVING


def reachable(old: Phase) -> set[Phase]:
    found, front = {old}, {old}
    while front:
        front = {new for phase in front for new in TRANSITIONS[phase]} - found
        found |= front
    return found


@EXAMPLES
@given(st.booleans(), st.lists(st.tuples(specs(), st.lists(passes, min_size=1, max_size=12)), max_size=4))
def test_every_decision_keeps_the_invariants_and_survives_a_restart(
    stable: bool, edits: Sequence[tuple[DesiredRollout, Sequence[PassInput]]]
) -> None:
    status, last, now = start(stable), None, NOW
    for spec, sequence in edits:
        for seen in sequence:
            observation = seen.of(status, last)
            decision = decide(spec, status, observation, now)
            assert_invariants(status, observation, decision)
            # a restart before the status is used, and one after it was written, before anything else was done
            assert decide(spec, saved(status), observation, now) == decision
            again = decide(spec, saved(decision.status), seen.of(decision.status, last), now)
            assert_invariants(decision.status, seen.of(decision.status, last), again)
            repeated = decide(spec, saved(decision.status), observation, now)
            assert repeated == decision
            assert decision.status.phase in reachable(status.phase if status else Phase.PENDING)
            status, last, now = decision.status, decision, now + timedelta(seconds=seen.seconds)


@EXAMPLES
@given(st.booleans(), specs(no_requests=True), st.lists(passes, min_size=1, max_size=20))
def test_any_observations_end_in_a_terminal_or_paused_phase(
    stable: bool, spec: DesiredRollout, sequence: Sequence[PassInput]
) -> None:
    """Within the sum of the limits; one starts anew each time the weight comes nearer to its target."""
    status, last, now = start(stable), None, NOW
    ends = NOW + timedelta(seconds=10 * 80 + 3 * (60 + 15 + 5 * 40) + 200 * 80)
    index = 0
    while now < ends:
        seen = sequence[index % len(sequence)]
        last = decide(spec, status, seen.of(status, last), now)
        status, now, index = last.status, now + timedelta(seconds=max(seen.seconds, 2.0)), index + 1
        if status.phase in END and index > len(sequence):
            break
    assert status is not None
    event(status.phase)
    assert status.phase in END


@EXAMPLES
@given(specs(no_requests=True), st.sampled_from([Phase.ROLLED_BACK, Phase.FAILED]), st.lists(passes, max_size=20))
def test_a_rolled_back_spec_stays_rolled_back(
    spec: DesiredRollout, phase: Phase, sequence: Sequence[PassInput]
) -> None:
    spec = replace(spec, version="2.0.0", hash="hash of 2.0.0")
    status = RolloutStatus(
        phase=phase,
        stable="1.0.0",
        stable_replicas=4,
        canary="2.0.0",
        canary_replicas=4,
        observed_spec_hash="hash of 2.0.0",
        attempt=1,
    )
    last: Decision | None = None
    for number, seen in enumerate(sequence):
        changed = replace(spec, replicas=1 + number % 3)
        last = decide(changed, saved(status), seen.of(status, last), NOW + timedelta(days=number))
        status = last.status
        assert (status.phase, last.weights) == (phase, {"1.0.0": 100})


@EXAMPLES
@given(
    full=st.sampled_from([1, 2, 3, 4, 5, 8, 13, 40, 100, 150]),
    other=st.sampled_from([None, 1, 3, 9]),
    weights=st.sets(st.integers(1, 99), max_size=3).map(sorted),
    turns=st.integers(0, 60),
    bad=st.sampled_from(["", "revert", "errors", "crash", "third"]),
)
def test_one_gpu_more_is_enough(full: int, other: int | None, weights: list[int], turns: int, bad: str) -> None:
    """Stable's traffic never exceeds what its ready replicas carry, and the rollout ends as it should."""
    rollout = RolloutSpec.model_validate(
        {"steps": [{"weight": weight, "durationSeconds": 15} for weight in weights], "analysis": ANALYSIS}
    )
    spec = DesiredRollout("2.0.0", "hash of 2.0.0", other or full, rollout)
    status = RolloutStatus(
        phase=Phase.SUCCEEDED, stable="1.0.0", stable_replicas=full, observed_spec_hash="hash of 1.0.0"
    )
    room = max_total_replicas(full, other or full, 1)
    simulation = RolloutSimulation(spec=spec, status=status, gpus=room, pods={"1.0.0": full}, restarts=True)
    for _ in range(turns):
        pass_with_invariants(simulation, full)
    if bad == "revert":
        simulation.spec = replace(spec, version="1.0.0", hash="hash of 1.0.0", replicas=full)
    elif bad == "third":
        simulation.spec = replace(spec, version="3.0.0", hash="hash of 3.0.0")
    elif bad == "crash":
        simulation.trouble["2.0.0"] = "crash loop"
    elif bad == "errors":
        simulation.answers["2.0.0"] = ERRORS
    for _ in range(1500):
        decision = pass_with_invariants(simulation, full)
        if (
            decision.status.phase in TERMINAL
            and decision.requeue_after is None
            and simulation.spec.version in simulation.pods
        ):
            break
    assert simulation.status
    assert simulation.status.phase in TERMINAL
    pass_with_invariants(simulation, full)
    serves = simulation.status.stable or ""
    assert simulation.routed == {serves: 100}
    assert simulation.pods[serves] == simulation.status.stable_replicas
    assert sum(simulation.pods.values()) == simulation.pods[serves]
    assert simulation.most_pods <= room
    if bad == "third":
        assert serves == "3.0.0"


def pass_with_invariants(simulation: RolloutSimulation, full: int) -> Decision:
    ready = simulation.pods.get("1.0.0", 0)
    decision = simulation.pass_()
    if decision.status.stable == "1.0.0":
        assert decision.weights["1.0.0"] <= weight_for_replicas(ready, full)
    return decision


def test_the_pieces_can_fail() -> None:
    """The checks above see a wrong decision."""
    seen = Observation({"1.0.0": VersionState(4, 4, 100)})
    spec = DesiredRollout("2.0.0", "h", 4, RolloutSpec())
    good = decide(spec, start(stable=True), seen, NOW)
    for wrong in (replace(good, weights={"1.0.0": 99}), replace(good, replicas={"1.0.0": 3})):
        with pytest.raises(AssertionError):
            assert_invariants(start(stable=True), seen, wrong)
