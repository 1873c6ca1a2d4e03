"""How far the weights are: in status.download and in conditions, every few seconds."""

from datetime import timedelta
from typing import Any

import pytest
from matte_core.contracts.catalog import Download
from matte_core.contracts.evidence import CheckReport, CheckState
from matte_core.contracts.registry import Reason
from matte_operator.domain.download import UPDATE_SECONDS, download_status, download_statuses, with_steady_progress
from matte_operator.domain.model import CHECK_AGAIN, needs_evidence
from matte_operator.domain.ray_state import AppStatus, ServeApp
from matte_operator.domain.rollout.observation import ModelEvidence
from unit.operator.builders import NOW, ModelSimulation

MB = 1_000_000


def running(done: int, message: str = "") -> CheckReport:
    at = NOW.timestamp()
    return CheckReport(attempt=0, state=CheckState.RUNNING, at=at, done=done * MB, total=88 * MB, message=message)


def isnet() -> ModelSimulation:
    model = ModelSimulation(family="onnx", source="catalog://isnet@1.0.0")
    model.decide_until_stable()
    return model


def observe(model: ModelSimulation, evidence: ModelEvidence) -> ModelSimulation:
    """One pass with what Redis says, as :func:`matte_operator.plan.plan` makes it."""
    before = {version.version: status.download for version, status, _ in model.versions.values()}
    model.downloads = download_statuses(evidence, before, model.now)
    model.checks = dict(with_steady_progress(evidence, model.downloads).checks)
    model.decide()
    return model


def shown(model: ModelSimulation) -> Any:
    return model.versions["portrait-1-0-0"][1].download


def test_the_status_and_the_conditions_say_how_far_it_is() -> None:
    model = observe(isnet(), ModelEvidence(checks={"1.0.0": running(43)}))
    assert (shown(model).done_bytes, shown(model).total_bytes, shown(model).percent) == (43 * MB, 88 * MB, 48)
    assert model.condition("Ready") == ("False", "Verifying", "1.0.0: downloading: 43 of 88 MB")


def test_a_download_changes_the_status_every_few_seconds_only() -> None:
    model = observe(isnet(), ModelEvidence(checks={"1.0.0": running(0)}))
    changes, message = 0, model.condition("Ready")
    for second in range(1, 21):
        observe(model.after(1), ModelEvidence(checks={"1.0.0": running(2 * second)}))
        changes += model.condition("Ready") != message
        message = model.condition("Ready")
    assert changes == 20 / UPDATE_SECONDS
    assert message[2] == "1.0.0: downloading: 40 of 88 MB"


def test_the_end_of_a_download_is_shown_at_once() -> None:
    before = download_status(None, 40 * MB, 88 * MB, NOW)
    assert download_status(before, 41 * MB, 88 * MB, NOW + timedelta(seconds=1)) == before
    done = download_status(before, 88 * MB, 88 * MB, NOW + timedelta(seconds=1))
    assert done is not None
    assert (done.done_bytes, done.percent) == (88 * MB, 100)
    assert download_status(before, 0, 0, NOW) is None


def test_a_replica_that_downloads_it_again_is_what_is_waited_for() -> None:
    model = isnet()
    passed = CheckReport(
        attempt=0, state=CheckState.PASSED, at=NOW.timestamp(), digest=f"sha256:{'a' * 64}", done=88 * MB, total=88 * MB
    )
    observe(model, ModelEvidence(checks={"1.0.0": passed}))
    model.app("1.0.0", ServeApp(AppStatus.DEPLOYING))
    download = Download(done=22 * MB, total=88 * MB)
    observe(model.after(UPDATE_SECONDS), ModelEvidence(checks={"1.0.0": passed}, downloads={"1.0.0": download}))
    assert shown(model).percent == 25
    assert model.condition("Ready") == ("False", "Starting", "1.0.0: downloading: 22 of 88 MB")
    assert model.decision.requeue_after == UPDATE_SECONDS

    observe(model.app("1.0.0").after(2), ModelEvidence(checks={"1.0.0": passed}))
    assert shown(model) is None


def test_evidence_is_read_while_replicas_load_and_not_at_rest() -> None:
    model = isnet()
    passed = CheckReport(attempt=0, state=CheckState.PASSED, at=NOW.timestamp(), digest=f"sha256:{'a' * 64}")
    observe(model, ModelEvidence(checks={"1.0.0": passed}))
    for app, needed in ((ServeApp(AppStatus.DEPLOYING), True), (ServeApp(AppStatus.RUNNING), False)):
        model.app("1.0.0", app)
        versions = model.observations()
        assert needs_evidence(model.model_spec(), model.status, versions) is needed


def test_an_unreachable_registry_is_the_reason_while_the_router_tries_again() -> None:
    message = f"{Reason.SOURCE_UNAVAILABLE}: registry.example.org cannot be reached: set MATTE_NPM_REGISTRY"
    model = observe(isnet(), ModelEvidence(checks={"1.0.0": running(43, message)}))
    assert model.condition("Ready") == (
        "False", "SourceUnavailable", f"1.0.0: {message} (downloading: 43 of 88 MB)"
    )  # fmt: skip
    assert model.decision.requeue_after is not None
    assert model.decision.requeue_after < UPDATE_SECONDS  # soon: the router may get on at any time


@pytest.mark.parametrize("reason", [Reason.DIGEST_MISMATCH, Reason.SOURCE_INVALID, Reason.ACCESS_DENIED])
def test_a_failed_download_is_a_reason_and_is_tried_again(reason: Reason) -> None:
    failed = CheckReport(
        attempt=0, state=CheckState.FAILED, at=NOW.timestamp(), reason=reason, message="the mirror answers with a page"
    )
    model = observe(isnet(), ModelEvidence(checks={"1.0.0": failed}))
    assert model.condition("Ready") == ("False", str(reason), "1.0.0: the mirror answers with a page")
    assert model.decision.requeue_after == CHECK_AGAIN
