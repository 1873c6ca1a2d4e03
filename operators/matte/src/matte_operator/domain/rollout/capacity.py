"""Weights and replicas of a rollout: traffic moves to where there is capacity, before any is taken away."""

from __future__ import annotations

import math
from collections.abc import Mapping

from matte_core.contracts.k8s.rollout import Phase, RolloutSpec, RolloutStatus
from matte_core.domain.phases import ROLLBACK, SERVING

from matte_operator.domain.rollout.observation import Observation

#: weights are whole percents: up to this size, one replica carries at least one percent
_FINE_SIZE = 100
_BEFORE_START = frozenset({Phase.PENDING, Phase.VERIFYING})


def replicas_for_weight(weight: int, full_size: int) -> int:
    """Replicas that a share of the traffic needs; ``full_size`` is what all of it needs.

    Weights are whole percents, so no replica is added for less than one percent:

        weight 25, full_size 4  → 1
        weight 26, full_size 4  → 2
        weight 34, full_size 3  → 1, as a third is 34 %
    """
    if weight <= 0 or full_size <= 0:
        return 0
    if full_size <= _FINE_SIZE:
        return (weight - 1) * full_size // 100 + 1
    return math.ceil(weight * full_size / 100)


def weight_for_replicas(ready: int, full_size: int) -> int:
    """The largest weight that ``ready`` replicas carry: the inverse of :func:`replicas_for_weight`."""
    if full_size <= 0:
        return 0
    share = 100 * ready / full_size
    return min(100, math.ceil(share) if full_size <= _FINE_SIZE else math.floor(share))


def max_total_replicas(stable_size: int, canary_size: int, surge: int) -> int:
    """Replicas that both versions together may have.

    Up to 100 replicas the full size and one suffice to move all traffic; beyond, rounding needs one more per hundred.
    """
    full_size = max(stable_size, canary_size)
    return full_size + max(surge, 1 if full_size <= _FINE_SIZE else 1 + math.ceil(full_size / 100))


def target_weight(spec: RolloutSpec, status: RolloutStatus) -> int:
    """The new version's weight at the end of the phase."""
    if status.phase is Phase.STEPPING and spec.steps:
        return spec.steps[min(status.step, len(spec.steps) - 1)].weight
    if status.phase in {Phase.STEPPING, Phase.PAUSED}:
        return status.weight
    return 100 if status.phase is Phase.PROMOTING else 0


def next_weight(spec: RolloutSpec, status: RolloutStatus, observed: Observation) -> int:
    """The new version's weight from now on: as close to the target as the ready replicas allow.

    Whatever the phase, the new version never has more than its ready replicas carry:

        stepping to 50 %, canary 1 of 4 ready               → 25
        rolling back from 60 %, stable 2 of 4 ready         → 50, as stable carries the other 50
        rolling back from 60 %, canary has no ready replica → 0
    """
    if status.stable is None:
        return 100 if status.phase is Phase.PROMOTING else status.weight
    canary_limit = weight_for_replicas(observed.version(status.canary).ready, status.canary_replicas)
    stable_limit = weight_for_replicas(observed.version(status.stable).ready, status.stable_replicas)
    weight = target_weight(spec, status)
    if weight < status.weight:
        weight = min(status.weight, max(weight, 100 - stable_limit))
    return min(weight, canary_limit)


def desired_replicas(spec: RolloutSpec, status: RolloutStatus, observed: Observation) -> Mapping[str, int]:
    """The replicas of each version; ``status.weight`` is the new version's weight from now on."""
    if status.canary is None:
        return {status.stable: status.stable_replicas} if status.stable else {}
    if status.stable is None:  # the Model's first version; after a failure it keeps what serves its traffic
        if status.phase in ROLLBACK:
            return {status.canary: replicas_for_weight(status.weight, status.canary_replicas)}
        return {status.canary: 0 if status.phase in _BEFORE_START else status.canary_replicas}
    if status.phase in ROLLBACK:
        canary = desired_canary_replica_count(spec, status, observed, stable=None)
        stable = desired_stable_replica_count(spec, status, observed, canary=canary)
    else:
        stable = desired_stable_replica_count(spec, status, observed, canary=None)
        canary = desired_canary_replica_count(spec, status, observed, stable=stable)
    return {status.stable: stable, status.canary: canary}


def desired_stable_replica_count(
    spec: RolloutSpec, status: RolloutStatus, observed: Observation, *, canary: int | None
) -> int:
    """Replicas of the stable version. ``canary``: those that the new version keeps during a rollback.

    Stable stays as large as the surge allows, so that a rollback is short; it shrinks only once every router has
    moved the traffic. Both at full size 4, surge 1, so 5 in all:

        step to 10 %, routers at 10 %        → 4, the canary has the fifth
        step to 60 %, routers at 10 %        → 4, since routers still send it 90 %
        step to 60 %, routers at 60 %        → 2, since the canary needs 3
        rollback at 60 %, canary still has 3 → 2
        rollback at 50 %, canary still has 2 → 3
    """
    full_size = status.stable_replicas
    total = max_total_replicas(full_size, status.canary_replicas, spec.limits.surge)
    routed = observed.version(status.stable).weight
    minimum = replicas_for_weight(max(100 - status.weight, 100 if routed is None else routed), full_size)
    if canary is not None:
        return max(minimum, min(full_size, total - max(observed.version(status.canary).allocated, canary)))
    if status.phase not in SERVING:
        return max(minimum, full_size)
    weight = max(target_weight(spec, status), status.weight)
    goal = min(full_size, total - _canary_goal(spec, status))
    return max(minimum, replicas_for_weight(100 - weight, full_size), goal)


def desired_canary_replica_count(
    spec: RolloutSpec, status: RolloutStatus, observed: Observation, *, stable: int | None
) -> int:
    """Replicas of the new version. ``stable``: those that the stable version keeps on the way forward.

    It keeps what its traffic needs, by decision and in every router, and grows as stable lets go.
    Both at full size 4, surge 1, so 5 in all:

        before Starting                           → 0
        starting, warming, golden images          → 1
        step to 60 %, stable still holds 4        → 1; 3 as soon as stable holds 2
        rollback, weight 0, routers still at 30 % → 2
        rollback, weight 0, routers at 0 %        → 0
    """
    routed = observed.version(status.canary).weight
    minimum = replicas_for_weight(max(status.weight, routed or 0), status.canary_replicas)
    if stable is None:
        return minimum
    total = max_total_replicas(status.stable_replicas, status.canary_replicas, spec.limits.surge)
    available = total - max(observed.version(status.stable).allocated, stable)
    return max(minimum, min(_canary_goal(spec, status), available))


def _canary_goal(spec: RolloutSpec, status: RolloutStatus) -> int:
    """The new version's replicas at the end of the phase."""
    if status.phase in _BEFORE_START:
        return 0
    if status.phase not in SERVING:
        return 1
    weight = max(target_weight(spec, status), status.weight)
    return max(1, replicas_for_weight(weight, status.canary_replicas))
