"""The rollout of a Model: its observation, what is decided, and the Model's conditions about it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from matte_core.contracts.k8s.common import ConditionStatus
from matte_core.contracts.k8s.model import ModelSpec
from matte_core.contracts.k8s.rollout import Phase, RolloutStatus
from matte_core.domain.phases import INTENDED, TERMINAL

from matte_operator.domain.conditions import ConditionUpdate
from matte_operator.domain.rollout.decide import Decision, decide
from matte_operator.domain.rollout.observation import (
    DesiredRollout,
    Gate,
    GateResult,
    ModelEvidence,
    Observation,
    VersionState,
    applied_weight,
    canary_gates,
    measurements,
    spec_hash,
)
from matte_operator.domain.version import VersionObservation, needs_intervention, ready_condition

PROGRESSING = "Progressing"
#: true where a rollout ended badly, and nothing happens any more until the spec changes (kstatus' word for it)
STALLED = "Stalled"


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
    versions: Sequence[VersionObservation],
    evidence: ModelEvidence | None,
    preflight: GateResult,
    now: datetime,
) -> Decision | None:
    """What is to be done about a Model's rollout; None: everything stays as it is.

    That is so without evidence: no job flows then, and nobody can say how the rollout goes.
    """
    assert spec.rollout is not None
    if evidence is None and in_progress(spec, status):
        return None
    evidence = evidence or ModelEvidence()
    states = {}
    for version in versions:
        name, ready, has_app = version.spec.version, ready_condition(version), version.app is not None
        replicas = evidence.replicas.get(name, 0)
        broken = has_app and not ready.is_true and needs_intervention(ready)
        states[name] = VersionState(
            allocated=max(replicas, version.spec.replicas) if has_app else replicas,
            ready=replicas,
            weight=applied_weight(version.spec.model, name, evidence.applied),
            failure=f"{ready.reason}: {ready.message}" if broken else "",
        )
    observation = Observation(states)
    if status is not None:
        pools = {version.spec.version: version.spec.pool for version in versions}
        stable, canary = pools.get(status.stable or ""), pools.get(status.canary or "")
        if stable and canary and stable != canary:
            message = (
                f"{status.stable} runs in Pool {stable}, {status.canary} asks for Pool {canary}:"
                " a rollout stays within one Pool"
            )
            preflight = GateResult(Gate.FAILED, message)
        gates = canary_gates(status, evidence, preflight)
        observation = Observation(states, gates, measurements(status, evidence))
    desired = DesiredRollout(spec.version, spec_hash(spec.version, spec), spec.replicas, spec.rollout)
    return decide(desired, status, observation, now)


def rollout_conditions(status: RolloutStatus) -> tuple[ConditionUpdate, ConditionUpdate]:
    text = describe(status)
    stalled = ConditionUpdate.false(STALLED, "NotStalled", "")
    if status.phase in {Phase.ROLLED_BACK, Phase.FAILED} and status.cause not in INTENDED:
        stalled = ConditionUpdate.true(STALLED, status.cause.value, text)
    if status.phase is Phase.PAUSED:
        return ConditionUpdate(PROGRESSING, ConditionStatus.UNKNOWN, "Paused", text), stalled
    if status.phase is Phase.SUCCEEDED:
        return ConditionUpdate.false(PROGRESSING, "Complete", text), stalled
    update = ConditionUpdate.false if status.phase in TERMINAL else ConditionUpdate.true
    return update(PROGRESSING, status.phase.value, text), stalled


def describe(status: RolloutStatus) -> str:
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
