"""A Model with a rollout, through time: what is ordered, started, routed and told."""

from __future__ import annotations

import time
from typing import Any

import pytest
from matte_core.contracts.evidence import (
    Agreement,
    AnswerSample,
    AppliedWeights,
    CheckReport,
    CheckState,
    GoldenResult,
    MirroredPair,
    StartReport,
)
from matte_core.contracts.k8s.model import ModelSpec
from matte_core.contracts.k8s.rollout import Cause, Phase
from matte_operator.domain.model import CHECK_AGAIN, ModelDecision, needs_evidence
from matte_operator.domain.ray_state import AppStatus, ServeApp
from matte_operator.domain.rollout.observation import (
    SAMPLES_MAX,
    Gate,
    GateResult,
    ModelEvidence,
    applied_weight,
    measurements,
)
from unit.operator.builders import ModelSimulation

SAME = Agreement(iou=1, boundary=1, alpha_difference=0)
SHIFTED = Agreement(iou=0.4, boundary=0.2, alpha_difference=0.3)
ROLLOUT = {
    "steps": [{"weight": 20, "durationSeconds": 10, "minSamples": 30}, {"weight": 50, "durationSeconds": 10}],
    "analysis": {"intervalSeconds": 5},
    "limits": {"confirmSeconds": 5, "startSeconds": 120},
}
DIGEST = "sha256:" + "0" * 64


class Rollout(ModelSimulation):
    """The cluster obeys: checks pass, replicas start, routers follow; unless a test says else."""

    def __init__(self, **spec: object) -> None:
        super().__init__(rollout=ROLLOUT, **spec)
        self.golden = GoldenResult(name="cat", agreements={"1.0.0": SAME})
        self.failing = 0.0
        self.agreement = SAME
        self.check = CheckState.PASSED
        self.broken: set[str] = set()
        self.seen_weights: list[dict[str, int]] = []
        self.phases: list[Phase] = []
        self.evidence = ModelEvidence()

    def pass_(self, seconds: float = 2) -> ModelDecision:
        decision = self.decide()
        self.after(seconds)
        for _, order in decision.orders:
            failed = {"reason": "DigestMismatch", "message": "it is another"} if self.check == "failed" else {}
            self.checks[order.version] = CheckReport(
                attempt=order.attempt, state=self.check, at=self.now.timestamp(), digest=DIGEST, **failed
            )
        for name in self.versions:
            version = self.versions[name][0].version
            if name not in decision.apps:
                self.apps.pop(name, None)
            elif version not in self.broken:
                self.app(version)
        self._report(decision)
        status = decision.status.rollout
        assert status is not None
        self.phases.append(status.phase)
        return decision

    def _report(self, decision: ModelDecision) -> None:
        status = decision.status.rollout
        assert status is not None
        live = {spec.version: spec.replicas for name, (spec, _, _) in self.versions.items() if name in self.apps}
        weights = self.arms()
        self.seen_weights.append(weights)
        at, since = self.now.timestamp(), status.step_started_at or ""
        start = StartReport(replica="a", at=at, digest=DIGEST, golden=(self.golden,))
        good = [AnswerSample(at=at, seconds=0.1 + 0.0001 * (i % 50), uncertainty=0.05) for i in range(300)]
        bad = [AnswerSample(at=at, seconds=0.1, error=True)] * round(300 * self.failing)
        self.evidence = ModelEvidence(
            applied=(AppliedWeights(expires_at=at + 5, weights={"portrait": weights}),),
            checks=dict(self.checks),
            starts=dict.fromkeys(live, (start,)),
            replicas=live,
            since=since,
            answers={status.stable or "": tuple(good), status.canary or "-": tuple(good + bad)} if since else {},
            pairs=(MirroredPair(at=at, job="j", agreement=self.agreement),) * 100 if since else (),
        )

    def until(self, *phases: Phase, passes: int = 200) -> Rollout:
        for _ in range(passes):
            self.pass_()
            if self.phases[-1] in phases:
                return self
        raise AssertionError(f"{self.phases[-1]} after {passes} passes: {self.status.rollout}")


def served() -> Rollout:
    simulation = Rollout(family="unet", source="s3://models/portrait/1").until(Phase.SUCCEEDED)
    for _ in range(4):
        simulation.pass_()
    assert simulation.arms() == {"1.0.0": 100}
    return simulation


def test_the_first_version_is_checked_before_it_starts_and_then_serves() -> None:
    simulation = Rollout(family="unet", source="s3://models/portrait/1")
    first = simulation.decide()
    assert [spec.version for spec in first.apply] == ["1.0.0"]
    assert first.apps == frozenset()
    ordered = simulation.pass_()
    assert [(pool, order.source) for pool, order in ordered.orders] == [("default", "s3://models/portrait/1")]
    simulation.until(Phase.SUCCEEDED)
    simulation.pass_()
    _, status, _ = simulation.versions["portrait-1-0-0"]
    assert status.digest == DIGEST
    assert status.rollout is not None
    assert status.rollout.phase is Phase.SUCCEEDED
    assert simulation.condition("Progressing")[:2] == ("False", "Complete")
    assert simulation.condition("Ready")[0] == "True"


def test_a_good_version_is_promoted_by_itself_step_by_step() -> None:
    simulation = served().edit(version="2.0.0", source="s3://models/portrait/2")
    assert isinstance(simulation, Rollout)
    simulation.until(Phase.SUCCEEDED)
    for _ in range(3):
        simulation.pass_()
    asked = [weights.get("2.0.0", 0) for weights in simulation.seen_weights]
    assert [weight for i, weight in enumerate(asked) if i == 0 or weight != asked[i - 1]][-4:] == [0, 20, 50, 100]
    assert all(sum(weights.values()) == 100 for weights in simulation.seen_weights if weights)
    assert simulation.arms() == {"2.0.0": 100}
    assert simulation.decision.apps == {"portrait-2-0-0"}
    assert set(simulation.versions) == {"portrait-1-0-0", "portrait-2-0-0"}  # the old one's story is kept
    assert simulation.condition("Stalled")[0] == "False"


def test_stable_keeps_its_traffic_while_the_new_version_starts_and_is_mirrored_in_the_steps() -> None:
    simulation = served().edit(version="2.0.0", source="s3://models/portrait/2")
    assert isinstance(simulation, Rollout)
    simulation.until(Phase.STARTING)
    assert simulation.arms() == {"1.0.0": 100}
    simulation.until(Phase.STEPPING)
    simulation.pass_()
    mirror = simulation.decision.routes["default"].mirror
    assert mirror is not None
    assert (mirror.version, mirror.percent) == ("2.0.0", 5)


BAD: dict[str, tuple[dict[str, Any], Cause, int]] = {
    "wrong digest": ({"check": CheckState.FAILED}, Cause.VERIFICATION, 0),
    "no room": ({"preflight": GateResult(Gate.FAILED, "needs 1 GPU, there is none")}, Cause.PREFLIGHT, 0),
    "empty masks": ({"golden": GoldenResult(name="cat", bad_mask="empty mask")}, Cause.GOLDEN, 0),
    "shifted masks": ({"golden": GoldenResult(name="cat", agreements={"1.0.0": SHIFTED})}, Cause.GOLDEN, 0),
    "5 % errors": ({"failing": 0.05}, Cause.ANALYSIS, 20),
    "other masks": ({"agreement": SHIFTED}, Cause.ANALYSIS, 20),
}


@pytest.mark.parametrize("bad", BAD)
def test_a_bad_version_goes_back_by_itself_and_says_why(bad: str) -> None:
    changes, cause, reached = BAD[bad]
    simulation = served()
    for name, value in changes.items():
        setattr(simulation, name, value)
    simulation.edit(version="2.0.0", source="s3://models/portrait/2")
    simulation.until(Phase.ROLLED_BACK, Phase.FAILED)
    for _ in range(5):
        simulation.pass_()
    status = simulation.status.rollout
    assert status is not None
    assert (status.cause, status.stable) == (cause, "1.0.0")
    assert max(weights.get("2.0.0", 0) for weights in simulation.seen_weights) == reached
    assert simulation.arms() == {"1.0.0": 100}
    assert simulation.decision.apps == {"portrait-1-0-0"}
    assert simulation.condition("Ready")[0] == "True"
    assert simulation.condition("Stalled")[:2] == ("True", cause.value)
    assert simulation.condition("Progressing")[1] in {"RolledBack", "Failed"}
    assert "1.0.0 serves" in simulation.condition("Progressing")[2]
    story = simulation.versions["portrait-2-0-0"][1].rollout
    assert story is not None
    assert story.cause is cause


def test_a_version_that_crashes_on_start_goes_back() -> None:
    simulation = served().edit(version="2.0.0", source="s3://models/portrait/2")
    assert isinstance(simulation, Rollout)
    simulation.broken.add("2.0.0")
    simulation.until(Phase.STARTING)
    simulation.app(
        "2.0.0", ServeApp(AppStatus.DEPLOY_FAILED, "ValueError: model.safetensors has no weights of this network")
    )
    simulation.until(Phase.FAILED)
    status = simulation.status.rollout
    assert status is not None
    assert status.cause is Cause.START
    assert "no weights of this network" in status.message


def test_setting_the_version_back_is_the_rollback() -> None:
    simulation = served().edit(version="2.0.0", source="s3://models/portrait/2")
    assert isinstance(simulation, Rollout)
    simulation.until(Phase.STEPPING)
    simulation.edit(version="1.0.0", source="s3://models/portrait/1")
    simulation.until(Phase.ROLLED_BACK)
    for _ in range(3):
        simulation.pass_()
    assert simulation.arms() == {"1.0.0": 100}
    assert simulation.condition("Stalled")[0] == "False"


def test_without_evidence_everything_stays() -> None:
    simulation = served().edit(version="2.0.0", source="s3://models/portrait/2")
    assert isinstance(simulation, Rollout)
    simulation.until(Phase.STEPPING)
    simulation.pass_()
    before = (simulation.status.rollout, simulation.arms(), simulation.decision.apps)
    simulation.evidence, simulation.apps = None, {}  # Redis is away, and Ray's head with it
    for _ in range(50):
        simulation.decide()
        simulation.after(60)
    assert (simulation.status.rollout, simulation.arms(), simulation.decision.apps) == before


def test_at_rest_no_evidence_is_wanted_and_nothing_is_due() -> None:
    simulation = served()
    spec = ModelSpec.model_validate(simulation.spec)
    assert not needs_evidence(spec, simulation.status, ())
    simulation.evidence = None
    simulation.after(3600)
    decision = simulation.decide()
    assert (decision.requeue_after, decision.apply, decision.orders, decision.retract) == (None, (), (), ())
    assert simulation.arms() == {"1.0.0": 100}
    moved = spec.model_copy(update={"version": "2.0.0"})
    assert needs_evidence(moved, simulation.status, ())


def test_both_versions_must_be_in_one_pool() -> None:
    simulation = served().edit(version="2.0.0", source="s3://models/portrait/2", pool="gpu")
    assert isinstance(simulation, Rollout)
    simulation.until(Phase.FAILED)
    status = simulation.status.rollout
    assert status is not None
    assert "one Pool" in status.message


def test_without_a_rollout_a_folder_is_checked_before_its_version_starts_and_again_after_a_while() -> None:
    simulation = ModelSimulation(family="unet", source="s3://models/portrait/1")
    simulation.decide_until_stable()
    assert [(pool, order.attempt) for pool, order in simulation.decision.orders] == [("default", 0)]
    assert simulation.decision.apps == frozenset()
    assert simulation.condition("Ready")[:2] == ("False", "Verifying")
    failed = CheckReport(
        attempt=0, state=CheckState.FAILED, at=simulation.now.timestamp(), reason="AccessDenied", message="no key"
    )
    simulation.checks["1.0.0"] = failed
    simulation.decide_until_stable()
    assert simulation.condition("Ready") == ("False", "AccessDenied", "1.0.0: no key")
    assert simulation.decision.orders[0][1].attempt == 0
    simulation.after(CHECK_AGAIN).decide_until_stable()
    assert simulation.decision.orders[0][1].attempt == 1
    simulation.checks["1.0.0"] = CheckReport(
        attempt=1, state=CheckState.PASSED, at=simulation.now.timestamp(), digest=DIGEST
    )
    simulation.decide_until_stable()
    assert simulation.decision.apps == {"portrait-1-0-0"}
    assert simulation.versions["portrait-1-0-0"][1].digest == DIGEST


def test_a_license_that_the_pool_does_not_allow_keeps_a_version_out() -> None:
    simulation = ModelSimulation(license="AGPL-3.0-only")
    simulation.allowed_licenses = ("Apache-2.0",)
    simulation.decide_until_stable()
    assert simulation.decision.apps == frozenset()
    assert simulation.condition("Ready")[1] == "LicenseRefused"


def test_the_weight_is_the_highest_of_every_router_and_unknown_without_one() -> None:
    routers = [
        AppliedWeights(expires_at=1, weights={"m": {"2.0.0": 5}}),
        AppliedWeights(expires_at=1, weights={"m": {"1.0.0": 100}}),
    ]
    assert applied_weight("m", "2.0.0", routers) == 5
    assert applied_weight("m", "2.0.0", []) is None


def test_of_very_many_seconds_a_spread_is_taken() -> None:
    simulation = served().edit(version="2.0.0", source="s3://models/portrait/2")
    assert isinstance(simulation, Rollout)
    simulation.until(Phase.STEPPING)
    while not (status := simulation.status.rollout) or not status.step_started_at:
        simulation.pass_()
    many = tuple(AnswerSample(at=time.time(), seconds=float(i)) for i in range(5 * SAMPLES_MAX))
    found = measurements(status, ModelEvidence(since=status.step_started_at, answers={"2.0.0": many}))
    assert found is not None
    assert len(found.canary.seconds) <= SAMPLES_MAX
    assert max(found.canary.seconds) > 4.9 * SAMPLES_MAX
    assert found.canary.total == 5 * SAMPLES_MAX
