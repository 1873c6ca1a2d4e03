"""A Pool as KubeRay's (1.5) RayService with Ray Serve's configuration, and as its PodDisruptionBudget."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from matte_core.contracts.catalog import RouteTable, VersionConfig
from matte_core.contracts.family import Family
from matte_core.contracts.k8s.model import ModelVersionSpec
from matte_core.contracts.k8s.pool import PoolSpec

from matte_operator.domain.names import ray_service_name
from matte_operator.domain.ray_state import ROUTER
from matte_operator.render.pods import (
    POOL_LABEL,
    SECURITY,
    TMP,
    Release,
    autoscales,
    head_template,
    labels,
    whole_cpus,
    worker_template,
)

RAY_VERSION = "2.60.0"
#: seconds that the old Ray cluster lives beside the new one, so that its running jobs end
CLUSTER_DELETION_DELAY = 60
_UNITS = {"Mi": 2**20, "Gi": 2**30}
#: share of /dev/shm that Ray's object store takes: jobs pass by reference, little is ever in it
_OBJECT_STORE_SHARE = 0.8
_HEAD_OBJECT_STORE = 100_000_000


def ray_service(release: Release, pool: str, spec: PoolSpec, config: str) -> dict[str, Any]:
    """The RayService. A change of ``config`` alone is applied in place; most others make a new Ray cluster."""
    workers = spec.workers
    object_store = int(workers.shared_memory[:-2]) * _UNITS[workers.shared_memory[-2:]] * _OBJECT_STORE_SHARE
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
        "workerGroupSpecs": [
            {
                "groupName": "workers",
                "replicas": workers.min_replicas,
                "minReplicas": workers.min_replicas,
                "maxReplicas": workers.max_replicas,
                "rayStartParams": {
                    "num-cpus": str(whole_cpus(workers.resources)),
                    "num-gpus": str(workers.gpus),
                    "object-store-memory": str(int(object_store)),
                },
                "template": worker_template(release, pool, spec),
            }
        ],
    }
    if autoscales(spec):
        requests = {"cpu": "200m", "memory": "512Mi"}
        cluster["autoscalerOptions"] = {
            "idleTimeoutSeconds": workers.idle_timeout_seconds,
            "resources": {"requests": requests, "limits": {**requests, "cpu": "500m"}},
            "securityContext": dict(SECURITY),
            "volumeMounts": [{"name": "tmp", "mountPath": TMP}],
        }
    return {
        "apiVersion": "ray.io/v1",
        "kind": "RayService",
        "metadata": _metadata(release, pool),
        "spec": {
            "serveConfigV2": config,
            "excludeHeadPodFromServeSvc": True,
            "rayClusterDeletionDelaySeconds": CLUSTER_DELETION_DELAY,
            "upgradeStrategy": {"type": "NewCluster"},
            "rayClusterConfig": cluster,
        },
    }


def disruption_budget(release: Release, pool: str, spec: PoolSpec) -> dict[str, Any]:
    """Lets drains of nodes take one pod of the Pool at a time.

    A number, not ``maxUnavailable``: RayClusters have no scale subresource for the budget to ask.
    """
    return {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": _metadata(release, pool),
        "spec": {
            "minAvailable": spec.workers.min_replicas,
            "selector": {"matchLabels": {POOL_LABEL: pool, "app.kubernetes.io/instance": release.name}},
        },
    }


def serve_config(versions: Iterable[ModelVersionSpec], table: RouteTable) -> str:
    """``serveConfigV2`` of a Pool (JSON, which is YAML): the router with its table, then the versions by name."""
    router = {
        "name": ROUTER,
        "route_prefix": None,
        "import_path": "matte_inference.apps:router",
        "deployments": [{"name": "Router", "user_config": table.model_dump(mode="json")}],
    }
    configs = [(version_config(spec), spec.replicas) for spec in versions]
    apps = [
        {
            "name": config.app,
            "route_prefix": None,
            "import_path": "matte_inference.apps:model_version",
            "args": config.model_dump(mode="json", exclude_defaults=True),
            "deployments": [{"name": "ModelVersion", "num_replicas": replicas}],
        }
        for config, replicas in sorted(configs, key=lambda item: item[0].app)
    ]
    applications = [router, *apps]
    return json.dumps({"proxy_location": "Disabled", "applications": applications}, sort_keys=True, indent=1) + "\n"


def version_config(spec: ModelVersionSpec) -> VersionConfig:
    """A ModelVersion as inference loads it. ``replicas`` stays out: Serve changes them in place, not by ``args``."""
    parameters = dict(spec.parameters)
    if spec.remote:
        parameters |= {"url": spec.remote.gradio.url, "api_name": spec.remote.gradio.api_name}
    return VersionConfig(
        model=spec.model,
        version=spec.version,
        family=(spec.family or Family.GRADIO).value,
        source=spec.source,
        digest=spec.digest,
        parameters=parameters,
        license=spec.license,
        num_cpus=spec.resources.cpus,
        num_gpus=spec.resources.gpus,
        slots=spec.slots,
        threads=spec.threads,
        max_batch_size=spec.batching.max_size,
        batch_wait_seconds=spec.batching.wait_seconds,
    )


def _metadata(release: Release, pool: str) -> dict[str, Any]:
    return {"name": ray_service_name(pool), "namespace": release.namespace, "labels": labels(release, pool)}
