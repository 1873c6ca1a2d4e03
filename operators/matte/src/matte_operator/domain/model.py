"""What becomes of a Model: its versions, its split, its conditions."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from matte_core.contracts.catalog import Arm, Mirror, Route, app_name
from matte_core.contracts.catalog import Rule as RouteRule
from matte_core.contracts.evidence import CheckOrder
from matte_core.contracts.k8s.model import (
    ModelSpec,
    ModelStatus,
    ModelVersionSpec,
    ModelVersionStatus,
    ServedTraffic,
    VersionParameters,
)
from matte_core.contracts.k8s.rollout import Phase, RolloutStatus

from matte_operator.domain.conditions import Finding, find, is_true, settle, since
from matte_operator.domain.rollout.decide import POLL
from matte_operator.domain.rollout.evidence import ModelEvidence
from matte_operator.domain.rollout.observe import GateSeen
from matte_operator.domain.rollout.of_model import PROGRESSING, ROOM, Rolled, RolloutSeen, orders_of, roll, under_way
from matte_operator.domain.rollout.of_model import findings as rollout_findings
from matte_operator.domain.traffic import Split, VersionFacts, split, wanted
from matte_operator.domain.version import READY, SERVING, VersionSeen, failed, readiness, verified

#: a version that lost its traffic still answers pins, and jobs given to it before, for so long (seconds)
RETIRE_AFTER = 60.0
#: then it leaves the route, and this long after the loss its application ends and the ModelVersion is deleted
REMOVE_AFTER = 75.0
#: a first route takes up to so long through KubeRay, Serve and the frontends' catalogs; Ready waits for it (seconds)
ROUTE_AFTER = 4.0
#: a folder that was refused is checked again (seconds): it may have been mended
CHECK_AGAIN = 60.0
#: ModelVersions of a Model with rollouts that are kept for their story
HISTORY = 5


@dataclass(frozen=True, slots=True)
class ModelObservation:
    """What is seen.

    Attributes:
        versions: the Model's.
        obstacle: why a new version cannot be made: reason and message; None where it can.
        evidence: what routers and replicas report; None where it was not asked for, or could not be had.
        preflight: whether the Pool has room for the spec's version.
    """

    versions: tuple[VersionSeen, ...] = ()
    obstacle: tuple[str, str] | None = None
    evidence: ModelEvidence | None = None
    preflight: GateSeen = ROOM


@dataclass(frozen=True, slots=True)
class ModelDecision:
    """What is to be done.

    Attributes:
        status: the Model's new one.
        wanted: ModelVersions to apply: new ones, or such with another number of replicas.
        versions: the new status of those that stay, by name of the ModelVersion.
        apps: names of the ModelVersions that have a Serve application.
        remove: names of the ModelVersions to delete.
        routes: by Pool.
        orders: checks to ask for, by Pool and version.
        retract: versions that are gone from their Pool: nothing reported of them counts any more.
        requeue_after: seconds until the next look; None: when something changes.
    """

    status: ModelStatus
    wanted: tuple[ModelVersionSpec, ...]
    versions: Mapping[str, ModelVersionStatus]
    apps: frozenset[str]
    remove: tuple[str, ...]
    routes: Mapping[str, Route]
    orders: tuple[tuple[str, CheckOrder], ...]
    retract: tuple[tuple[str, str], ...]
    requeue_after: float | None


@dataclass(frozen=True, slots=True)
class _Version:
    """A version while it is decided on."""

    seen: VersionSeen
    ready: Finding
    verified: Finding
    weight: int | None = None
    status: ModelVersionStatus = field(default_factory=ModelVersionStatus)
    idle_seconds: float | None = None
    routed_seconds: float | None = None

    @property
    def name(self) -> str:
        return self.seen.spec.version

    @property
    def answers(self) -> bool:
        return self.ready.status == "True"

    @property
    def may_start(self) -> bool:
        return self.verified.status == "True"


def decide_model(
    name: str, spec: ModelSpec, status: ModelStatus, generation: int, seen: ModelObservation, now: datetime
) -> ModelDecision:
    """What is to be done about a Model. ``now`` is in UTC."""
    ordered = sorted(
        (_Version(version, readiness(version), verified(version)) for version in seen.versions),
        key=lambda v: (v.seen.created, v.seen.name),
    )
    old = {item.version: item.weight for item in status.traffic}
    rolled = None
    if spec.rollout:
        everything = RolloutSeen(seen.versions, seen.evidence, old, seen.preflight)
        rolled = roll(name, spec, status.rollout, everything, now)
    shares = Split(rolled.weights) if rolled else split(spec, old, _facts(ordered))
    decided = [_placed(version, shares, rolled, generation=version.seen.generation, now=now) for version in ordered]
    stays = [version for version in decided if _stays(version, spec, shares, rolled, decided)]
    apps = [version for version in stays if version.status.application]
    routed = [version for version in apps if _routed(version, shares, old)]
    return ModelDecision(
        status=_status(spec, status, generation, _Now(seen, shares, stays, routed, rolled), now),
        wanted=tuple(_to_make(name, spec, seen, rolled)),
        versions={version.seen.name: version.status for version in stays},
        apps=frozenset(version.seen.name for version in apps),
        remove=tuple(version.seen.name for version in decided if version not in stays),
        routes=_routes(name, spec, routed, rolled.mirror if rolled else _mirror(spec)),
        orders=tuple(_orders(stays, rolled, now)),
        retract=tuple((v.seen.spec.pool, v.name) for v in decided if v.seen.app is not None and v not in apps),
        requeue_after=_due(stays, rolled, waits=not is_true(status.conditions, READY), now=now),
    )


def _facts(versions: Iterable[_Version]) -> list[VersionFacts]:
    return [VersionFacts(v.name, v.seen.spec.pool, v.answers, rank) for rank, v in enumerate(versions)]


def wants_evidence(spec: ModelSpec, status: ModelStatus, versions: Iterable[VersionSeen]) -> bool:
    """Whether a decision needs what routers and replicas report; at rest it does not."""
    if spec.rollout and under_way(spec, status.rollout):
        return True
    return any(seen.spec.source and verified(seen).status != "True" for seen in versions)


def parameters_of(spec: VersionParameters) -> dict[str, object]:
    """What a version is made of."""
    return {name: getattr(spec, name) for name in VersionParameters.model_fields}


def _to_make(name: str, spec: ModelSpec, seen: ModelObservation, rolled: Rolled | None) -> Iterator[ModelVersionSpec]:
    """The ModelVersions to apply: the spec's where it is not there, and those with other replicas than wanted."""
    there = {version.spec.version: version.spec for version in seen.versions}
    if spec.version not in there and not seen.obstacle:
        yield ModelVersionSpec.model_validate({"model": name, "version": spec.version, **parameters_of(spec)})
    sizes = {spec.version: spec.replicas} if rolled is None else rolled.replicas or {}
    for version, replicas in sizes.items():
        known = there.get(version)
        if known is not None and replicas and known.replicas != replicas:
            yield known.model_copy(update={"replicas": replicas})


def _placed(version: _Version, shares: Split, rolled: Rolled | None, *, generation: int, now: datetime) -> _Version:
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
    findings = (version.verified, version.ready, serving)
    conditions = settle(status.conditions, findings, generation=generation, now=now)
    condition = find(conditions, SERVING)
    assert condition is not None
    return _Version(
        version.seen,
        version.ready,
        version.verified,
        weight,
        ModelVersionStatus(
            observed_generation=generation,
            conditions=conditions,
            application=app_name(spec.model, spec.version) if _has_app(version, rolled) else None,
            digest=status.digest or (version.seen.check.digest if version.may_start and version.seen.check else None),
            license=status.license or (version.seen.check.license if version.seen.check else None) or spec.license,
            rollout=_story(spec.version, status.rollout, rolled),
        ),
        **{"routed_seconds" if weight else "idle_seconds": max(0.0, (now - since(condition)).total_seconds())},
    )


def _story(version: str, before: RolloutStatus | None, rolled: Rolled | None) -> RolloutStatus | None:
    """What became of the version's own rollout: kept where the Model goes on to others."""
    status = rolled.status if rolled else None
    if status is None:
        return before
    own = status.canary == version or (
        status.phase is Phase.SUCCEEDED
        and status.stable == version
        and before is not None
        and before.phase is not Phase.SUCCEEDED
    )
    return status if own else before


def _stays(version: _Version, spec: ModelSpec, shares: Split, rolled: Rolled | None, every: Sequence[_Version]) -> bool:
    name = version.name
    if name == spec.version or name in shares.weights:
        return True
    if rolled is not None:
        return rolled.replicas is None or name in rolled.replicas or version in list(every)[-HISTORY:]
    return name in wanted(spec) or (version.idle_seconds is not None and version.idle_seconds < REMOVE_AFTER)


def _has_app(version: _Version, rolled: Rolled | None) -> bool:
    """What may start, or runs; in a rollout, what it has replicas for."""
    if rolled is None:
        return version.may_start
    if rolled.replicas is None:
        return version.seen.status.application is not None
    return version.may_start and rolled.replicas.get(version.name, 0) > 0


def _routed(version: _Version, shares: Split, old: Mapping[str, int]) -> bool:
    """In the split, or out of it for so short that pins and earlier jobs still find it."""
    name = version.name
    if name in shares.weights:
        return True
    return name in old and version.idle_seconds is not None and version.idle_seconds < RETIRE_AFTER


def _routes(name: str, spec: ModelSpec, routed: list[_Version], mirror: Mirror | None) -> dict[str, Route]:
    """By Pool; a Pool without a share of the traffic has no route."""
    arms: dict[str, list[Arm]] = {}
    for version in routed:
        arms.setdefault(version.seen.spec.pool, []).append(Arm(version=version.name, weight=version.weight or 0))
    rules = tuple(RouteRule.model_validate(rule.model_dump(by_alias=False)) for rule in spec.rules)
    return {
        pool: Route(
            model=name,
            arms=tuple(found),
            rules=rules,
            mirror=mirror if mirror and mirror.version in {arm.version for arm in found} else None,
        )
        for pool, found in arms.items()
        if any(arm.weight for arm in found)
    }


def _mirror(spec: ModelSpec) -> Mirror | None:
    return Mirror(version=spec.mirror.version, percent=spec.mirror.percent) if spec.mirror else None


def _orders(stays: list[_Version], rolled: Rolled | None, now: datetime) -> Iterator[tuple[str, CheckOrder]]:
    if rolled is not None:
        pools = {version.name: version.seen.spec.pool for version in stays}
        if rolled.order:
            yield pools[rolled.order.version], rolled.order
        return
    waiting = [version.seen for version in stays if version.seen.spec.source and not version.may_start]
    pools = {seen.spec.version: seen.spec.pool for seen in waiting}
    for order in orders_of(waiting, now.timestamp(), CHECK_AGAIN):
        yield pools[order.version], order


def _due(stays: list[_Version], rolled: Rolled | None, *, waits: bool, now: datetime) -> float | None:
    """Seconds until the next look: a version retires or goes, has its route, or is checked."""
    routes = [
        ROUTE_AFTER - version.routed_seconds
        for version in stays
        if waits and version.routed_seconds is not None and version.routed_seconds < ROUTE_AFTER
    ]
    retirements = [
        limit - version.idle_seconds
        for version in stays
        if rolled is None and version.idle_seconds is not None and version.weight is None
        for limit in (RETIRE_AFTER, REMOVE_AFTER)
        if version.idle_seconds < limit
    ]
    checks = [
        max(POLL, CHECK_AGAIN - (now.timestamp() - report.at))
        if (report := v.seen.check) and failed(v.verified)
        else POLL
        for v in stays
        if rolled is None and v.seen.spec.source and not v.may_start and v.seen.pool_problem is None
    ]
    rollout = [rolled.requeue_after] if rolled and rolled.requeue_after is not None else []
    return min([*routes, *retirements, *checks, *rollout], default=None)


@dataclass(frozen=True, slots=True)
class _Now:
    """What the Model's conditions are made of."""

    seen: ModelObservation
    shares: Split
    versions: list[_Version]
    routed: list[_Version]
    rolled: Rolled | None = None

    def version(self, name: str) -> _Version | None:
        return next((v for v in self.versions if v.seen.spec.version == name), None)


def _status(spec: ModelSpec, status: ModelStatus, generation: int, at: _Now, now: datetime) -> ModelStatus:
    current = at.version(spec.version)
    answering = [version.seen.spec.version for version in at.versions if version.answers]
    rollout = at.rolled.status if at.rolled else None
    progress = (_progressing(spec, at),) if rollout is None or at.seen.obstacle else rollout_findings(rollout)
    findings = (_ready(spec, at, was=is_true(status.conditions, READY)), *progress)
    return ModelStatus(
        observed_generation=generation,
        conditions=settle(status.conditions, findings, generation=generation, now=now),
        ready_version=spec.version if spec.version in answering else answering[-1] if answering else None,
        replicas=current.seen.spec.replicas if current and current.answers else 0,
        traffic=tuple(
            ServedTraffic(version=v.seen.spec.version, weight=v.weight or 0, ready=v.answers) for v in at.routed
        ),
        rollout=rollout,
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
