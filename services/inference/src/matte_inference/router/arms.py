"""What a route's arms are to each other: where failed jobs go, and which jobs another version computes too. Pure."""

from __future__ import annotations

from dataclasses import dataclass

import semver
from matte_core.contracts.catalog import Route
from matte_core.contracts.job import JobSpec

from matte_inference.replica.handling import Handling


@dataclass(frozen=True, slots=True)
class Plan:
    """A route, read once for all its jobs.

    Attributes:
        stable: the arm that takes what others fail; None where no arm has traffic of its own.
        several: more than one version answers unpinned jobs, so their answers are measured.
        mirror: the version that computes jobs of ``stable`` as well; '' for none.
        share: of those jobs, 0 … 1.
    """

    stable: str | None
    several: bool
    mirror: str = ""
    share: float = 0.0

    @classmethod
    def of(cls, route: Route) -> Plan:
        """The plan of a route."""
        stable, mirror = stable_arm(route), route.mirror
        several = sum(arm.weight > 0 for arm in route.arms) > 1
        if mirror is None or stable in (None, mirror.version):
            return cls(stable, several)
        return cls(stable, several, mirror.version, mirror.percent / 100)

    def handling(self, version: str, spec: JobSpec, *, mirrored: bool = False) -> Handling:
        """What a version's replica is told about a job. Nothing for a pinned one: its version was asked for."""
        if spec.version is not None or self.stable is None:
            return Handling()
        fallback = "" if version == self.stable else self.stable
        return Handling(fallback, watched=self.several, mirrored=mirrored)

    def mirrors(self, version: str, spec: JobSpec, draw: float) -> bool:
        """Whether ``mirror`` computes the job as well; ``draw`` is uniform in [0, 1)."""
        return bool(self.mirror) and version == self.stable and spec.version is None and draw < self.share


def stable_arm(route: Route) -> str | None:
    """The arm with the most traffic; of several, the oldest version.

    A version that jobs are mirrored to is on trial: it is not the one, however much traffic it has, while another arm
    has any.
    """
    trial = route.mirror.version if route.mirror else None
    busy = [arm for arm in route.arms if arm.weight > 0]
    arms = [arm for arm in busy if arm.version != trial] or busy
    oldest_first = sorted(arms, key=lambda arm: semver.Version.parse(arm.version))
    return max(oldest_first, key=lambda arm: arm.weight).version if arms else None
