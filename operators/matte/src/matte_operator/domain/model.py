"""What becomes of a Model: its versions, its traffic split, its routes and its conditions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime

from matte_core.contracts.catalog import Arm, Mirror, Route, app_name
from matte_core.contracts.catalog import Rule as RouteRule
from matte_core.contracts.evidence import CheckOrder, CheckState
from matte_core.contracts.k8s.model import (
    ModelSpec,
    ModelStatus,
    ModelVersionSpec,
    ModelVersionStatus,
    ServedTraffic,
    VersionParameters,
)
from matte_core.contracts.k8s.rollout import Phase, RolloutStatus

from matte_operator.domain.conditions import ConditionUpdate, find, is_true, merge_conditions
from matte_operator.domain.download import UPDATE_SECONDS
from matte_operator.domain.rollout.decide import POLL_SECONDS, Decision
from matte_operator.domain.rollout.observation import Gate, GateResult, ModelEvidence
from matte_operator.domain.rollout.reconcile import PROGRESSING, in_progress, reconcile_rollout, rollout_conditions
from matte_operator.domain.traffic import TrafficSplit, VersionFacts, desired_weights, split_traffic
from matte_operator.domain.version import (
    READY,
    SERVING,
    VersionObservation,
    needs_intervention,
    ready_condition,
    verified_condition,
)

#: nothing keeps a version from starting
NO_PREFLIGHT = GateResult(Gate.PASSED)
#: a version that lost its traffic still answers rules, and jobs assigned to it before, for this long (seconds)
RETIRE_AFTER = 60.0
#: then it leaves the route, and this long after the loss its application ends and the ModelVersion is deleted
REMOVE_AFTER = 75.0
#: a first route takes up to this long through KubeRay, Serve and the frontends' catalogs; Ready waits for it (seconds)
ROUTE_AFTER = 4.0
#: a folder that was refused is checked again after this long (seconds), since somebody may have fixed it
CHECK_AGAIN = 60.0
#: ModelVersions of a Model with rollouts that are kept for the status of their rollout
HISTORY = 5


@dataclass(frozen=True, slots=True)
class ModelObservation:
    """What is known of a Model. ``obstacle``: reason and message why a new ModelVersion cannot be made.

    ``evidence`` is None where it is not needed, or Redis is away.
    """

    versions: tuple[VersionObservation, ...] = ()
    obstacle: tuple[str, str] | None = None
    evidence: ModelEvidence | None = None
    preflight: GateResult = NO_PREFLIGHT


@dataclass(frozen=True, slots=True)
class ModelDecision:
    """What is to be done about a Model. ModelVersions are named in ``version_statuses``, ``apps`` and ``delete``."""

    status: ModelStatus
    #: new ModelVersions, and such with another number of replicas
    apply: tuple[ModelVersionSpec, ...]
    #: of the ModelVersions that stay
    version_statuses: Mapping[str, ModelVersionStatus]
    #: the ModelVersions that have a Serve application
    apps: frozenset[str]
    delete: tuple[str, ...]
    #: by Pool
    routes: Mapping[str, Route]
    #: checks to ask for, with their Pool
    orders: tuple[tuple[str, CheckOrder], ...]
    #: Pool and version of what is gone: nothing reported about it counts any more
    retract: tuple[tuple[str, str], ...]
    #: seconds until the next decision; None: when something changes
    requeue_after: float | None


@dataclass(frozen=True, slots=True)
class _Version:
    """A version and what is decided about it. ``*_seconds``: since it got, or lost, its traffic."""

    observed: VersionObservation
    ready: ConditionUpdate
    verified: ConditionUpdate
    weight: int | None = None
    status: ModelVersionStatus = field(default_factory=ModelVersionStatus)
    idle_seconds: float | None = None
    routed_seconds: float | None = None

    @property
    def name(self) -> str:
        return self.observed.spec.version

    @property
    def pool(self) -> str:
        return self.observed.spec.pool


def needs_evidence(spec: ModelSpec, status: ModelStatus, versions: Iterable[VersionObservation]) -> bool:
    """Whether a decision needs what routers and replicas report; at rest it does not."""
    if spec.rollout and in_progress(spec, status.rollout):
        return True
    sourced = [version for version in versions if version.spec.source]
    return any(version.is_loading or not verified_condition(version).is_true for version in sourced)


def decide_model(
    name: str, spec: ModelSpec, status: ModelStatus, generation: int, observed: ModelObservation, now: datetime
) -> ModelDecision:
    versions = [
        _Version(version, ready_condition(version), verified_condition(version))
        for version in sorted(observed.versions, key=lambda version: (version.created, version.name))
    ]
    old_weights = {item.version: item.weight for item in status.traffic}
    rollout, rollout_status, mirror = None, None, None
    if spec.rollout:
        rollout = reconcile_rollout(spec, status.rollout, observed.versions, observed.evidence, observed.preflight, now)
        rollout_status = rollout.status if rollout else status.rollout
        split = TrafficSplit(rollout.weights if rollout else old_weights)
        if rollout and rollout.status.canary:  # with 0 percent too: it tells routers which version is stable
            mirror = Mirror(version=rollout.status.canary, percent=rollout.mirror)
    else:
        facts = [VersionFacts(v.name, v.pool, v.ready.is_true, rank) for rank, v in enumerate(versions)]
        split = split_traffic(spec, old_weights, facts)
        if spec.mirror:
            mirror = Mirror(version=spec.mirror.version, percent=spec.mirror.percent)

    versions = [_with_status(version, spec, split, rollout, rollout_status, now) for version in versions]
    kept_names = {spec.version, *split.weights}
    if spec.rollout:
        kept_names |= rollout.replicas.keys() if rollout else {v.name for v in versions}
        kept_names |= {v.name for v in versions[-HISTORY:]}
    else:
        kept_names |= desired_weights(spec).keys() | {v.name for v in versions if _idle(v, REMOVE_AFTER)}
    kept = [v for v in versions if v.name in kept_names]
    deployed = [v for v in kept if v.status.application]
    routed = [v for v in deployed if v.name in split.weights or (v.name in old_weights and _idle(v, RETIRE_AFTER))]

    was_ready = is_true(status.conditions, READY)
    updates = [_ready(spec, observed, kept, routed, was_ready=was_ready)]
    if rollout_status and not observed.obstacle:
        updates += rollout_conditions(rollout_status)
    else:
        updates.append(_progressing(spec, observed, split, kept, routed))
    # the spec's version where it does not exist, and those with another number of replicas than desired
    existing = {version.spec.version: version.spec for version in observed.versions}
    apply = []
    if spec.version not in existing and not observed.obstacle:
        parameters = {field_name: getattr(spec, field_name) for field_name in VersionParameters.model_fields}
        apply.append(ModelVersionSpec.model_validate({"model": name, "version": spec.version, **parameters}))
    sizes = rollout.replicas if rollout else {} if spec.rollout else {spec.version: spec.replicas}
    for version, replicas in sizes.items():
        if version in existing and replicas and existing[version].replicas != replicas:
            apply.append(existing[version].model_copy(update={"replicas": replicas}))
    answering = [v for v in kept if v.ready.is_true]
    current = next((v for v in answering if v.name == spec.version), None)
    newest_answering = current or (answering[-1] if answering else None)
    return ModelDecision(
        status=ModelStatus(
            observed_generation=generation,
            conditions=merge_conditions(status.conditions, updates, generation=generation, now=now),
            ready_version=newest_answering.name if newest_answering else None,
            replicas=current.observed.spec.replicas if current else 0,
            traffic=tuple(ServedTraffic(version=v.name, weight=v.weight or 0, ready=v.ready.is_true) for v in routed),
            rollout=rollout_status,
        ),
        apply=tuple(apply),
        version_statuses={v.observed.name: v.status for v in kept},
        apps=frozenset(v.observed.name for v in deployed),
        delete=tuple(v.observed.name for v in versions if v not in kept),
        routes=_routes(name, spec, routed, mirror),
        orders=tuple((v.pool, order) for v in kept if (order := _check_order(v, spec, rollout, now))),
        retract=tuple((v.pool, v.name) for v in versions if v.observed.app is not None and v not in deployed),
        requeue_after=min(_due_times(kept, spec, rollout, was_ready=was_ready, now=now), default=None),
    )


def _idle(version: _Version, less_than: float) -> bool:
    return version.idle_seconds is not None and version.idle_seconds < less_than


def _with_status(
    version: _Version,
    spec: ModelSpec,
    split: TrafficSplit,
    rollout: Decision | None,
    rollout_status: RolloutStatus | None,
    now: datetime,
) -> _Version:
    observed, status, check = version.observed, version.observed.status, version.observed.check
    weight = split.weights.get(version.name)
    if weight:
        serving = ConditionUpdate.true(SERVING, "Routed", f"{weight} % of the model's traffic")
    else:
        before = find(status.conditions, SERVING)
        reason = "Replaced" if is_true(status.conditions, SERVING) else before.reason if before else "NotRouted"
        serving = ConditionUpdate.false(SERVING, reason, "no share of the model's traffic")
    updates = (version.verified, version.ready, serving)
    conditions = merge_conditions(status.conditions, updates, generation=observed.generation, now=now)
    since = datetime.fromisoformat(conditions[-1].last_transition_time)
    seconds = max(0.0, (now - since).total_seconds())

    own_rollout = status.rollout  # it stays where the Model goes on to others
    if rollout_status:
        succeeded = rollout_status.phase is Phase.SUCCEEDED and rollout_status.stable == version.name
        was_unfinished = own_rollout is not None and own_rollout.phase is not Phase.SUCCEEDED
        if rollout_status.canary == version.name or (succeeded and was_unfinished):
            own_rollout = rollout_status
    may_start = version.verified.is_true
    if rollout:
        has_app = may_start and rollout.replicas.get(version.name, 0) > 0
    else:
        has_app = status.application is not None if spec.rollout else may_start
    return replace(
        version,
        weight=weight,
        status=ModelVersionStatus(
            observed_generation=observed.generation,
            conditions=conditions,
            application=app_name(observed.spec.model, version.name) if has_app else None,
            digest=status.digest or (check.digest if may_start and check else None),
            license=status.license or (check.license if check else None) or observed.spec.license,
            download=None if version.ready.is_true else observed.download,
            rollout=own_rollout,
        ),
        idle_seconds=None if weight else seconds,
        routed_seconds=seconds if weight else None,
    )


def _routes(name: str, spec: ModelSpec, routed: list[_Version], mirror: Mirror | None) -> dict[str, Route]:
    """By Pool; a Pool without a share of the traffic has no route."""
    arms: dict[str, list[Arm]] = {}
    for version in routed:
        arms.setdefault(version.pool, []).append(Arm(version=version.name, weight=version.weight or 0))
    rules = tuple(RouteRule.model_validate(rule.model_dump(by_alias=False)) for rule in spec.rules)
    return {
        pool: Route(
            model=name,
            arms=tuple(pool_arms),
            rules=rules,
            mirror=mirror if mirror and mirror.version in {arm.version for arm in pool_arms} else None,
        )
        for pool, pool_arms in arms.items()
        if any(arm.weight for arm in pool_arms)
    }


def _check_order(version: _Version, spec: ModelSpec, rollout: Decision | None, now: datetime) -> CheckOrder | None:
    """The check of the version's folder that a router of its Pool is to make."""
    observed, report = version.observed, version.observed.check
    if spec.rollout:  # only of the version that is being verified
        if not rollout or rollout.status.phase is not Phase.VERIFYING or rollout.status.canary != version.name:
            return None
        attempt = rollout.status.attempt
    else:
        if not observed.spec.source or version.verified.is_true:
            return None
        attempt = report.attempt if report else 0
        if report and report.state is CheckState.FAILED and now.timestamp() - report.at >= CHECK_AGAIN:
            attempt += 1
    return CheckOrder(
        model=observed.spec.model,
        version=version.name,
        attempt=attempt,
        source=observed.spec.source,
        digest=observed.spec.digest or observed.status.digest,
        license=observed.spec.license,
        allowed_licenses=observed.allowed_licenses,
        public_keys=observed.spec.public_keys,
    )


def _due_times(
    versions: list[_Version], spec: ModelSpec, rollout: Decision | None, *, was_ready: bool, now: datetime
) -> list[float]:
    """Seconds until each next decision: a version has its route, retires, is deleted, or is checked."""
    due = []
    if not was_ready:
        routed = [v.routed_seconds for v in versions if v.routed_seconds is not None]
        due += [ROUTE_AFTER - seconds for seconds in routed if seconds < ROUTE_AFTER]
    if spec.rollout:
        requeue_after = rollout.requeue_after if rollout else POLL_SECONDS
        return due if requeue_after is None else [*due, requeue_after]
    for version in versions:
        observed = version.observed
        if version.idle_seconds is not None and version.weight is None:
            limits = RETIRE_AFTER - version.idle_seconds, REMOVE_AFTER - version.idle_seconds
            due += [seconds for seconds in limits if seconds > 0]
        if observed.spec.source and not version.verified.is_true and observed.pool_problem is None:
            wait = POLL_SECONDS
            if observed.check and observed.check.state is CheckState.FAILED:
                wait = max(wait, CHECK_AGAIN - (now.timestamp() - observed.check.at))
            due.append(wait)
        elif observed.spec.source and observed.is_loading:
            due.append(UPDATE_SECONDS)
    return due


def _ready(
    spec: ModelSpec, observed: ModelObservation, versions: list[_Version], routed: list[_Version], *, was_ready: bool
) -> ConditionUpdate:
    serving = [version for version in routed if version.weight]
    answering = [version for version in serving if version.ready.is_true]
    if answering and not was_ready and all((v.routed_seconds or 0) < ROUTE_AFTER for v in answering):
        return ConditionUpdate.false(READY, "Routing", f"{answering[0].name} runs, its route is on the way")
    if answering:
        return ConditionUpdate.true(READY, "Serving", ", ".join(f"{v.name} {v.weight} %" for v in serving))
    if observed.obstacle:
        return ConditionUpdate.false(READY, *observed.obstacle)
    blamed = serving[0] if serving else next((v for v in versions if v.name == spec.version), None)
    if blamed is None:
        return ConditionUpdate.false(READY, "Starting", f"{spec.version} is being made")
    return ConditionUpdate.false(READY, blamed.ready.reason, f"{blamed.name}: {blamed.ready.message}")


def _progressing(
    spec: ModelSpec, observed: ModelObservation, split: TrafficSplit, versions: list[_Version], routed: list[_Version]
) -> ConditionUpdate:
    if observed.obstacle:
        return ConditionUpdate.false(PROGRESSING, *observed.obstacle)
    if not split.refusal:
        return ConditionUpdate.false(PROGRESSING, "Complete", "the traffic is split as the spec says")
    serving = [version.name for version in routed if version.weight]
    keeps = f"; {', '.join(serving)} {'keeps' if len(serving) == 1 else 'keep'} the traffic" if serving else ""
    if spec.traffic:
        return ConditionUpdate.false(PROGRESSING, "TrafficRefused", f"traffic: {split.refusal}{keeps}")
    ready = next((v.ready for v in versions if v.name == spec.version), None)
    if ready and needs_intervention(ready):
        return ConditionUpdate.false(PROGRESSING, ready.reason, f"{spec.version}: {ready.message}{keeps}")
    why = ready.message if ready else "it is being made"
    return ConditionUpdate.true(PROGRESSING, "Starting", f"{spec.version} is on its way: {why}{keeps}")
