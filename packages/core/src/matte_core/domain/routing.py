"""Which version answers a job."""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Iterable, Mapping

import semver

from matte_core.contracts.catalog import Arm, Route, Rule

_MAJOR_OR_MINOR = re.compile(r"v?([0-9]{1,19})(?:\.([0-9]{1,19}))?")


def matching_versions(requested: str, available: Iterable[str]) -> list[str]:
    """The available versions that ``requested`` stands for, highest first.

    ``requested`` is an exact SemVer version, or a major (``1``, ``v1``) or minor (``1.2``) one. Pre-releases match
    only exactly.
    """
    versions = list(available)
    if requested in versions:
        return [requested]
    match = _MAJOR_OR_MINOR.fullmatch(requested)
    if not match:
        return []
    major, minor = int(match[1]), match[2]
    parsed = [semver.Version.parse(version) for version in versions]
    matching = [v for v in parsed if not v.prerelease and v.major == major and (minor is None or v.minor == int(minor))]
    return [str(version) for version in sorted(matching, reverse=True)]


def choose_arm(route: Route, key: str | None, draw: float) -> Arm:
    """The arm for an unpinned job; ``draw``, uniform in [0, 1), decides if there is no key.

    The same key gets the same arm while the weights stay, and when they change only as many keys move as must (weighted
    rendezvous hashing, Schindelhauer and Schomaker, SPAA 2005).
    """
    arms = [arm for arm in route.arms if arm.weight > 0]
    if key is not None:

        def score(arm: Arm) -> float:
            digest = hashlib.blake2b(f"{route.model}\0{arm.version}\0{key}".encode(), digest_size=8).digest()
            return -arm.weight / math.log((int.from_bytes(digest, "big") + 0.5) / 2**64)

        return max(arms, key=score)
    left = draw * sum(arm.weight for arm in arms)
    for arm in arms:
        left -= arm.weight
        if left < 0:
            return arm
    return arms[-1]


def sole_version(route: Route) -> str | None:
    """The version with all the traffic, or None if it is split."""
    return next((arm.version for arm in route.arms if arm.weight == 100), None)


def pinned_version(route: Route, requested: str | None, tenant: str, headers: Mapping[str, str]) -> str | None:
    """The only version that may answer a job, or None if the traffic split decides.

    An exact requested version has precedence, then the route's rules. A requested major or minor version only narrows
    the choice: rules for other versions are ignored, and if every version with traffic matches, the split decides, so
    that a new version gets no more of these jobs than of others. LookupError: the route has no such version.

    Names of ``headers`` are in lower case; values of repeated ones are joined by commas.
    """
    versions = [arm.version for arm in route.arms]
    if requested in versions:
        return requested
    candidates = versions if requested is None else matching_versions(requested, versions)
    if not candidates:
        raise LookupError(requested)
    for rule in route.rules:
        if rule.version in candidates and _matches(rule, tenant, headers):
            return rule.version
    if requested is None:
        return None
    weights = {arm.version: arm.weight for arm in route.arms if arm.weight}
    with_traffic = [version for version in candidates if version in weights]
    if not with_traffic:
        return candidates[0]
    if len(with_traffic) == len(weights) > 1:
        return None
    return max(with_traffic, key=lambda version: weights[version])


def _matches(rule: Rule, tenant: str, headers: Mapping[str, str]) -> bool:
    if rule.tenants and tenant not in rule.tenants:
        return False
    if rule.header is None:
        return True
    value = headers.get(rule.header.lower())
    if value is None:
        return False
    return not rule.values or value in rule.values or any(item.strip() in rule.values for item in value.split(","))
