"""What becomes of a Model: its versions, its split, its conditions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from matte_core.contracts.catalog import Arm, app_name
from matte_core.contracts.k8s.model import (
    ModelSpec,
    ModelStatus,
    ModelVersionSpec,
    ModelVersionStatus,
    ServedTraffic,
    VersionParameters,
)
from matte_core.domain.conditions import Finding, find, is_true, settle, since
from matte_core.domain.traffic import Split, VersionFacts, split, wanted
from matte_core.domain.version import READY, SERVING, VersionSeen, failed, readiness

PROGRESSING = "Progressing"
#: a version that lost its traffic still answers pins, and jobs given to it before, for so long (seconds)
RETIRE_AFTER = 60.0
#: then it leaves the route, and this long after the loss its application ends and the ModelVersion is deleted
REMOVE_AFTER = 75.0
#: a first route takes up to so long through KubeRay, Serve and the gateways' catalogs; Ready waits for it (seconds)
ROUTE_AFTER = 4.0


@dataclass(frozen=True, slots=True)
class ModelObservation:
    """What is seen: the Model's versions, and why a new one cannot be made ('' where it can)."""

    versions: tuple[VersionSeen, ...] = ()
    obstacle: tuple[str, str] | None = None


@dataclass(frozen=True, slots=True)
class ModelDecision:
    """What is to be done. ``versions`` has the new status of those that stay, by name of the ModelVersion."""

    status: ModelStatus
    wanted: ModelVersionSpec | None
    versions: Mapping[str, ModelVersionStatus]
    remove: tuple[str, ...]
    arms: Mapping[str, tuple[Arm, ...]]
    requeue_after: float | None


@dataclass(frozen=True, slots=True)
class _Version:
    """A version while it is decided on."""

    seen: VersionSeen
    ready: Finding
    weight: int | None = None
    status: ModelVersionStatus = field(default_factory=ModelVersionStatus)
    idle_seconds: float | None = None
    routed_seconds: float | None = None

    @property
    def answers(self) -> bool:
        return self.ready.status == "True"


def decide_model(
    name: str, spec: ModelSpec, status: ModelStatus, generation: int, seen: ModelObservation, now: datetime
) -> ModelDecision:
    """What is to be done about a Model. ``now`` is in UTC."""
    found = [_Version(version, readiness(version)) for version in seen.versions]
    old = {item.version: item.weight for item in status.traffic}
    ordered = sorted(found, key=lambda v: (v.seen.created, v.seen.name))
    facts = [VersionFacts(v.seen.spec.version, v.seen.spec.pool, v.answers, rank) for rank, v in enumerate(ordered)]
    shares = split(spec, old, facts)
    decided = [_placed(version, shares, generation=version.seen.generation, now=now) for version in ordered]
    stays = [version for version in decided if _stays(version, spec, shares)]
    routed = [version for version in stays if _routed(version, shares, old)]
    return ModelDecision(
        status=_status(spec, status, generation, _Now(seen, shares, stays, routed), now),
        wanted=_to_make(name, spec, seen),
        versions={version.seen.name: version.status for version in stays},
        remove=tuple(version.seen.name for version in decided if version not in stays),
        arms=_arms(routed),
        requeue_after=_due(stays, waits=not is_true(status.conditions, READY)),
    )


def parameters_of(spec: VersionParameters) -> dict[str, object]:
    """What a version is made of."""
    return {name: getattr(spec, name) for name in VersionParameters.model_fields}


def _to_make(name: str, spec: ModelSpec, seen: ModelObservation) -> ModelVersionSpec | None:
    """The ModelVersion to apply, or None where it is there already; only its replicas can differ."""
    if seen.obstacle:
        return None
    for version in seen.versions:
        if version.spec.version == spec.version:
            scaled = version.spec.model_copy(update={"replicas": spec.replicas})
            return None if scaled == version.spec else scaled
    return ModelVersionSpec.model_validate({"model": name, "version": spec.version, **parameters_of(spec)})


def _placed(version: _Version, shares: Split, *, generation: int, now: datetime) -> _Version:
    """With its weight, its new status, and how long it has been with traffic, or without."""
    spec, status = version.seen.spec, version.seen.status
    weight = shares.weights.get(spec.version)
    if weight:
        serving = Finding.yes(SERVING, "Routed", f"{weight} % of the model's traffic")
    else:
        lost = is_true(status.conditions, SERVING)
        before = find(status.conditions, SERVING)
        reason = "Replaced" if lost else before.reason if before and not lost else "NotRouted"
        serving = Finding.no(SERVING, reason, "no share of the model's traffic")
    conditions = settle(status.conditions, (version.ready, serving), generation=generation, now=now)
    condition = find(conditions, SERVING)
    assert condition is not None
    return _Version(
        version.seen,
        version.ready,
        weight,
        ModelVersionStatus(
            observed_generation=generation, conditions=conditions, application=app_name(spec.model, spec.version)
        ),
        **{"routed_seconds" if weight else "idle_seconds": max(0.0, (now - since(condition)).total_seconds())},
    )


def _stays(version: _Version, spec: ModelSpec, shares: Split) -> bool:
    name = version.seen.spec.version
    if name == spec.version or name in wanted(spec) or name in shares.weights:
        return True
    return version.idle_seconds is not None and version.idle_seconds < REMOVE_AFTER


def _routed(version: _Version, shares: Split, old: Mapping[str, int]) -> bool:
    """In the split, or out of it for so short that pins and earlier jobs still find it."""
    name = version.seen.spec.version
    if name in shares.weights:
        return True
    return name in old and version.idle_seconds is not None and version.idle_seconds < RETIRE_AFTER


def _arms(routed: list[_Version]) -> dict[str, tuple[Arm, ...]]:
    """The arms by Pool; a Pool without a share of the traffic has no route."""
    arms: dict[str, list[Arm]] = {}
    for version in routed:
        arm = Arm(version=version.seen.spec.version, weight=version.weight or 0)
        arms.setdefault(version.seen.spec.pool, []).append(arm)
    return {pool: tuple(found) for pool, found in arms.items() if any(arm.weight for arm in found)}


def _due(stays: list[_Version], *, waits: bool) -> float | None:
    """Seconds until the next version retires or goes; or has its route, where the Model ``waits`` for that."""
    routes = [
        ROUTE_AFTER - version.routed_seconds
        for version in stays
        if waits and version.routed_seconds is not None and version.routed_seconds < ROUTE_AFTER
    ]
    retirements = [
        limit - version.idle_seconds
        for version in stays
        if version.idle_seconds is not None and version.weight is None
        for limit in (RETIRE_AFTER, REMOVE_AFTER)
        if version.idle_seconds < limit
    ]
    return min([*routes, *retirements], default=None)


@dataclass(frozen=True, slots=True)
class _Now:
    """What the Model's conditions are made of."""

    seen: ModelObservation
    shares: Split
    versions: list[_Version]
    routed: list[_Version]

    def version(self, name: str) -> _Version | None:
        return next((v for v in self.versions if v.seen.spec.version == name), None)


def _status(spec: ModelSpec, status: ModelStatus, generation: int, at: _Now, now: datetime) -> ModelStatus:
    current = at.version(spec.version)
    answering = [version.seen.spec.version for version in at.versions if version.answers]
    findings = (_ready(spec, at, was=is_true(status.conditions, READY)), _progressing(spec, at))
    return ModelStatus(
        observed_generation=generation,
        conditions=settle(status.conditions, findings, generation=generation, now=now),
        ready_version=spec.version if spec.version in answering else answering[-1] if answering else None,
        replicas=current.seen.spec.replicas if current and current.answers else 0,
        traffic=tuple(
            ServedTraffic(version=v.seen.spec.version, weight=v.weight or 0, ready=v.answers) for v in at.routed
        ),
    )


def _ready(spec: ModelSpec, at: _Now, *, was: bool) -> Finding:
    serving = [version for version in at.routed if version.weight]
    answering = [version for version in serving if version.answers]
    if answering and not was and all((version.routed_seconds or 0) < ROUTE_AFTER for version in answering):
        return Finding.no(READY, "Routing", f"{answering[0].seen.spec.version} runs, its route is on the way")
    if answering:
        text = ", ".join(f"{v.seen.spec.version} {v.weight} %" for v in serving)
        return Finding.yes(READY, "Serving", text)
    if at.seen.obstacle:
        return Finding.no(READY, *at.seen.obstacle)
    culprit = serving[0] if serving else at.version(spec.version)
    if culprit is None:
        return Finding.no(READY, "Starting", f"{spec.version} is being made")
    return Finding.no(READY, culprit.ready.reason, f"{culprit.seen.spec.version}: {culprit.ready.message}")


def _progressing(spec: ModelSpec, at: _Now) -> Finding:
    if at.seen.obstacle:
        return Finding.no(PROGRESSING, *at.seen.obstacle)
    if not at.shares.refused:
        return Finding.no(PROGRESSING, "Complete", "the traffic is split as the spec says")
    serving = [version.seen.spec.version for version in at.routed if version.weight]
    keeps = f"; {', '.join(serving)} {'keeps' if len(serving) == 1 else 'keep'} the traffic" if serving else ""
    if spec.traffic:
        return Finding.no(PROGRESSING, "TrafficRefused", f"traffic: {at.shares.refused}{keeps}")
    current = at.version(spec.version)
    if current and failed(current.ready):
        return Finding.no(PROGRESSING, current.ready.reason, f"{spec.version}: {current.ready.message}{keeps}")
    why = current.ready.message if current else "it is being made"
    return Finding.yes(PROGRESSING, "Starting", f"{spec.version} is on its way: {why}{keeps}")
