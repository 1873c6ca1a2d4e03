"""Weights and replicas: traffic goes where there is capacity for it, before any is taken away."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from matte_core.contracts.k8s.rollout import Phase, RolloutSpec, RolloutStatus
from matte_core.domain.phases import ROLLBACK, SERVING

from matte_operator.domain.rollout.observe import Observation, VersionNow

#: up to so many replicas one is at least one per cent, and weights are whole per cents
_FINE = 100
_BEFORE = frozenset({Phase.PENDING, Phase.VERIFYING})


def need(weight: int, full: int) -> int:
    """Replicas that a share of the traffic needs, of the ``full`` size that all of it needs.

    Weights are whole per cents, so a replica more for less than one per cent is not asked for: a third is 34 %.
    """
    if weight <= 0 or full <= 0:
        return 0
    if full <= _FINE:
        return (weight - 1) * full // 100 + 1
    return math.ceil(weight * full / 100)


def capacity(ready: int, full: int) -> int:
    """The largest weight that ``ready`` replicas carry."""
    if full <= 0:
        return 0
    share = 100 * ready / full
    return min(100, math.ceil(share) if full <= _FINE else math.floor(share))


def budget(stable: int, canary: int, surge: int) -> int:
    """Replicas that both versions together may hold: the full size and one are enough up to 100 replicas."""
    full = max(stable, canary)
    return full + max(surge, 1 if full <= _FINE else 1 + math.ceil(full / 100))


def target(spec: RolloutSpec, status: RolloutStatus) -> int:
    """The new version's weight that the phase is about."""
    match status.phase:
        case Phase.STEPPING:
            return spec.steps[min(status.step, len(spec.steps) - 1)].weight if spec.steps else status.weight
        case Phase.PAUSED:
            return status.weight
        case Phase.PROMOTING:
            return 100
        case _:
            return 0


def next_weight(spec: RolloutSpec, status: RolloutStatus, seen: Observation) -> int:
    """The new version's weight from now on: towards the target, as far as there is capacity for it.

    Whatever the phase, the new version keeps no more than its replicas that answer can carry.
    """
    if status.stable is None:
        return 100 if status.phase is Phase.PROMOTING else status.weight
    wanted, now = target(spec, status), status.weight
    ours = capacity(seen.version(status.canary).ready, status.canary_replicas)
    theirs = capacity(seen.version(status.stable).ready, status.stable_replicas)
    if wanted < now:
        wanted = min(now, max(wanted, 100 - theirs))
    return min(wanted, ours)


def replicas(spec: RolloutSpec, status: RolloutStatus, seen: Observation) -> Mapping[str, int]:
    """The replicas that each version is to have, ``status.weight`` being the new version's weight from now on.

    What has traffic keeps what it needs for it, by decision and in every router. Beyond that, the one that grows
    waits until the other has let go: both together stay within the budget.
    """
    if status.canary is None:
        return {status.stable: status.stable_replicas} if status.stable else {}
    if status.stable is None:
        return {status.canary: _alone(status)}
    room = budget(status.stable_replicas, status.canary_replicas, spec.limits.surge)
    goal = _goals(spec, status, room)
    ours, theirs = seen.version(status.canary), seen.version(status.stable)
    least = _Pair(
        need(max(100 - status.weight, _routed(theirs, 100)), status.stable_replicas),
        need(max(status.weight, _routed(ours, status.weight)), status.canary_replicas),
    )
    if status.phase in ROLLBACK:
        canary = max(least.canary, goal.canary)
        stable = max(least.stable, min(goal.stable, room - max(ours.held, canary)))
    else:
        stable = max(least.stable, goal.stable)
        canary = max(least.canary, min(goal.canary, room - max(theirs.held, stable)))
    return {status.stable: stable, status.canary: max(0, canary)}


@dataclass(frozen=True, slots=True)
class _Pair:
    stable: int
    canary: int


def _goals(spec: RolloutSpec, status: RolloutStatus, room: int) -> _Pair:
    """The replicas at the end of the phase. Stable stays as large as the budget allows: the way back is short."""
    full = status.stable_replicas
    if status.phase in ROLLBACK or status.phase in _BEFORE:
        return _Pair(full, 0)
    if status.phase not in SERVING:
        return _Pair(full, 1)
    weight = max(target(spec, status), status.weight)
    canary = max(1, need(weight, status.canary_replicas))
    return _Pair(max(need(100 - weight, full), min(full, room - canary)), canary)


def _alone(status: RolloutStatus) -> int:
    """Of a model's first version; one that failed keeps what it serves with."""
    if status.phase in ROLLBACK:
        return need(status.weight, status.canary_replicas)
    return 0 if status.phase in _BEFORE else status.canary_replicas


def _routed(version: VersionNow, unknown: int) -> int:
    return unknown if version.weight is None else version.weight
