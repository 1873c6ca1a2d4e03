"""The kinds that the operator reads and writes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from matte_core.contracts.k8s import API_VERSION

FIELD_MANAGER = "matte-operator"


@dataclass(frozen=True, slots=True)
class Kind:
    api_version: str
    kind: str
    plural: str
    namespaced: bool = True

    @property
    def group(self) -> str:
        """'' for the core group."""
        return self.api_version.rpartition("/")[0]

    @property
    def version(self) -> str:
        return self.api_version.rpartition("/")[2]


POOL = Kind(API_VERSION, "Pool", "pools")
MODEL = Kind(API_VERSION, "Model", "models")
MODEL_VERSION = Kind(API_VERSION, "ModelVersion", "modelversions")
RAY_SERVICE = Kind("ray.io/v1", "RayService", "rayservices")
RAY_CLUSTER = Kind("ray.io/v1", "RayCluster", "rayclusters")
BUDGET = Kind("policy/v1", "PodDisruptionBudget", "poddisruptionbudgets")
POD = Kind("v1", "Pod", "pods")
NODE = Kind("v1", "Node", "nodes", namespaced=False)
EVENT = Kind("v1", "Event", "events")
LEASE = Kind("coordination.k8s.io/v1", "Lease", "leases")

#: read by every pass
OBSERVED = (POOL, MODEL, MODEL_VERSION, RAY_SERVICE, RAY_CLUSTER, BUDGET, POD)
WATCHED = (POOL, MODEL, MODEL_VERSION, RAY_SERVICE, RAY_CLUSTER, POD)

#: an object of the API, as JSON
Body = dict[str, Any]


def name_of(body: Body) -> str:
    return str(body["metadata"]["name"])


def owner_of(body: Body) -> Body:
    """An owner reference to the object: what it owns is deleted with it."""
    reference = {"apiVersion": body["apiVersion"], "kind": body["kind"], "name": name_of(body)}
    return {**reference, "uid": body["metadata"]["uid"], "controller": True, "blockOwnerDeletion": True}
