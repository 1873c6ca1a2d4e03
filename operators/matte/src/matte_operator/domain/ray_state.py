"""The observed state of a Pool's Ray cluster and its pods, independent of their wire format."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

#: name of the router's Serve application
ROUTER = "router"


class AppStatus(StrEnum):
    """Ray Serve's ApplicationStatus."""

    NOT_STARTED = "NOT_STARTED"
    DEPLOYING = "DEPLOYING"
    DEPLOY_FAILED = "DEPLOY_FAILED"
    RUNNING = "RUNNING"
    UNHEALTHY = "UNHEALTHY"
    DELETING = "DELETING"


@dataclass(frozen=True, slots=True)
class ServeApp:
    """A Serve application; ``message`` joins Serve's messages about it and about its deployments."""

    status: AppStatus
    message: str = ""


@dataclass(frozen=True, slots=True)
class RayCluster:
    """A RayCluster. ``apps`` is empty while its head does not answer."""

    name: str
    ready_workers: int = 0
    desired_workers: int = 0
    head_ready: bool = False
    apps: Mapping[str, ServeApp] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class RayService:
    """A RayService: the cluster that serves, and the one that is about to replace it."""

    active: RayCluster | None = None
    pending: RayCluster | None = None

    @property
    def current(self) -> RayCluster | None:
        """The cluster that serves; before there is one, the first pending one."""
        return self.active or self.pending

    @property
    def has_workers(self) -> bool:
        return any(cluster is not None and cluster.ready_workers > 0 for cluster in (self.active, self.pending))

    def app(self, name: str) -> ServeApp | None:
        """A Serve application, of the pending cluster while one is replaced; None also where Ray does not answer."""
        for cluster in (self.pending, self.active):
            if cluster and cluster.apps:
                return cluster.apps.get(name)
        return None


class PodProblemKind(StrEnum):
    """Why a pod does not run, in the order in which they are reported."""

    IMAGE = "ImagePullFailed"
    VOLUME = "VolumeMissing"
    UNSCHEDULABLE = "Unschedulable"
    CRASH = "CrashLoop"
    REFUSED = "ContainerRefused"


@dataclass(frozen=True, slots=True)
class PodProblem:
    """A pod that does not run, and why; ``worker`` tells workers from heads."""

    pod: str
    kind: PodProblemKind
    message: str
    worker: bool


def waiting_for_node(problems: tuple[PodProblem, ...]) -> list[PodProblem]:
    return [problem for problem in problems if problem.worker and problem.kind is PodProblemKind.UNSCHEDULABLE]
