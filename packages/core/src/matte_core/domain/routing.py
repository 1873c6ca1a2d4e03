"""Which version answers a job."""

from __future__ import annotations

import hashlib
import math

from matte_core.contracts.catalog import Arm, Route


def choose(route: Route, key: str | None, draw: float) -> Arm:
    """The arm for a job.

    Args:
        route: the model's arms; weights sum to 100.
        key: who sticks to an arm. The same key gets the same arm while the weights stay, and when they change only
            as many keys move as must (weighted rendezvous hashing, Schindelhauer and Schomaker, SPAA 2005).
        draw: uniform in [0, 1), used where there is no key.
    """
    open_arms = [arm for arm in route.arms if arm.weight > 0]
    if key is not None:
        return max(open_arms, key=lambda arm: _rendezvous(route.model, arm, key))
    mark = draw * sum(arm.weight for arm in open_arms)
    for arm in open_arms:
        mark -= arm.weight
        if mark < 0:
            return arm
    return open_arms[-1]


def sole_arm(route: Route) -> str | None:
    """The version that gets everything, or None where there is a choice."""
    return next((arm.version for arm in route.arms if arm.weight == 100), None)


def _rendezvous(model: str, arm: Arm, key: str) -> float:
    digest = hashlib.blake2b(f"{model}\0{arm.version}\0{key}".encode(), digest_size=8).digest()
    unit = (int.from_bytes(digest, "big") + 0.5) / 2**64
    return -arm.weight / math.log(unit)
