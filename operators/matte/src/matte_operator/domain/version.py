"""The conditions Verified and Ready of a ModelVersion, from what Ray Serve says of its application."""

from __future__ import annotations

from dataclasses import dataclass

from matte_core.contracts.catalog import app_name
from matte_core.contracts.evidence import CheckReport, CheckState
from matte_core.contracts.k8s.model import DownloadStatus, ModelVersionSpec, ModelVersionStatus
from matte_core.domain.license import license_refusal

from matte_operator.domain.conditions import ConditionUpdate, is_true
from matte_operator.domain.deploy_errors import has_error, parse_deploy_error, registry_reason
from matte_operator.domain.ray_state import AppStatus, ServeApp

VERIFIED = "Verified"
READY = "Ready"
SERVING = "Serving"
#: reasons that may go away without anybody's help
_TRANSIENT = frozenset({"Running", "Starting", "Verifying", "PoolNotReady", "NoRoom", "Removing", "Unhealthy"})


@dataclass(frozen=True, slots=True)
class VersionObservation:
    """A ModelVersion as it is. ``app`` and ``check`` are None also where Ray and Redis do not answer."""

    name: str
    spec: ModelVersionSpec
    status: ModelVersionStatus
    generation: int
    created: str
    app: ServeApp | None = None
    has_workers: bool = False
    #: reason and message why its Pool cannot run it
    pool_problem: tuple[str, str] | None = None
    #: the latest report of a router of the Pool on its folder
    check: CheckReport | None = None
    download: DownloadStatus | None = None
    #: by the Pool; empty: every one
    allowed_licenses: tuple[str, ...] = ()

    @property
    def was_ready(self) -> bool:
        return is_true(self.status.conditions, READY)

    @property
    def is_loading(self) -> bool:
        """Whether its first replicas start; they may download its weights."""
        return self.app is not None and self.app.status is AppStatus.DEPLOYING and not self.was_ready


def check_progress(report: CheckReport) -> str:
    if report.state is CheckState.RUNNING and report.total:
        downloading = f"downloading: {_megabytes(report.done, report.total)}"
        return f"{report.message} ({downloading})" if report.message else downloading
    return report.message or report.state.value


def _megabytes(done: int, total: int) -> str:
    return f"{done / 1e6:.0f} of {total / 1e6:.0f} MB"


def verified_condition(version: VersionObservation) -> ConditionUpdate:  # noqa: PLR0911 - one per reason
    spec, report = version.spec, version.check
    if version.status.digest:
        return ConditionUpdate.true(VERIFIED, "Verified", f"its folder is {version.status.digest}")
    if version.app is not None or version.was_ready:
        return ConditionUpdate.true(VERIFIED, "Started", "it runs already")
    if spec.source is None:  # without a folder there is only the license that the Model names
        if why := license_refusal(spec.license, version.allowed_licenses):
            return ConditionUpdate.false(VERIFIED, "LicenseRefused", f"Pool {spec.pool}: {why}")
        return ConditionUpdate.true(VERIFIED, "NothingToVerify", "it has no weights")
    if report is None:
        return ConditionUpdate.false(VERIFIED, "Verifying", "its folder is to be checked by a router of its Pool")
    match report.state:
        case CheckState.PASSED:
            return ConditionUpdate.true(VERIFIED, "Verified", f"its folder is {report.digest}")
        case CheckState.FAILED:
            return ConditionUpdate.false(VERIFIED, report.reason or "CheckFailed", check_progress(report))
        case _:
            # its source is away: the router tries again
            reason = registry_reason(report.message) or "Verifying"
            return ConditionUpdate.false(VERIFIED, reason, check_progress(report))


def ready_condition(version: VersionObservation) -> ConditionUpdate:  # noqa: PLR0911 - one per reason
    """A version that answered stays ready while Ray does not answer, or while Serve changes something about it."""
    app = version.app
    changing = app is None or app.status in {AppStatus.DEPLOYING, AppStatus.NOT_STARTED}
    still_ready = changing and version.was_ready and version.has_workers
    if still_ready or (app is not None and app.status is AppStatus.RUNNING):
        replicas = version.spec.replicas
        message = f"{replicas} {'replica' if replicas == 1 else 'replicas'} wanted, it answers"
        return ConditionUpdate.true(READY, "Running", message)
    if app is None:
        if version.pool_problem:
            return ConditionUpdate.false(READY, *version.pool_problem)
        verified = verified_condition(version)
        if verified.is_true:
            return ConditionUpdate.false(READY, "Starting", "Ray Serve has not taken it in yet")
        return ConditionUpdate.false(READY, verified.reason, verified.message)
    match app.status:
        case AppStatus.DELETING:
            return ConditionUpdate.false(READY, "Removing", "it is being removed")
        case AppStatus.DEPLOY_FAILED:
            return ConditionUpdate.false(READY, *_deploy_error(version.spec, app))
        case AppStatus.UNHEALTHY:
            message = f"its replicas fail: {_deploy_error(version.spec, app)[1]}"
            return ConditionUpdate.false(READY, "Unhealthy", message)
    if "to be scheduled" in app.message:
        resources = version.spec.resources
        message = (
            f"no worker of Pool {version.spec.pool} has room for {resources.cpus:g} CPUs and {resources.gpus:g} GPUs"
            " per replica: raise the Pool's workers, or lower resources or replicas"
        )
        return ConditionUpdate.false(READY, "NoRoom", message)
    if has_error(app.message):  # Serve still tries
        return ConditionUpdate.false(READY, *_deploy_error(version.spec, app))
    message = "its replicas are starting"
    if version.download and version.download.done_bytes < version.download.total_bytes:
        message = f"downloading: {_megabytes(version.download.done_bytes, version.download.total_bytes)}"
    return ConditionUpdate.false(READY, "Starting", message)


def needs_intervention(condition: ConditionUpdate) -> bool:
    """Whether a version that is not ready stays so until somebody acts."""
    return condition.reason not in _TRANSIENT


def _deploy_error(spec: ModelVersionSpec, app: ServeApp) -> tuple[str, str]:
    reason, text = parse_deploy_error(app.message)
    text = text.removeprefix(f"{app_name(spec.model, spec.version)}: ")
    if reason == "WeightsMissing" and spec.source:
        text = (
            f"the weights are not there: {spec.source}. Put the model's folder into the volume of Pool"
            f" {spec.pool} (spec.weights.claimName), or correct spec.source"
        )
    if reason == "FamilyNotInstalled":
        text = f"{text.partition(';')[0]}: give Pool {spec.pool} an image that has it (spec.image)"
    return reason, text
