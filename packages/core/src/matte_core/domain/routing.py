"""Which version answers a job."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence

from matte_core.contracts.catalog import Arm, Route, Rule
from matte_core.domain.versions import matching_versions


def choose_arm(route: Route, key: str | None, draw: float) -> Arm:
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


def sole_version(route: Route) -> str | None:
    """The version that gets everything, or None where there is a choice."""
    return next((arm.version for arm in route.arms if arm.weight == 100), None)


def pinned_version(route: Route, asked: str | None, tenant: str, headers: Mapping[str, str]) -> str | None:
    """The version that alone may answer a job, or None: one of those with a share may.

    An exact version that is asked for has the first word, the route's rules the next. A major or a minor one that is
    asked for only narrows: rules for other versions are passed over, and where every version with a share fits, the
    shares decide, so that a new version gets no more of these jobs than of others.

    Args:
        route: the model's.
        asked: exact, major or minor; None: nothing.
        tenant: whose job it is.
        headers: of the request; their names are in lower case, equal ones are joined by commas.

    Raises:
        LookupError: the route has no such version.
    """
    versions = [arm.version for arm in route.arms]
    if asked in versions:
        return asked
    among = versions if asked is None else matching_versions(asked, versions)
    if not among:
        raise LookupError(asked)
    for rule in route.rules:
        if rule.version in among and _holds(rule, tenant, headers):
            return rule.version
    return None if asked is None else _narrowed(route, among)


def _holds(rule: Rule, tenant: str, headers: Mapping[str, str]) -> bool:
    if rule.tenants and tenant not in rule.tenants:
        return False
    if rule.header is None:
        return True
    value = headers.get(rule.header.lower())
    if value is None:
        return False
    return not rule.values or value in rule.values or any(one.strip() in rule.values for one in value.split(","))


def _narrowed(route: Route, among: Sequence[str]) -> str | None:
    shares = {arm.version: arm.weight for arm in route.arms if arm.weight}
    inside = [version for version in among if version in shares]
    if not inside:
        return among[0]
    if len(inside) == len(shares) > 1:
        return None
    return max(inside, key=lambda version: shares[version])


def _rendezvous(model: str, arm: Arm, key: str) -> float:
    digest = hashlib.blake2b(f"{model}\0{arm.version}\0{key}".encode(), digest_size=8).digest()
    unit = (int.from_bytes(digest, "big") + 0.5) / 2**64
    return -arm.weight / math.log(unit)
