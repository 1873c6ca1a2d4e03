import dataclasses

import pytest
from matte_core.contracts.k8s.model import ModelVersionSpec, ModelVersionStatus
from matte_core.contracts.registry import Reason
from matte_operator.domain.deploy_errors import parse_deploy_error
from matte_operator.domain.ray_state import AppStatus, ServeApp
from matte_operator.domain.version import VersionObservation, ready_condition
from unit.operator.builders import RUNNING

TRACEBACK = """\
Deploying app 'portrait-1-0-0' failed with exception:
ray::build_serve_application() (pid=12, ip=10.0.0.1)
  File "/opt/matte/lib/matte_inference/families/base.py", line 121, in folder_of
    raise FileNotFoundError(
FileNotFoundError: portrait-1-0-0: there is no folder /models/portrait: put the model's files there, or correct source
"""
ACTOR_DIED = """\
The deployment failed to start 3 times in a row. This may be due to a problem with its constructor. Error:
\x1b[36mray::ServeReplica:portrait-1-0-0:ModelVersion.initialize_and_get_metadata()\x1b[39m (pid=99)
RuntimeError: Traceback (most recent call last):
  File "x.py", line 3, in __init__
ValueError: the weights in /models/a have the digest sha256:1, not sha256:2: refusing to load them
"""


def seen(app: ServeApp | None) -> VersionObservation:
    spec = ModelVersionSpec.model_validate(
        {"model": "portrait", "version": "1.0.0", "family": "unet", "source": "file:///models/portrait"}
    )
    return VersionObservation(
        "portrait-1-0-0", spec, ModelVersionStatus(), 1, "2026-01-01T00:00:00Z", app, has_workers=True
    )


def test_missing_weights_are_told_with_path_and_fix() -> None:
    found = ready_condition(seen(ServeApp(AppStatus.DEPLOY_FAILED, TRACEBACK)))
    assert (found.status, found.reason) == ("False", "WeightsMissing")
    assert "file:///models/portrait" in found.message
    assert "spec.weights.claimName" in found.message
    assert "Traceback" not in found.message


def test_the_last_error_is_the_cause() -> None:
    assert parse_deploy_error(ACTOR_DIED) == (
        "DigestMismatch",
        "the weights in /models/a have the digest sha256:1, not sha256:2: refusing to load them",
    )


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        ("ValueError: portrait-1-0-0: unknown family 'nope'; there are grabcut", "UnknownFamily"),
        ("torch.cuda.OutOfMemoryError: CUDA out of memory. Tried to allocate", "OutOfMemory"),
        ("ModuleNotFoundError: No module named 'torch'", "FamilyNotInstalled"),
        ("pydantic_core.ValidationError: 1 validation error for Parameters", "InvalidParameters"),
        ("matte_inference.families.base.WeightsError: LicenseRefused: p-1-0-0: the license MIT", "LicenseRefused"),
        ("WeightsError: SourceUnavailable: p-1-0-0: s3://m/p: cannot be reached (…)", "SourceUnavailable"),
        ("something went wrong", "DeployFailed"),
        ("", "DeployFailed"),
    ],
)
def test_reasons(message: str, reason: str) -> None:
    assert parse_deploy_error(message)[0] == reason


@pytest.mark.parametrize("reason", Reason)
def test_what_the_registry_says_is_told_with_its_own_reason(reason: Reason) -> None:
    message = f"ray::x()\nmatte_inference.families.base.WeightsError: {reason}: portrait-1-0-0: why, and what to do\n"
    assert parse_deploy_error(message) == (reason, "portrait-1-0-0: why, and what to do")


def test_no_room_names_the_pool_and_what_is_asked_for() -> None:
    message = "Deployment 'ModelVersion' in application 'x' 1 replicas that have taken more than 30s to be scheduled."
    found = ready_condition(seen(ServeApp(AppStatus.DEPLOYING, message)))
    assert found.reason == "NoRoom"
    assert "Pool default has room for 0.5 CPUs and 0 GPUs" in found.message


def test_a_failure_is_told_while_serve_still_tries() -> None:
    assert ready_condition(seen(ServeApp(AppStatus.DEPLOYING, TRACEBACK))).reason == "WeightsMissing"


@pytest.mark.parametrize("status", [AppStatus.DEPLOYING, AppStatus.NOT_STARTED])
def test_starting(status: AppStatus) -> None:
    assert ready_condition(seen(ServeApp(status))).reason == "Starting"


def test_not_taken_in_yet() -> None:
    assert ready_condition(seen(None)).reason == "Verifying"
    checked = dataclasses.replace(seen(None), status=ModelVersionStatus(digest=f"sha256:{'0' * 64}"))
    assert ready_condition(checked).reason == "Starting"


def test_a_missing_pool_is_the_reason() -> None:
    lost = dataclasses.replace(seen(None), pool_problem=("PoolMissing", "there is no Pool gpu"))
    assert ready_condition(lost).reason == "PoolMissing"


def test_running() -> None:
    assert ready_condition(seen(RUNNING)).status == "True"
    assert ready_condition(seen(ServeApp(AppStatus.DELETING))).reason == "Removing"
