"""How a model's jobs are divided among its versions: who answers, who falls back, who has free slots. Pure."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import semver
from matte_core.contracts.catalog import Replica, Route
from matte_core.contracts.job import JobSpec


class DispatchOptions(NamedTuple):
    """What a router tells a replica besides the job itself. The defaults, which most jobs have, are not sent."""

    fallback: str = ""  # takes over the job if this version is at fault for its failure
    sampled: bool = False  # the replica records the answer as evidence for a rollout
    mirrored: bool = False  # another version computes the job as well and compares its mask with this one's


@dataclass(frozen=True, slots=True)
class RoutePlan:
    """What follows from a route for each of its jobs, computed once."""

    stable: str | None  # takes over what other versions fail; None if no version has traffic
    sampled: bool  # more than one version answers unpinned jobs, so their answers are recorded
    mirror: str = ""  # computes jobs of ``stable`` as well; '' for none
    mirror_share: float = 0.0  # of those jobs, 0 … 1

    @classmethod
    def from_route(cls, route: Route) -> RoutePlan:
        stable, mirror = stable_version(route), route.mirror
        sampled = sum(arm.weight > 0 for arm in route.arms) > 1
        if mirror is None or stable in (None, mirror.version):
            return cls(stable, sampled)
        return cls(stable, sampled, mirror.version, mirror.percent / 100)

    def options(self, version: str, spec: JobSpec, *, mirrored: bool = False) -> DispatchOptions:
        """The options for a job on ``version``. A job pinned to a version neither falls back nor counts as evidence."""
        if spec.version is not None or self.stable is None:
            return DispatchOptions()
        fallback = "" if version == self.stable else self.stable
        return DispatchOptions(fallback, sampled=self.sampled, mirrored=mirrored)

    def should_mirror(self, version: str, spec: JobSpec, draw: float) -> bool:
        """Whether ``mirror`` computes the job as well; ``draw`` is uniform in [0, 1)."""
        return bool(self.mirror) and version == self.stable and spec.version is None and draw < self.mirror_share


def stable_version(route: Route) -> str | None:
    """The version with the most traffic, the oldest one on a tie; None if none has traffic.

    The version that jobs are mirrored to is under test: it is not the stable one, however much traffic it has, while
    another version has any.
    """
    canary = route.mirror.version if route.mirror else None
    active = [arm for arm in route.arms if arm.weight > 0]
    arms = [arm for arm in active if arm.version != canary] or active
    oldest_first = sorted(arms, key=lambda arm: semver.Version.parse(arm.version))
    return max(oldest_first, key=lambda arm: arm.weight).version if arms else None


def free_slots(
    model: str,
    versions: Iterable[str],
    replicas: Iterable[Replica],
    in_use: Mapping[tuple[str, str], int],
    *,
    routers: int,
) -> dict[str, int]:
    """Free slots of the model's ``versions``, without versions that have none.

    ``in_use`` counts this router's jobs in flight by (model, version). Each of the live ``routers`` uses an equal part
    of the slots of ``replicas``, which may be of any model.
    """
    slots: Counter[str] = Counter()
    for replica in replicas:
        if replica.model == model:
            slots[replica.version] += replica.slots
    share = {version: math.ceil(slots[version] / max(1, routers)) for version in versions}
    free = {version: count - in_use.get((model, version), 0) for version, count in share.items()}
    return {version: count for version, count in free.items() if count > 0}
