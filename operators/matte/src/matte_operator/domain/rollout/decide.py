"""What is to be done about a rollout."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from matte_core.contracts.k8s.common import format_time
from matte_core.contracts.k8s.rollout import Phase, RolloutStatus
from matte_core.domain.phases import ROLLBACK, SERVING, TERMINAL

from matte_operator.domain.rollout.advance import adopt, advance
from matte_operator.domain.rollout.capacity import next_weight, replicas
from matte_operator.domain.rollout.observe import Observation, Wanted

#: seconds until the next look, while something is expected to change
POLL = 2.0
#: and while traffic leaves a version that failed
POLL_BACK = 0.5
#: no way through the phases within one decision is longer
_MOVES_MAX = 32


class ActionKind(StrEnum):
    """What the operator sees to for as long as decisions name it; doing it twice changes nothing."""

    VERIFY = "verify"
    PREFLIGHT = "preflight"
    WARM = "warm"
    GOLDEN = "golden"
    MEASURE = "measure"
    RETIRE = "retire"


@dataclass(frozen=True, slots=True)
class Action:
    """Something to see to, about a version. ``since`` is the start of the window to measure."""

    kind: ActionKind
    version: str
    attempt: int
    since: str = ""


@dataclass(frozen=True, slots=True)
class Decision:
    """What is to be done.

    Attributes:
        status: the new one.
        weights: per cent by version, 100 in all; empty: no version may have traffic yet.
        replicas: that each version is to have; a version that is missing ends.
        mirror: per cent of stable's jobs that the new version computes too.
        actions: what to see to.
        requeue_after: seconds until the next decision; None: when something changes.
    """

    status: RolloutStatus
    weights: Mapping[str, int]
    replicas: Mapping[str, int]
    mirror: int
    actions: tuple[Action, ...]
    requeue_after: float | None


def decide(spec: Wanted, status: RolloutStatus | None, seen: Observation, now: datetime) -> Decision:
    """What is to be done about a rollout. ``now`` is in UTC; ``status`` is None where there was none."""
    settled = _settled(spec, status if status is not None else adopt(spec, seen), seen, now)
    return Decision(
        status=settled,
        weights=_weights(settled),
        replicas=replicas(spec.rollout, settled, seen),
        mirror=_mirror(spec, settled, seen),
        actions=_actions(settled, seen),
        requeue_after=_requeue(settled, seen),
    )


def _settled(spec: Wanted, status: RolloutStatus, seen: Observation, now: datetime) -> RolloutStatus:
    """Moves until none is left, every one of them by the table; the weight is that of the phase it ends in."""
    for _ in range(_MOVES_MAX):
        moved = advance(spec, status, seen, now)
        if moved == status:
            moved = _weighted(spec, status, seen, now)
        if moved == status:
            break
        status = moved
    return status


def _weighted(spec: Wanted, status: RolloutStatus, seen: Observation, now: datetime) -> RolloutStatus:
    if status.canary is None:
        return status
    weight = next_weight(spec.rollout, status, seen)
    back = status.phase in ROLLBACK
    nearer = weight < status.reached if back else weight > status.reached
    progress = {"reached": weight, "progressed_at": format_time(now)} if nearer else {}
    return status.model_copy(update={"weight": weight, "exposed": status.exposed or weight > 0, **progress})


def _weights(status: RolloutStatus) -> dict[str, int]:
    """The new version is routed from its first step on, for pins with weight 0 too."""
    if status.stable is None:
        return {status.canary: 100} if status.canary and status.weight else {}
    split = {status.stable: 100 - status.weight}
    if status.canary and (status.weight or status.phase in SERVING):
        split[status.canary] = status.weight
    return split


def _mirror(spec: Wanted, status: RolloutStatus, seen: Observation) -> int:
    analysis = spec.rollout.analysis
    shown = status.phase in {Phase.STEPPING, Phase.PAUSED} and seen.version(status.canary).ready
    return analysis.agreement.mirror_percent if shown and "agreement" not in analysis.skip else 0


def _actions(status: RolloutStatus, seen: Observation) -> tuple[Action, ...]:
    if status.canary is None:
        return tuple(
            Action(ActionKind.RETIRE, name, status.attempt)
            for name, version in sorted(seen.versions.items())
            if name != status.stable and version.weight == 0
        )
    kinds = {
        Phase.VERIFYING: ActionKind.VERIFY,
        Phase.STARTING: ActionKind.PREFLIGHT,
        Phase.WARMING: ActionKind.WARM,
        Phase.GOLDEN: ActionKind.GOLDEN,
    }
    if status.phase in kinds:
        return (Action(kinds[status.phase], status.canary, status.attempt),)
    if status.phase in SERVING and status.step_started_at:
        return (Action(ActionKind.MEASURE, status.canary, status.attempt, status.step_started_at),)
    if status.phase in TERMINAL and not status.weight and seen.version(status.canary).weight == 0:
        return (Action(ActionKind.RETIRE, status.canary, status.attempt),)
    return ()


def _requeue(status: RolloutStatus, seen: Observation) -> float | None:
    left = status.canary is not None and (status.weight or seen.version(status.canary).weight)
    if status.phase is Phase.ROLLING_BACK or (status.phase in ROLLBACK and left):
        return POLL_BACK
    return None if status.phase in TERMINAL else POLL
