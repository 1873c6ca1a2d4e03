"""Rollouts as the operator plans them: from the API's JSON to the RayService's, pass by pass."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest
from matte_core.contracts.evidence import (
    Agreement,
    AnswerSample,
    AppliedWeights,
    CheckOrder,
    CheckReport,
    CheckState,
    GoldenResult,
    MirroredPair,
    StartReport,
)
from matte_core.contracts.k8s.common import format_time
from matte_core.contracts.k8s.rollout import Phase
from matte_operator.domain.rollout.observation import ModelEvidence
from matte_operator.kinds import MODEL, MODEL_VERSION, POD, POOL, RAY_CLUSTER, RAY_SERVICE, Body, name_of
from matte_operator.plan import ExternalFacts, Plan, PlannedModel, model_version_manifest, plan, pools_short_of_gpus
from matte_operator.required_evidence import required_evidence
from matte_operator.snapshot import Snapshot
from unit.operator.builders import NOW
from unit.operator.test_plan import RELEASE, body

DIGEST = f"sha256:{'a' * 64}"
SAME = Agreement(iou=1, boundary=1, alpha_difference=0)
STEPS = [{"weight": 25, "durationSeconds": 0, "minSamples": 0}, {"weight": 50, "durationSeconds": 0, "minSamples": 0}]
ROLLOUT = {"steps": STEPS, "analysis": {"intervalSeconds": 5}, "limits": {"confirmSeconds": 0}}
CLUSTER = {"readyWorkerReplicas": 1, "conditions": [{"type": "HeadPodReady", "status": "True"}]}


class Namespace:
    """The API's objects, and a cluster that obeys: what is ordered passes, what is configured runs at once."""

    def __init__(self, **spec: Any) -> None:
        known = {"family": "unet", "source": "s3://models/portrait", "version": "1.0.0", "rollout": ROLLOUT}
        self.pool = body(POOL, "default", {"allowedLicenses": ["MIT"]})
        self.model = body(MODEL, "portrait", known | spec)
        self.versions: dict[str, Body] = {}
        self.applications: list[dict[str, Any]] = []
        self.checks: dict[str, CheckReport] = {}
        self.reachable = True
        self.head = True
        self.now = NOW
        self.planned: Plan
        self.configs: list[str] = []
        self.pods: list[Body] = []

    def snapshot(self) -> Snapshot:
        apps = {app["name"]: {"status": "RUNNING"} for app in self.applications} if self.head else {}
        service = {"activeServiceStatus": {"rayClusterName": "c1", "applicationStatuses": apps}}
        return Snapshot.of(
            {
                POOL: [self.pool],
                MODEL: [self.model],
                MODEL_VERSION: list(self.versions.values()),
                RAY_SERVICE: [body(RAY_SERVICE, "matte-default", {}, status=service)],
                RAY_CLUSTER: [body(RAY_CLUSTER, "c1", {}, status=CLUSTER if self.head else {})],
                POD: self.pods,
            }
        )

    def pass_(self, **facts: Any) -> PlannedModel:
        """One pass, applied; two seconds go by."""
        world = self.snapshot()
        questions = required_evidence(world, self.now).models if self.reachable else ()
        evidence = {one.model: self._evidence(one.since) for one in questions}
        self.planned = plan(world, RELEASE, self.now, ExternalFacts(evidence, **facts))
        (model,) = self.planned.models
        self._apply(model)
        self.now += timedelta(seconds=2)
        return model

    def until(self, *phases: Phase) -> list[int]:
        """The new version's weights on the way there."""
        weights = []
        for _ in range(120):
            model = self.pass_()
            weights.append(self.weights().get(self.model["spec"]["version"], 0))
            assert model.decision is not None
            assert model.decision.status.rollout is not None
            if model.decision.status.rollout.phase in phases:
                return weights
        raise AssertionError(f"still {self.model['status']['rollout']}")

    def weights(self) -> dict[str, int]:
        return {arm["version"]: arm["weight"] for route in self.table()["routes"] for arm in route["arms"]}

    def table(self) -> dict[str, Any]:
        table: dict[str, Any] = self.applications[0]["deployments"][0]["user_config"]
        return table

    def app(self, version: str) -> dict[str, Any] | None:
        name = f"portrait-{version.replace('.', '-')}"
        return next((app for app in self.applications if app["name"] == name), None)

    def _apply(self, model: PlannedModel) -> None:
        decision = model.decision
        assert decision is not None
        for pool, order in decision.orders:
            self._check(pool, order)
        for name in decision.delete:
            del self.versions[name]
        for name, status in decision.version_statuses.items():
            self.versions[name]["status"] = status.model_dump(mode="json", exclude_none=True)
        for spec in decision.apply:
            wire = model_version_manifest(RELEASE, self.model, spec)
            name = name_of(wire)
            there = self.versions.get(name, body(MODEL_VERSION, name, {}, created=len(self.versions)))
            self.versions[name] = {**there, "spec": wire["spec"]}
        self.model["status"] = decision.status.model_dump(mode="json", exclude_none=True)
        service = self.planned.pools[0].service
        assert service is not None
        self.applications = json.loads(service["spec"]["serveConfigV2"])["applications"]

    def _check(self, pool: str, order: CheckOrder) -> None:
        assert pool == "default"
        assert order.allowed_licenses == ("MIT",)
        at = self.now.timestamp()
        passed = CheckReport(attempt=order.attempt, state=CheckState.PASSED, at=at, digest=DIGEST, license="MIT")
        self.checks[order.version] = passed

    def _evidence(self, since: str) -> ModelEvidence:
        versions = [each["spec"]["version"] for each in self.versions.values()]
        live = {version: app["deployments"][0]["num_replicas"] for version in versions if (app := self.app(version))}
        at = self.now.timestamp()
        start = StartReport(
            replica="a", at=at, digest=DIGEST, golden=(GoldenResult(name="cat", agreements=dict.fromkeys(live, SAME)),)
        )
        weights = {"portrait": self.weights()} if self.applications else {}
        return ModelEvidence(
            applied=(AppliedWeights(expires_at=at + 5, weights=weights),),
            checks=self.checks,
            starts=dict.fromkeys(live, (start,)),
            replicas=live,
            since=since,
            answers=dict.fromkeys(
                live, tuple(AnswerSample(at=at, seconds=0.1 + i / 1e4, uncertainty=0.05) for i in range(400))
            ),
            pairs=(MirroredPair(at=at, job="j", agreement=SAME),) * 100,
        )


@pytest.fixture
def served() -> Namespace:
    """Version 1.0.0 serves, and all is quiet."""
    found = Namespace()
    found.until(Phase.SUCCEEDED)
    for _ in range(5):
        found.pass_()
    return found


def test_an_application_starts_with_the_digest_that_was_found(served: Namespace) -> None:
    app = served.app("1.0.0")
    assert app is not None
    assert app["args"]["digest"] == DIGEST
    assert served.weights() == {"1.0.0": 100}


def test_a_new_version_is_checked_before_its_application_is_there(served: Namespace) -> None:
    served.model["spec"] |= {"version": "2.0.0", "source": "s3://models/two"}
    served.pass_()
    assert list(served.versions) == ["portrait-1-0-0", "portrait-2-0-0"]
    decision = served.pass_().decision
    assert decision is not None
    assert [order.source for _, order in decision.orders] == ["s3://models/two"]
    assert served.app("2.0.0") is None
    served.until(Phase.STARTING, Phase.STEPPING)
    new = served.app("2.0.0")
    assert new is not None
    assert new["args"]["digest"] == DIGEST


def test_a_good_version_takes_over_step_by_step_and_the_old_one_s_application_ends(served: Namespace) -> None:
    served.model["spec"] |= {"version": "2.0.0", "source": "s3://models/two"}
    weights = served.until(Phase.SUCCEEDED)
    assert [weight for i, weight in enumerate(weights) if weight and weight != weights[i - 1]] == [25, 50, 100]
    for _ in range(60):
        served.pass_()
    assert served.weights() == {"2.0.0": 100}
    assert served.app("1.0.0") is None
    assert set(served.versions) == {"portrait-1-0-0", "portrait-2-0-0"}


def test_masks_are_mirrored_while_it_steps_only(served: Namespace) -> None:
    served.model["spec"] |= {"version": "2.0.0", "source": "s3://models/two"}
    served.until(Phase.STEPPING)
    served.pass_()
    assert served.table()["routes"][0]["mirror"] == {"version": "2.0.0", "percent": 5}
    served.until(Phase.SUCCEEDED)
    served.pass_()
    assert served.table()["routes"][0]["mirror"] is None


def test_at_rest_nothing_is_asked_and_nothing_changes(served: Namespace) -> None:
    assert required_evidence(served.snapshot(), served.now).models == ()
    before = json.dumps([served.model, served.versions, served.applications])
    for _ in range(3):
        decision = served.pass_().decision
        assert decision is not None
        assert (decision.orders, decision.retract, decision.requeue_after) == ((), (), None)
    assert json.dumps([served.model, served.versions, served.applications]) == before


@pytest.mark.parametrize("phase", [Phase.VERIFYING, Phase.STEPPING, Phase.PROMOTING])
def test_without_redis_nothing_moves_and_without_ray_beside_it_nothing_ends(served: Namespace, phase: Phase) -> None:
    served.model["spec"] |= {"version": "2.0.0", "source": "s3://models/two"}
    served.until(phase)
    names, weights = [app["name"] for app in served.applications], served.weights()
    rollout = served.model["status"]["rollout"]
    served.reachable = served.head = False
    for _ in range(5):
        served.pass_()
        assert ([app["name"] for app in served.applications], served.weights()) == (names, weights)
    assert served.model["status"]["rollout"] == rollout
    assert served.planned.requeue_after is not None
    served.reachable = served.head = True
    served.until(Phase.SUCCEEDED)


def test_a_version_that_needs_gpus_the_pool_has_not_never_starts(served: Namespace) -> None:
    served.model["spec"] |= {"version": "2.0.0", "source": "s3://models/two", "resources": {"gpus": 2}}
    served.until(Phase.FAILED, Phase.ROLLED_BACK)
    rollout = served.model["status"]["rollout"]
    assert rollout["cause"] == "NoCapacity"
    assert "a replica needs 2 nvidia.com/gpu, the workers of Pool default have none" in rollout["message"]
    assert served.weights() == {"1.0.0": 100}
    served.pass_()
    assert served.app("2.0.0") is None


def test_gpus_are_counted_where_a_worker_waits_for_a_node() -> None:
    namespace = Namespace()
    namespace.pool["spec"]["workers"] = {"gpus": 1}
    waits = body(POD, "w", {})
    waits["metadata"]["labels"] = {"matte.dev/pool": "default", "ray.io/node-type": "worker"}
    reason = {"type": "PodScheduled", "status": "False", "message": "0/3 nodes are available: Insufficient gpu."}
    waits["status"] = {"conditions": [reason]}
    namespace.pods = [waits]
    assert list(pools_short_of_gpus(namespace.snapshot())) == ["default"]
    namespace.pool["spec"]["workers"] = {"gpus": 0}
    assert pools_short_of_gpus(namespace.snapshot()) == {}


def test_a_window_is_that_of_the_status(served: Namespace) -> None:
    served.model["spec"] |= {"version": "2.0.0", "source": "s3://models/two"}
    served.until(Phase.STEPPING)
    served.pass_()
    begun = served.model["status"]["rollout"]["stepStartedAt"]
    assert begun <= format_time(served.now)
    served.now += timedelta(seconds=10)
    (question,) = required_evidence(served.snapshot(), served.now).models
    assert question.since == begun
