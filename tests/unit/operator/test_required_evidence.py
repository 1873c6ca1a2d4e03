import math
from datetime import timedelta
from typing import Any

import pytest
from matte_core.contracts.k8s.common import format_time
from matte_core.contracts.k8s.model import ModelSpec
from matte_core.contracts.k8s.rollout import Phase, RolloutSpec, RolloutStatus
from matte_operator.domain.rollout.decide import seconds_until_check
from matte_operator.domain.rollout.observation import spec_hash
from matte_operator.kinds import MODEL, MODEL_VERSION, Body
from matte_operator.required_evidence import ModelQuery, external_check_request, required_evidence
from matte_operator.snapshot import Snapshot
from unit.operator.builders import NOW
from unit.operator.test_plan import body

BEGUN = format_time(NOW)
HOOK = {"name": "judge", "url": "http://judge.example/x", "timeoutSeconds": 10}
QUERY = {"name": "rate", "query": "up", "min": 1}


def stepping(**fields: Any) -> RolloutStatus:
    known = {"stable": "1.0.0", "canary": "2.0.0", "attempt": 1, "stepStartedAt": BEGUN}
    return RolloutStatus.model_validate({"phase": Phase.STEPPING, **known, **fields})


def rollout(**analysis: Any) -> RolloutSpec:
    return RolloutSpec.model_validate({"analysis": {"intervalSeconds": 15, **analysis}})


def model(status: RolloutStatus | None, **spec: Any) -> Body:
    found = {"family": "grabcut", "version": "2.0.0", "rollout": {}, **spec}
    wire = {"rollout": status.model_dump(mode="json", exclude_none=True)} if status else {}
    return body(MODEL, "portrait", {name: value for name, value in found.items() if value is not None}, status=wire)


def made(version: str, model: str = "portrait", **status: Any) -> Body:
    spec = {"model": model, "version": version, "family": "grabcut"}
    return body(MODEL_VERSION, f"{model}-{version.replace('.', '-')}", spec, status=status)


def settled(**spec: Any) -> RolloutStatus:
    hash_ = spec_hash("2.0.0", ModelSpec.model_validate({"family": "grabcut", "version": "2.0.0", **spec}))
    return RolloutStatus(phase=Phase.SUCCEEDED, stable="2.0.0", stable_replicas=1, observed_spec_hash=hash_)


def questions(status: RolloutStatus | None, *versions: Body, after: float = 0, **spec: Any) -> list[ModelQuery]:
    world = Snapshot.of({MODEL: [model(status, **spec)], MODEL_VERSION: list(versions)})
    return list(required_evidence(world, NOW + timedelta(seconds=after)).models)


def test_nothing_is_asked_at_rest() -> None:
    assert questions(settled(), made("2.0.0")) == []
    assert questions(None, made("2.0.0"), rollout=None) == []


def test_a_new_version_is_asked_about() -> None:
    (one,) = questions(settled(), made("2.0.0"), version="3.0.0")
    assert one == ModelQuery("portrait", "default", {"2.0.0": "default"}, None)
    assert questions(None, rollout=None) == [ModelQuery("portrait", "default", {})]


def test_what_was_measured_is_read_when_a_check_is_due_and_not_before() -> None:
    versions = made("1.0.0"), made("2.0.0")
    (early,) = questions(stepping(), *versions, after=14)
    assert (early.canary, early.since) == ("2.0.0", "")
    (due,) = questions(stepping(), *versions, after=15)
    assert due.since == BEGUN
    (again,) = questions(stepping(checkedAt=format_time(NOW + timedelta(seconds=15))), *versions, after=29)
    assert again.since == ""


def test_a_failed_rollout_that_still_has_traffic_is_watched() -> None:
    failed = settled().model_copy(update={"phase": Phase.FAILED, "stable": "1.0.0", "canary": "2.0.0", "weight": 5})
    assert len(questions(failed, made("1.0.0"), made("2.0.0"))) == 1
    assert questions(failed.model_copy(update={"weight": 0}), made("1.0.0"), made("2.0.0")) == []


def test_every_version_is_known_those_of_others_too() -> None:
    world = Snapshot.of({MODEL: [model(None)], MODEL_VERSION: [made("1.0.0"), made("3.0.0", "other")]})
    assert required_evidence(world, NOW).known_versions == {("portrait", "1.0.0"), ("other", "3.0.0")}


def test_a_model_that_cannot_be_read_is_passed_over() -> None:
    world = Snapshot.of({MODEL: [body(MODEL, "strange", {"family": "magic", "version": "1.0.0"})]})
    assert required_evidence(world, NOW).models == ()


@pytest.mark.parametrize(
    ("judges", "first"),
    [
        ({}, math.inf),
        ({"queries": [QUERY]}, 10),
        ({"webhooks": [HOOK]}, 7.5),
        ({"webhooks": [{**HOOK, "timeoutSeconds": 1}]}, 14),
    ],
)
def test_judges_are_asked_as_late_as_the_slowest_allows(judges: Any, first: float) -> None:
    spec = rollout(**judges)
    times = [tenths / 10 for tenths in range(200)]
    at = [t for t in times if external_check_request("portrait", spec, stepping(), NOW + timedelta(seconds=t))]
    assert min(at, default=math.inf) == first


def test_a_judge_is_asked_once_per_check() -> None:
    spec = rollout(queries=[QUERY])

    def about(after: float, **fields: Any) -> Any:
        found = external_check_request("portrait", spec, stepping(**fields), NOW + timedelta(seconds=after))
        return found and found.key

    assert about(12) == about(15)
    later = format_time(NOW + timedelta(seconds=15))
    assert about(27, checkedAt=later) not in {None, about(15)}


@pytest.mark.parametrize("phase", [phase for phase in Phase if phase not in {"Stepping", "Paused", "Promoting"}])
def test_no_check_is_made_in_other_phases(phase: Phase) -> None:
    assert seconds_until_check(rollout(), stepping(phase=phase), NOW) == math.inf


def test_no_check_before_every_router_has_the_weight() -> None:
    assert seconds_until_check(rollout(), stepping(stepStartedAt=None), NOW) == math.inf
