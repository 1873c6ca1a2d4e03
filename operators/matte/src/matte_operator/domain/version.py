"""Whether a version of a model answers, from what Ray Serve says of its application."""

from __future__ import annotations

from dataclasses import dataclass

from matte_core.contracts.catalog import app_name
from matte_core.contracts.evidence import CheckReport, CheckState
from matte_core.contracts.k8s.common import ConditionStatus
from matte_core.contracts.k8s.model import ModelVersionSpec, ModelVersionStatus
from matte_core.domain.license import license_refusal

from matte_operator.domain.causes import cause, explains
from matte_operator.domain.conditions import Finding, is_true
from matte_operator.domain.rollout.evidence import told
from matte_operator.domain.serving import App, AppStatus

VERIFIED = "Verified"
READY = "Ready"
SERVING = "Serving"
#: reasons that may pass by themselves
_HOPEFUL = frozenset({"Running", "Starting", "Verifying", "PoolNotReady", "NoRoom", "Removing", "Unhealthy"})
_PASSING = frozenset({AppStatus.DEPLOYING, AppStatus.NOT_STARTED})


@dataclass(frozen=True, slots=True)
class VersionSeen:
    """A ModelVersion as it is.

    Attributes:
        app: its Serve application; None where there is none, or Ray cannot be asked.
        pool_problem: reason and message why its Pool cannot run it; None where it can.
        check: what a router of the Pool says of its folder; None where none was asked, or Redis is away.
        allowed_licenses: by the Pool; none: every one.
    """

    name: str
    spec: ModelVersionSpec
    status: ModelVersionStatus
    generation: int
    created: str
    app: App | None = None
    has_workers: bool = False
    pool_problem: tuple[str, str] | None = None
    check: CheckReport | None = None
    allowed_licenses: tuple[str, ...] = ()

    @property
    def was_ready(self) -> bool:
        """As its status has it."""
        return is_true(self.status.conditions, READY)


def verified(seen: VersionSeen) -> Finding:
    """Its condition Verified: whether it may be started."""
    if seen.status.digest:
        return Finding.yes(VERIFIED, "Verified", f"its folder is {seen.status.digest}")
    if seen.app is not None or seen.was_ready:
        return Finding.yes(VERIFIED, "Started", "it runs already")
    if seen.spec.source is None:
        return _licensed(seen)
    return _checked(seen.check)


def _checked(report: CheckReport | None) -> Finding:
    if report is None:
        return Finding.no(VERIFIED, "Verifying", "its folder is to be checked by a router of its Pool")
    match report.state:
        case CheckState.PASSED:
            return Finding.yes(VERIFIED, "Verified", f"its folder is {report.digest}")
        case CheckState.FAILED:
            return Finding.no(VERIFIED, report.reason or "CheckFailed", told(report))
        case _:
            return Finding.no(VERIFIED, "Verifying", told(report))


def _licensed(seen: VersionSeen) -> Finding:
    """Without a folder there is only what the Model says."""
    if why := license_refusal(seen.spec.license, seen.allowed_licenses):
        return Finding.no(VERIFIED, "LicenseRefused", f"Pool {seen.spec.pool}: {why}")
    return Finding.yes(VERIFIED, "NothingToVerify", "it has no weights")


def readiness(seen: VersionSeen) -> Finding:
    """Its condition Ready.

    A version that answers stays ready while Ray cannot be asked, or while Serve changes something about it.
    """
    app = seen.app
    stays = seen.was_ready and seen.has_workers
    if app is not None and app.status is AppStatus.RUNNING:
        return _running(seen)
    if stays and (app is None or app.status in _PASSING):
        return _running(seen)
    if app is None and seen.pool_problem:
        return Finding.no(READY, *seen.pool_problem)
    if app is None:
        found = verified(seen)
        sound = found.status is ConditionStatus.TRUE
        text = ("Starting", "Ray Serve has not taken it in yet") if sound else (found.reason, found.message)
        return Finding.no(READY, *text)
    return _not_running(seen, app)


def _not_running(seen: VersionSeen, app: App) -> Finding:
    match app.status:
        case AppStatus.DELETING:
            return Finding.no(READY, "Removing", "it is being removed")
        case AppStatus.DEPLOY_FAILED:
            return Finding.no(READY, *_failure(seen, app))
        case AppStatus.UNHEALTHY:
            return Finding.no(READY, "Unhealthy", f"its replicas fail: {_failure(seen, app)[1]}")
        case _:
            return _starting(seen, app)


def failed(finding: Finding) -> bool:
    """Whether it will not become ready without somebody's help."""
    return finding.reason not in _HOPEFUL


def _running(seen: VersionSeen) -> Finding:
    replicas = seen.spec.replicas
    return Finding.yes(READY, "Running", f"{replicas} {'replica' if replicas == 1 else 'replicas'} wanted, it answers")


def _starting(seen: VersionSeen, app: App) -> Finding:
    if "to be scheduled" in app.message:
        wants = seen.spec.resources
        text = (
            f"no worker of Pool {seen.spec.pool} has room for {wants.cpus:g} CPUs and {wants.gpus:g} GPUs per replica:"
            " raise the Pool's workers, or lower resources or replicas"
        )
        return Finding.no(READY, "NoRoom", text)
    if explains(app.message):
        return Finding.no(READY, *_failure(seen, app))
    return Finding.no(READY, "Starting", "its replicas are starting")


def _failure(seen: VersionSeen, app: App) -> tuple[str, str]:
    spec = seen.spec
    reason, text = cause(app.message)
    text = text.removeprefix(f"{app_name(spec.model, spec.version)}: ")
    if reason == "WeightsMissing" and spec.source:
        text = (
            f"the weights are not there: {spec.source}. Put the model's folder into the volume of Pool"
            f" {spec.pool} (spec.weights.claimName), or correct spec.source"
        )
    if reason == "FamilyNotInstalled":
        text = f"{text.partition(';')[0]}: give Pool {spec.pool} an image that has it (spec.image)"
    return reason, text
