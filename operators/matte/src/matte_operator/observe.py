"""From the API's JSON to what the decisions are made from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from matte_core.contracts.k8s.model import ModelSpec, ModelStatus, ModelVersionSpec, ModelVersionStatus
from matte_core.contracts.k8s.pool import PoolSpec, PoolStatus

from matte_operator.domain.serving import App, AppStatus, Cluster, Service
from matte_operator.kinds import BUDGET, MODEL, MODEL_VERSION, POD, POOL, RAY_CLUSTER, RAY_SERVICE, Body, Kind, name_of
from matte_operator.pods import troubles

#: what one pass looks at
SEEN = (POOL, MODEL, MODEL_VERSION, RAY_SERVICE, RAY_CLUSTER, BUDGET, POD)


@dataclass(frozen=True, slots=True)
class World:
    """Everything of the namespace, by kind and name. What is being deleted is not there any more."""

    objects: Mapping[Kind, Mapping[str, Body]] = field(default_factory=dict)

    @classmethod
    def of(cls, lists: Mapping[Kind, list[Body]]) -> World:
        """From lists."""
        return cls(
            {
                kind: {name_of(body): body for body in bodies if "deletionTimestamp" not in body["metadata"]}
                for kind, bodies in lists.items()
            }
        )

    def all(self, kind: Kind) -> Mapping[str, Body]:
        """Of a kind, by name."""
        return self.objects.get(kind, {})

    def get(self, kind: Kind, name: str) -> Body | None:
        """One, or None."""
        return self.all(kind).get(name)


def pool(body: Body) -> tuple[PoolSpec, PoolStatus]:
    """Raises ValueError: it is not what this operator knows."""
    return PoolSpec.model_validate(body.get("spec", {})), PoolStatus.model_validate(body.get("status", {}))


def model(body: Body) -> tuple[ModelSpec, ModelStatus]:
    """Raises ValueError: it is not what this operator knows."""
    return ModelSpec.model_validate(body["spec"]), ModelStatus.model_validate(body.get("status", {}))


def model_version(body: Body) -> tuple[ModelVersionSpec, ModelVersionStatus]:
    """Raises ValueError: it is not what this operator knows."""
    status = ModelVersionStatus.model_validate(body.get("status", {}))
    return ModelVersionSpec.model_validate(body["spec"]), status


def service(world: World, body: Body | None) -> Service:
    """A RayService and its RayClusters. KubeRay copies their status only now and then: they are asked themselves."""
    status = (body or {}).get("status", {})
    return Service(
        active=_cluster(world, status.get("activeServiceStatus", {})),
        pending=_cluster(world, status.get("pendingServiceStatus", {})),
    )


def _cluster(world: World, status: Mapping[str, Any]) -> Cluster | None:
    if not (name := status.get("rayClusterName")):
        return None
    ray = (world.get(RAY_CLUSTER, name) or {}).get("status", {})
    head = [c for c in ray.get("conditions", ()) if c["type"] == "HeadPodReady"]
    return Cluster(
        name=name,
        ready_workers=ray.get("readyWorkerReplicas", 0),
        desired_workers=ray.get("desiredWorkerReplicas", 0),
        head_ready=any(condition["status"] == "True" for condition in head),
        apps={app: _app(body) for app, body in status.get("applicationStatuses", {}).items()},
    )


def _app(body: Mapping[str, Any]) -> App:
    deployments = body.get("serveDeploymentStatuses", {})
    messages = [body.get("message", ""), *(deployments[name].get("message", "") for name in sorted(deployments))]
    status = body.get("status", "")
    known = AppStatus(status) if status in set(AppStatus) else AppStatus.NOT_STARTED
    return App(known, "\n".join(message for message in messages if message))


def essence(kind: Kind, body: Body) -> object:
    """What of an object matters here: a change of anything else is no reason for a pass.

    The kubelet, KubeRay and this operator write a lot that is not news.
    """
    metadata, status = body["metadata"], body.get("status", {})
    matters: object = None
    if kind is POOL:
        matters = [(c["type"], c["status"], c["message"]) for c in status.get("conditions", ())]
    elif kind is RAY_SERVICE:
        matters = [status.get("activeServiceStatus"), status.get("pendingServiceStatus")]
    elif kind is RAY_CLUSTER:
        matters = _cluster(World.of({kind: [body]}), {"rayClusterName": name_of(body)})
    elif kind is POD:
        matters = troubles([body])
    return (metadata.get("generation"), "deletionTimestamp" in metadata, matters)
