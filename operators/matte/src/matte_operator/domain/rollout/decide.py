"""What is to be done about a rollout."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from matte_core.contracts.k8s.common import format_time
from matte_core.contracts.k8s.rollout import Phase, RolloutStatus
from matte_core.domain.phases import ROLLBACK, SERVING, TERMINAL

from matte_operator.domain.rollout.advance import adopt, advance
from matte_operator.domain.rollout.capacity import desired_replicas, next_weight
from matte_operator.domain.rollout.observation import DesiredRollout, Observation

#: seconds until the next decision, while something is expected to change
POLL_SECONDS = 2.0
#: and while traffic leaves a version that failed
ROLLBACK_POLL_SECONDS = 0.5
#: more transitions than any path through the phases has
_MAX_TRANSITIONS = 32


@dataclass(frozen=True, slots=True)
class Decision:
    """What is to be done.

    Attributes:
        status: the new one.
        weights: percent by version, 100 in all; empty: no version may have traffic yet.
        replicas: of each version; a version that is missing ends.
        mirror: percent of stable's jobs that the new version computes too.
        requeue_after: seconds until the next decision; None: when something changes.
    """

    status: RolloutStatus
    weights: Mapping[str, int]
    replicas: Mapping[str, int]
    mirror: int
    requeue_after: float | None


def decide(desired: DesiredRollout, status: RolloutStatus | None, observed: Observation, now: datetime) -> Decision:
    """What is to be done about a rollout. ``now`` is in UTC; ``status`` is None where there was none."""
    status = status if status is not None else adopt(desired, observed)
    for _ in range(_MAX_TRANSITIONS):
        before = status
        status = advance(desired, status, observed, now)
        if status == before:  # the weight is that of the phase in which the transitions end
            status = _with_next_weight(desired, status, observed, now)
        if status == before:
            break
    mirrored = status.phase in {Phase.STEPPING, Phase.PAUSED} and observed.version(status.canary).ready
    analysis = desired.rollout.analysis
    draining = status.canary is not None and (status.weight or observed.version(status.canary).weight)
    requeue_after: float | None = POLL_SECONDS
    if status.phase is Phase.ROLLING_BACK or (status.phase in ROLLBACK and draining):
        requeue_after = ROLLBACK_POLL_SECONDS
    elif status.phase in TERMINAL:
        requeue_after = None
    return Decision(
        status=status,
        weights=_weights(status),
        replicas=desired_replicas(desired.rollout, status, observed),
        mirror=analysis.agreement.mirror_percent if mirrored and "agreement" not in analysis.skip else 0,
        requeue_after=requeue_after,
    )


def _with_next_weight(
    desired: DesiredRollout, status: RolloutStatus, observed: Observation, now: datetime
) -> RolloutStatus:
    if status.canary is None:
        return status
    weight = next_weight(desired.rollout, status, observed)
    closer = weight < status.reached if status.phase in ROLLBACK else weight > status.reached
    progress = {"reached": weight, "progressed_at": format_time(now)} if closer else {}
    return status.model_copy(update={"weight": weight, "exposed": status.exposed or weight > 0, **progress})


def _weights(status: RolloutStatus) -> dict[str, int]:
    """The new version is routed from its first step on: with weight 0 it answers rules."""
    if status.stable is None:
        return {status.canary: 100} if status.canary and status.weight else {}
    weights = {status.stable: 100 - status.weight}
    if status.canary and (status.weight or status.phase in SERVING):
        weights[status.canary] = status.weight
    return weights
