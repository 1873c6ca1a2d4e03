"""What the operator sees of a Pool's Ray cluster, apart from Kubernetes' wire format."""

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
class App:
    """A Serve application; ``message`` is what Serve says of it and of its deployments."""

    status: AppStatus
    message: str = ""


@dataclass(frozen=True, slots=True)
class Cluster:
    """A RayCluster. ``apps`` is empty while its head cannot be asked."""

    name: str
    ready_workers: int = 0
    desired_workers: int = 0
    head_ready: bool = False
    apps: Mapping[str, App] = field(default_factory=dict)


class TroubleKind(StrEnum):
    """Why a pod does not run."""

    IMAGE = "ImagePullFailed"
    VOLUME = "VolumeMissing"
    UNSCHEDULABLE = "Unschedulable"
    CRASH = "CrashLoop"
    REFUSED = "ContainerRefused"


@dataclass(frozen=True, slots=True)
class Trouble:
    """A pod that does not run, and what Kubernetes says about it."""

    pod: str
    kind: TroubleKind
    message: str
    worker: bool


@dataclass(frozen=True, slots=True)
class Service:
    """A RayService: the cluster that serves, and the one that is to replace it."""

    active: Cluster | None = None
    pending: Cluster | None = None

    @property
    def current(self) -> Cluster | None:
        """The cluster that serves, or, before there is one, the first."""
        return self.active or self.pending

    def app(self, name: str) -> App | None:
        """A Serve application where Ray can be asked: while a cluster is replaced, that is the new one."""
        for cluster in (self.pending, self.active):
            if cluster and cluster.apps:
                return cluster.apps.get(name)
        return None

    @property
    def has_workers(self) -> bool:
        """Whether a worker of any cluster is ready."""
        return any(cluster is not None and cluster.ready_workers > 0 for cluster in (self.active, self.pending))
