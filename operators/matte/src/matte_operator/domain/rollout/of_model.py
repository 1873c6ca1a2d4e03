"""A Model's rollout: what is seen of its versions put together, decided on, and told in conditions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from matte_core.contracts.catalog import Mirror
from matte_core.contracts.evidence import CheckOrder, CheckState
from matte_core.contracts.k8s.model import ModelSpec
from matte_core.contracts.k8s.rollout import Phase, RolloutStatus
from matte_core.domain.phases import INTENDED, TERMINAL

from matte_operator.domain.conditions import Finding
from matte_operator.domain.rollout.decide import POLL, ActionKind, Decision, decide
from matte_operator.domain.rollout.evidence import ModelEvidence, canary_seen, measured, weight_of
from matte_operator.domain.rollout.observe import Gate, GateSeen, Observation, VersionNow, Wanted, spec_hash
from matte_operator.domain.version import VersionSeen, failed, readiness

PROGRESSING = "Progressing"
#: true where a rollout ended badly, and nothing happens any more until the spec changes (kstatus' word for it)
STALLED = "Stalled"
#: the Pool has room
ROOM = GateSeen(Gate.PASSED)


@dataclass(frozen=True, slots=True)
class Rolled:
    """What a rollout comes to.

    Attributes:
        status: the new one.
        weights: per cent by version.
        replicas: by version; None: as they are.
        mirror: the new version, at 0 % too: routers know by it which arm is stable.
        order: what to have checked.
        requeue_after: seconds until the next look; None: when something changes.
    """

    status: RolloutStatus | None
    weights: Mapping[str, int]
    replicas: Mapping[str, int] | None = None
    mirror: Mirror | None = None
    order: CheckOrder | None = None
    requeue_after: float | None = None


@dataclass(frozen=True, slots=True)
class RolloutSeen:
    """What is seen of a Model besides its spec. ``weights``: the split until now; ``preflight``: of the new version."""

    versions: tuple[VersionSeen, ...]
    evidence: ModelEvidence | None
    weights: Mapping[str, int] = field(default_factory=dict)
    preflight: GateSeen = ROOM


def wanted(spec: ModelSpec) -> Wanted | None:
    """What the Model asks for; None where it has no rollout."""
    if spec.rollout is None:
        return None
    return Wanted(spec.version, spec_hash(spec.version, spec), spec.replicas, spec.rollout)


def under_way(spec: ModelSpec, status: RolloutStatus | None) -> bool:
    """Whether evidence is needed: something moves, or is asked to."""
    asked = wanted(spec)
    if asked is None:
        return False
    if status is None or status.phase not in TERMINAL or status.observed_spec_hash != asked.hash:
        return True
    request = asked.rollout.request
    return request is not None and not status.handled_request.endswith(f" {request.version} {request.id}")


def roll(name: str, spec: ModelSpec, before: RolloutStatus | None, seen: RolloutSeen, now: datetime) -> Rolled:
    """What is to be done about the Model's rollout. ``now`` is in UTC.

    Without evidence everything stays: no job flows then, and nobody can say how it goes.
    """
    asked = wanted(spec)
    assert asked is not None
    if seen.evidence is None and under_way(spec, before):
        return Rolled(before, seen.weights, requeue_after=POLL)
    evidence = seen.evidence or ModelEvidence()
    decision = decide(asked, before, _observation(name, before, seen, evidence), now)
    status, by_name = decision.status, {version.spec.version: version for version in seen.versions}
    return Rolled(
        status,
        decision.weights,
        decision.replicas,
        Mirror(version=status.canary, percent=decision.mirror) if status.canary else None,
        _order(decision, by_name),
        decision.requeue_after,
    )


def findings(status: RolloutStatus) -> tuple[Finding, Finding]:
    """Progressing and Stalled."""
    bad = status.phase in {Phase.ROLLED_BACK, Phase.FAILED} and status.cause not in INTENDED
    stalled = Finding.no(STALLED, "NotStalled", "")
    if bad:
        stalled = Finding.yes(STALLED, status.cause.value, text_of(status))
    if status.phase is Phase.PAUSED:
        return Finding.unknown(PROGRESSING, "Paused", text_of(status)), stalled
    kind = Finding.no if status.phase in TERMINAL else Finding.yes
    reason = "Complete" if status.phase is Phase.SUCCEEDED else status.phase.value
    return kind(PROGRESSING, reason, text_of(status)), stalled


def text_of(status: RolloutStatus) -> str:
    """The rollout in words."""
    match status.phase:
        case Phase.SUCCEEDED:
            return status.message
        case Phase.ROLLED_BACK | Phase.FAILED:
            serves = f"; {status.stable} serves" if status.stable else ""
            return f"{status.canary} went back ({status.cause.value}): {status.message}{serves}"
        case Phase.ROLLING_BACK:
            return f"{status.canary} goes back ({status.cause.value}): {status.message}"
        case Phase.PAUSED:
            return f"{status.canary} is held at {status.weight} % ({status.cause.value}): {status.message}"
        case _:
            return f"{status.canary}: {status.message}"


def _observation(name: str, status: RolloutStatus | None, seen: RolloutSeen, evidence: ModelEvidence) -> Observation:
    now = {version.spec.version: _version(name, version, evidence) for version in seen.versions}
    if status is None:
        return Observation(now)
    gate = _same_pool(status, seen) or seen.preflight
    return Observation(now, canary_seen(status, evidence, gate), measured(status, evidence))


def _same_pool(status: RolloutStatus, seen: RolloutSeen) -> GateSeen | None:
    """What is wrong where the versions are in two Pools."""
    pools = {version.spec.version: version.spec.pool for version in seen.versions}
    old, new = pools.get(status.stable or ""), pools.get(status.canary or "")
    if old is None or new is None or old == new:
        return None
    text = f"{status.stable} runs in Pool {old}, {status.canary} asks for Pool {new}: a rollout stays within one Pool"
    return GateSeen(Gate.FAILED, text)


def _version(name: str, seen: VersionSeen, evidence: ModelEvidence) -> VersionNow:
    version = seen.spec.version
    live = evidence.replicas.get(version, 0)
    found = readiness(seen)
    broken = seen.app is not None and found.status != "True" and failed(found)
    return VersionNow(
        held=max(live, seen.spec.replicas) if seen.app is not None else live,
        ready=live,
        weight=weight_of(name, version, evidence.applied),
        trouble=f"{found.reason}: {found.message}" if broken else "",
    )


def _order(decision: Decision, versions: Mapping[str, VersionSeen]) -> CheckOrder | None:
    """What the attempt is to have checked, once its ModelVersion is there."""
    asked = [action for action in decision.actions if action.kind is ActionKind.VERIFY]
    return next((order_for(versions[a.version], a.attempt) for a in asked if a.version in versions), None)


def order_for(seen: VersionSeen, attempt: int) -> CheckOrder:
    """The check of a version's folder."""
    spec = seen.spec
    return CheckOrder(
        model=spec.model,
        version=spec.version,
        attempt=attempt,
        source=spec.source,
        digest=spec.digest or seen.status.digest,
        license=spec.license,
        allowed_licenses=seen.allowed_licenses,
        public_keys=spec.public_keys,
    )


def orders_of(versions: Iterable[VersionSeen], now: float, again_seconds: float) -> list[CheckOrder]:
    """Outside a rollout: the versions that wait for a check; a failed one is checked again now and then.

    Args:
        versions: that are wanted and cannot start yet.
        now: Unix seconds.
        again_seconds: after which a failed check is made again.
    """
    orders = []
    for seen in versions:
        report = seen.check
        stale = report is not None and report.state is CheckState.FAILED and now - report.at >= again_seconds
        attempt = (report.attempt if report else 0) + stale
        orders.append(order_for(seen, attempt))
    return orders
