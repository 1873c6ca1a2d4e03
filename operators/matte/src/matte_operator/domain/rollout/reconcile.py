"""The rollout of a Model: its observation, what is decided, and the Model's conditions about it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from matte_core.contracts.catalog import Mirror
from matte_core.contracts.k8s.model import ModelSpec
from matte_core.contracts.k8s.rollout import Phase, RolloutStatus
from matte_core.domain.phases import INTENDED, TERMINAL

from matte_operator.domain.conditions import ConditionUpdate
from matte_operator.domain.rollout.decide import POLL_SECONDS, decide
from matte_operator.domain.rollout.evidence import ModelEvidence, applied_weight, canary_gates, measurements
from matte_operator.domain.rollout.observation import (
    DesiredRollout,
    Gate,
    GateResult,
    Observation,
    VersionState,
    spec_hash,
)
from matte_operator.domain.version import VersionObservation, needs_intervention, ready_condition

PROGRESSING = "Progressing"
#: true where a rollout ended badly, and nothing happens any more until the spec changes (kstatus' word for it)
STALLED = "Stalled"


@dataclass(frozen=True, slots=True)
class RolloutResult:
    """What becomes of a Model's versions.

    Attributes:
        status: the new one.
        weights: percent by version.
        replicas: by version; None: as they are.
        mirror: the new version, with 0 percent too: it tells routers which version is stable.
        verify: version whose folder is to be checked for this attempt.
        requeue_after: seconds until the next decision; None: when something changes.
    """

    status: RolloutStatus | None
    weights: Mapping[str, int]
    replicas: Mapping[str, int] | None = None
    mirror: Mirror | None = None
    verify: str | None = None
    requeue_after: float | None = None


def in_progress(spec: ModelSpec, status: RolloutStatus | None) -> bool:
    """Whether the rollout needs evidence: something moves, or is requested to."""
    if spec.rollout is None:
        return False
    if status is None or status.phase not in TERMINAL or status.observed_spec_hash != spec_hash(spec.version, spec):
        return True
    return spec.rollout.request is not None and spec.rollout.request.is_pending(spec.version, status)


def reconcile_rollout(
    spec: ModelSpec,
    status: RolloutStatus | None,
    versions: tuple[VersionObservation, ...],
    evidence: ModelEvidence | None,
    weights: Mapping[str, int],
    preflight: GateResult,
    now: datetime,
) -> RolloutResult:
    """What is to be done about a Model's rollout.

    Without evidence everything stays: no job flows then, and nobody can say how it goes.

    Args:
        spec: the Model's, with a rollout.
        status: the rollout's, until now.
        versions: the Model's.
        evidence: None where Redis is away.
        weights: the split until now.
        preflight: of the new version.
        now: in UTC.
    """
    assert spec.rollout is not None
    if evidence is None and in_progress(spec, status):
        return RolloutResult(status, weights, requeue_after=POLL_SECONDS)
    evidence = evidence or ModelEvidence()
    states = {version.spec.version: _version_state(version, evidence) for version in versions}
    observation = Observation(states)
    if status is not None:
        gate = _two_pools(status, versions) or preflight
        observation = Observation(states, canary_gates(status, evidence, gate), measurements(status, evidence))
    desired = DesiredRollout(spec.version, spec_hash(spec.version, spec), spec.replicas, spec.rollout)
    decision = decide(desired, status, observation, now)
    canary = decision.status.canary
    return RolloutResult(
        decision.status,
        decision.weights,
        decision.replicas,
        Mirror(version=canary, percent=decision.mirror) if canary else None,
        canary if decision.status.phase is Phase.VERIFYING else None,
        decision.requeue_after,
    )


def rollout_conditions(status: RolloutStatus) -> tuple[ConditionUpdate, ConditionUpdate]:
    """Progressing and Stalled."""
    text = describe(status)
    stalled = ConditionUpdate.false(STALLED, "NotStalled", "")
    if status.phase in {Phase.ROLLED_BACK, Phase.FAILED} and status.cause not in INTENDED:
        stalled = ConditionUpdate.true(STALLED, status.cause.value, text)
    if status.phase is Phase.PAUSED:
        return ConditionUpdate.unknown(PROGRESSING, "Paused", text), stalled
    if status.phase is Phase.SUCCEEDED:
        return ConditionUpdate.false(PROGRESSING, "Complete", text), stalled
    update = ConditionUpdate.false if status.phase in TERMINAL else ConditionUpdate.true
    return update(PROGRESSING, status.phase.value, text), stalled


def describe(status: RolloutStatus) -> str:
    """The state of a rollout in a sentence."""
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


def _two_pools(status: RolloutStatus, versions: tuple[VersionObservation, ...]) -> GateResult | None:
    """Failed where stable and the new version are in different Pools."""
    pools = {version.spec.version: version.spec.pool for version in versions}
    stable, canary = pools.get(status.stable or ""), pools.get(status.canary or "")
    if stable is None or canary is None or stable == canary:
        return None
    message = (
        f"{status.stable} runs in Pool {stable}, {status.canary} asks for Pool {canary}:"
        " a rollout stays within one Pool"
    )
    return GateResult(Gate.FAILED, message)


def _version_state(observed: VersionObservation, evidence: ModelEvidence) -> VersionState:
    spec = observed.spec
    replicas = evidence.replicas.get(spec.version, 0)
    ready = ready_condition(observed)
    broken = observed.app is not None and not ready.is_true and needs_intervention(ready)
    return VersionState(
        allocated=max(replicas, spec.replicas) if observed.app is not None else replicas,
        ready=replicas,
        weight=applied_weight(spec.model, spec.version, evidence.applied),
        failure=f"{ready.reason}: {ready.message}" if broken else "",
    )
