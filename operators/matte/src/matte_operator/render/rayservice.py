"""A Pool as the KubeRay (1.5) RayService and the PodDisruptionBudget that it becomes."""

from __future__ import annotations

from typing import Any

from matte_core.contracts.k8s.pool import PoolSpec

from matte_operator.domain.names import ray_service_name
from matte_operator.render.pods import (
    POOL_LABEL,
    SECURITY,
    TMP,
    Release,
    autoscales,
    cpus,
    head_template,
    labels,
    worker_template,
)

RAY_VERSION = "2.60.0"
#: seconds that the old Ray cluster lives beside the new one: its running jobs end
CLUSTER_DELETION_DELAY = 60
_UNITS = {"Mi": 2**20, "Gi": 2**30}
#: share of /dev/shm that Ray's object store takes: jobs pass by reference, little is ever in it
_OBJECT_STORE_SHARE = 0.8
_HEAD_OBJECT_STORE = 100_000_000


def ray_service(release: Release, pool: str, spec: PoolSpec, serve_config: str) -> dict[str, Any]:
    """The RayService. A change of ``serve_config`` alone is applied in place; most others make a new Ray cluster."""
    return {
        "apiVersion": "ray.io/v1",
        "kind": "RayService",
        "metadata": {
            "name": ray_service_name(pool),
            "namespace": release.namespace,
            "labels": labels(release, pool),
        },
        "spec": {
            "serveConfigV2": serve_config,
            "excludeHeadPodFromServeSvc": True,
            "rayClusterDeletionDelaySeconds": CLUSTER_DELETION_DELAY,
            "upgradeStrategy": {"type": "NewCluster"},
            "rayClusterConfig": _cluster(release, pool, spec),
        },
    }


def disruption_budget(release: Release, pool: str, spec: PoolSpec) -> dict[str, Any]:
    """Drains of nodes take one pod of the Pool at a time.

    A number, not ``maxUnavailable``: RayClusters have no scale subresource for the budget to ask.
    """
    return {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": {
            "name": ray_service_name(pool),
            "namespace": release.namespace,
            "labels": labels(release, pool),
        },
        "spec": {
            "minAvailable": spec.workers.min_replicas,
            "selector": {"matchLabels": {POOL_LABEL: pool, "app.kubernetes.io/instance": release.name}},
        },
    }


def _cluster(release: Release, pool: str, spec: PoolSpec) -> dict[str, Any]:
    cluster: dict[str, Any] = {
        "rayVersion": RAY_VERSION,
        "authOptions": {"mode": "token"},
        "enableInTreeAutoscaling": autoscales(spec),
        "headGroupSpec": {
            "rayStartParams": {
                "num-cpus": "0",
                "num-gpus": "0",
                "object-store-memory": str(_HEAD_OBJECT_STORE),
                "redis-password": "$MATTE_REDIS_PASSWORD",
            },
            "template": head_template(release, pool, spec),
        },
        "workerGroupSpecs": [_workers(release, pool, spec)],
    }
    if autoscales(spec):
        cluster["autoscalerOptions"] = _autoscaler(spec)
    return cluster


def _workers(release: Release, pool: str, spec: PoolSpec) -> dict[str, Any]:
    workers = spec.workers
    return {
        "groupName": "workers",
        "replicas": workers.min_replicas,
        "minReplicas": workers.min_replicas,
        "maxReplicas": workers.max_replicas,
        "rayStartParams": {
            "num-cpus": str(cpus(workers.resources)),
            "num-gpus": str(workers.gpus),
            "object-store-memory": str(_object_store(workers.shared_memory)),
        },
        "template": worker_template(release, pool, spec),
    }


def _autoscaler(spec: PoolSpec) -> dict[str, Any]:
    amounts = {"cpu": "200m", "memory": "512Mi"}
    return {
        "idleTimeoutSeconds": spec.workers.idle_timeout_seconds,
        "resources": {"requests": dict(amounts), "limits": {**amounts, "cpu": "500m"}},
        "securityContext": dict(SECURITY),
        "volumeMounts": [{"name": "tmp", "mountPath": TMP}],
    }


def _object_store(shared_memory: str) -> int:
    """Bytes, of a size such as ``512Mi``."""
    return int(int(shared_memory[:-2]) * _UNITS[shared_memory[-2:]] * _OBJECT_STORE_SHARE)
