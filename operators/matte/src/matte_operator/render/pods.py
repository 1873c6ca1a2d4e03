"""The pods of a Ray cluster: restricted, with probes, and with a shutdown that lets running jobs finish."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from matte_core.contracts.k8s.common import ComputeResources, Toleration
from matte_core.contracts.k8s.pool import PoolSpec, WeightsVolume
from matte_core.contracts.ray_environment import POD_ENVIRONMENT

USER = 10001
#: the writable directories of a pod, an emptyDir each
TMP, SHARED_MEMORY = "/tmp", "/dev/shm"  # noqa: S108 - paths in a container of our own
#: where workers cache model versions, and the share of it that versions may take
CACHE, _CACHE_SHARE = "/var/cache/matte", Decimal("0.9")
POOL_LABEL = "matte.dev/pool"
AGENT_PORT = 52365
DASHBOARD_PORT = 8265
METRICS_PORT = 8080
#: seconds that a worker has to shut down: running jobs finish, or go back into the queue
WORKER_GRACE = 120
HEAD_GRACE = 15
_DRAIN_SECONDS = 75

SECURITY: Mapping[str, Any] = {
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"]},
    "readOnlyRootFilesystem": True,
    "runAsNonRoot": True,
    "seccompProfile": {"type": "RuntimeDefault"},
}
# Serve moves the replicas of a draining node elsewhere and lets their jobs end. A worker whose head is gone too has
# nobody to move them: its jobs' leases run out, and others take them.
_WORKER_STOP = f"""\
head() {{ timeout 2 bash -c "</dev/tcp/${{RAY_ADDRESS%:*}}/${{RAY_ADDRESS##*:}}"; }}
busy() {{ grep -qs 'ray::ServeReplic[a]' /proc/[0-9]*/cmdline; }}
timeout -s KILL 15 ray drain-node --address "$RAY_ADDRESS" --reason DRAIN_NODE_REASON_PREEMPTION \
--reason-message "the pod ends" --deadline-remaining-seconds {_DRAIN_SECONDS} &&
for _ in $(seq {_DRAIN_SECONDS}); do head && busy || break; sleep 1; done
ray stop --grace-period 5
"""
_HEAD_STOP = "ray stop --grace-period 5"
# Ray's state is in Redis, so that a head that comes back finds its workers and their replicas. KubeRay's
# gcsFaultToleranceOptions do the same with a finalizer, which can never end in a namespace that is being deleted; the
# variables come with the command because KubeRay refuses them elsewhere. Routers let old state expire.
_HEAD_COMMAND = 'export RAY_REDIS_ADDRESS="$MATTE_REDIS_ADDRESS" RAY_external_storage_namespace="$MATTE_RAY_STORAGE"'
_UNITS = {"M": 10**6, "G": 10**9, "T": 10**12, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40}
#: seconds that workers wait for a head that is gone
_HEAD_AWAY = "600"


@dataclass(frozen=True, slots=True)
class CacheVolume:
    """Where workers cache model versions: a claim, a folder of the node, or else an emptyDir of each worker."""

    size: str = "20Gi"
    claim: str = ""
    host_path: str = ""

    def volume(self) -> dict[str, Any]:
        if self.claim:
            return {"name": "cache", "persistentVolumeClaim": {"claimName": self.claim}}
        if self.host_path:
            return {"name": "cache", "hostPath": {"path": self.host_path, "type": "Directory"}}
        return {"name": "cache", "emptyDir": {"sizeLimit": self.size}}

    @property
    def max_bytes(self) -> int:
        """What versions may take: less than the volume, since a pod that fills it is evicted."""
        number = self.size.rstrip("MGTi")
        return int(Decimal(number) * _UNITS[self.size.removeprefix(number)] * _CACHE_SHARE)


@dataclass(frozen=True, slots=True)
class Release:
    """What every Pool of a release shares.

    ``redis_secret`` has the keys url, address and password. ``models_secret`` (or '') has credentials of model stores,
    as environment variables of the workers. ``service_account`` (or '') is the workers' identity.
    """

    namespace: str
    name: str
    image: str
    redis_secret: str
    pull_policy: str = "IfNotPresent"
    pull_secrets: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    models_secret: str = ""
    service_account: str = ""
    cache: CacheVolume = field(default_factory=CacheVolume)


def labels(release: Release, pool: str) -> dict[str, str]:
    return {
        "app.kubernetes.io/name": "matte",
        "app.kubernetes.io/component": "inference",
        "app.kubernetes.io/instance": release.name,
        "app.kubernetes.io/managed-by": "matte-operator",
        POOL_LABEL: pool,
    }


def head_template(release: Release, pool: str, spec: PoolSpec) -> dict[str, Any]:
    """Ray's head. Its service account's token is mounted only where the autoscaler beside it needs one."""
    container = _container(release, pool, spec, "ray-head", spec.head.resources)
    container["command"] = [_HEAD_COMMAND]
    container["env"].insert(0, {"name": "MATTE_REDIS_PASSWORD", "valueFrom": redis_secret_ref(release, "password")})
    container["ports"] = _ports(gcs=6379, dashboard=DASHBOARD_PORT, client=10001, serve=8000, metrics=METRICS_PORT)
    container["readinessProbe"] = _probe(DASHBOARD_PORT, "/api/gcs_healthz", failures=3)
    container["livenessProbe"] = _probe(AGENT_PORT, "/api/healthz", failures=24)
    container["lifecycle"] = _pre_stop(_HEAD_STOP)
    pod = _pod(release, [container], _volumes("256Mi"), grace=HEAD_GRACE)
    pod["automountServiceAccountToken"] = autoscales(spec)
    pod |= _placement(spec.head.node_selector, spec.head.tolerations)
    return {"metadata": {"labels": labels(release, pool)}, "spec": pod}


def worker_template(release: Release, pool: str, spec: PoolSpec) -> dict[str, Any]:
    workers = spec.workers
    container = _container(release, pool, spec, "ray-worker", workers.resources)
    container["env"].append({"name": "RAY_gcs_rpc_server_reconnect_timeout_s", "value": _HEAD_AWAY})
    container["ports"] = _ports(serve=8000, metrics=METRICS_PORT)
    container["readinessProbe"] = _probe(AGENT_PORT, "/api/local_raylet_healthz", failures=3)
    container["livenessProbe"] = _probe(AGENT_PORT, "/api/local_raylet_healthz", failures=24)
    container["lifecycle"] = _pre_stop(_WORKER_STOP)
    if workers.gpus:
        for amounts in container["resources"].values():
            amounts[workers.gpu_resource] = str(workers.gpus)
    volumes = [*_volumes(workers.shared_memory), release.cache.volume()]
    container["volumeMounts"].append({"name": "cache", "mountPath": CACHE})
    models_env = {"MATTE_CACHE_DIR": CACHE, "MATTE_CACHE_MAX_BYTES": str(release.cache.max_bytes)}
    if spec.weights.claim_name:  # what pvc:// names
        models_env["MATTE_CLAIMS"] = json.dumps({spec.weights.claim_name: spec.weights.mount_path})
    container["env"] += [{"name": name, "value": v} for name, v in models_env.items() if name not in release.env]
    if release.models_secret:
        container["envFrom"] = [{"secretRef": {"name": release.models_secret}}]
    if volume := _weights_volume(release, spec.weights):
        volumes.append({"name": "weights", **volume})
        mount = {"name": "weights", "mountPath": spec.weights.mount_path, "readOnly": True}
        container["volumeMounts"].append(mount)
    pod = _pod(release, [container], volumes, grace=WORKER_GRACE)
    pod["automountServiceAccountToken"] = False
    if release.service_account:
        pod["serviceAccountName"] = release.service_account
    tolerations = workers.tolerations
    if workers.gpus and not any(t.key in {workers.gpu_resource, None} for t in tolerations):
        # for the taint that GPU nodes have by convention: the resource's name
        tolerations += (Toleration(key=workers.gpu_resource, operator="Exists", effect="NoSchedule"),)
    pod |= _placement(workers.node_selector, tolerations)
    if workers.runtime_class_name:
        pod["runtimeClassName"] = workers.runtime_class_name
    return {"metadata": {"labels": labels(release, pool)}, "spec": pod}


def _weights_volume(release: Release, weights: WeightsVolume) -> dict[str, Any] | None:
    if weights.claim_name:
        return {"persistentVolumeClaim": {"claimName": weights.claim_name, "readOnly": True}}
    if weights.image:
        return {"image": {"reference": weights.image, "pullPolicy": release.pull_policy}}
    return None


def autoscales(spec: PoolSpec) -> bool:
    return spec.workers.max_replicas > spec.workers.min_replicas


def whole_cpus(resources: ComputeResources) -> int:
    """The CPUs that Ray schedules: the limit in whole cores, at least one."""
    text = resources.cpu_limit or resources.cpu
    cores = Decimal(text.removesuffix("m")) / (1000 if text.endswith("m") else 1)
    return max(1, math.ceil(cores))


def redis_secret_ref(release: Release, key: str) -> dict[str, Any]:
    return {"secretKeyRef": {"name": release.redis_secret, "key": key}}


def _container(release: Release, pool: str, spec: PoolSpec, name: str, resources: ComputeResources) -> dict[str, Any]:
    plain = {"HOME": TMP, "MATTE_POOL": pool, **POD_ENVIRONMENT, **release.env}
    cluster = {"fieldRef": {"fieldPath": "metadata.labels['ray.io/cluster']"}}
    cpu_limit, memory_limit = resources.cpu_limit or resources.cpu, resources.memory_limit or resources.memory
    return {
        "name": name,
        "image": spec.image or release.image,
        "imagePullPolicy": release.pull_policy,
        "env": [
            {"name": "MATTE_RAY_STORAGE", "valueFrom": cluster},
            {"name": "MATTE_REDIS_ADDRESS", "valueFrom": redis_secret_ref(release, "address")},
            {"name": "MATTE_REDIS_URL", "valueFrom": redis_secret_ref(release, "url")},
            *({"name": name, "value": value} for name, value in sorted(plain.items())),
        ],
        "resources": {
            "requests": {"cpu": resources.cpu, "memory": resources.memory},
            "limits": {"cpu": cpu_limit, "memory": memory_limit},
        },
        "securityContext": dict(SECURITY),
        "volumeMounts": [{"name": "tmp", "mountPath": TMP}, {"name": "shm", "mountPath": SHARED_MEMORY}],
    }


def _pod(release: Release, containers: list[dict[str, Any]], volumes: list[Any], *, grace: int) -> dict[str, Any]:
    pod: dict[str, Any] = {
        "containers": containers,
        "enableServiceLinks": False,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": USER,
            "runAsGroup": USER,
            "fsGroup": USER,
            "fsGroupChangePolicy": "OnRootMismatch",
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "terminationGracePeriodSeconds": grace,
        "volumes": volumes,
    }
    if release.pull_secrets:
        pod["imagePullSecrets"] = [{"name": name} for name in release.pull_secrets]
    return pod


def _volumes(shared_memory: str) -> list[dict[str, Any]]:
    return [
        {"name": "tmp", "emptyDir": {}},
        {"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": shared_memory}},
    ]


def _placement(node_selector: Mapping[str, str], tolerations: tuple[Toleration, ...]) -> dict[str, Any]:
    placement: dict[str, Any] = {}
    if node_selector:
        placement["nodeSelector"] = dict(node_selector)
    if tolerations:
        placement["tolerations"] = [t.model_dump(exclude_none=True) for t in tolerations]
    return placement


def _ports(**ports: int) -> list[dict[str, Any]]:
    return [{"name": name, "containerPort": port, "protocol": "TCP"} for name, port in ports.items()]


def _probe(port: int, path: str, *, failures: int) -> dict[str, Any]:
    # Ray's agent starts a few seconds after its container
    return {
        "httpGet": {"path": path, "port": port},
        "initialDelaySeconds": 5,
        "periodSeconds": 5,
        "timeoutSeconds": 4,
        "failureThreshold": failures,
    }


def _pre_stop(script: str) -> dict[str, Any]:
    return {"preStop": {"exec": {"command": ["/bin/bash", "-c", f"{{ {script.strip()}; }} >/dev/null 2>&1; true"]}}}
