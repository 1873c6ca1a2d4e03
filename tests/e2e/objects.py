"""Objects that the suite brings along: a volume where no StorageClass makes one, and somebody else's Gradio app."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
CHART = ROOT / "charts" / "matte"
VALUES = "ci/minimal-values.yaml"
HOST = "matte.test"
LICENSE = "Apache-2.0"
#: the model that most of the suite's pictures go to: ONNX, in the cluster's S3 server
MAIN = "disc"
#: a version of it whose folder states a license for non-commercial use
NOT_ALLOWED = "1.2.0"
STORE_IMAGE, STORE_PORT, BUCKET = "docker.io/versity/versitygw:v1.2.0", 7070, "models"

_RESTRICTED = {"allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]}}

Object = dict[str, Any]


def image(name: str) -> str:
    """What `make images` makes, with the same variables."""
    version = yaml.safe_load((CHART / "Chart.yaml").read_text())["appVersion"]
    return f"{os.environ.get('IMAGE_PREFIX') or 'ghcr.io/matte-dev'}/{name}:{os.environ.get('TAG') or version}"


def redis_image() -> str:
    """What the chart's values name."""
    found: str = yaml.safe_load((CHART / "values.yaml").read_text())["images"]["redis"]
    return found


def arguments(chart: Path) -> list[str]:
    """Values of a release, for ``helm``."""
    registry, tag = image("frontend").removesuffix("/frontend").rsplit("/frontend:", 1)
    backend = {"podSelector": {"matchLabels": {"e2e": "backend"}}}
    egress = [{"to": [backend], "ports": [{"port": port} for port in (7860, STORE_PORT)]}]
    # IS-Net in two versions beside the other models
    memory = "pool.spec.workers.resources.memoryLimit=10Gi"
    return [
        *("--values", str(chart / VALUES), "--set", f"expose.host={HOST},{memory}"),
        *("--set", f"images.registry={registry},images.tag={tag},registry.secret=store"),
        *("--set-string", "env.MATTE_ROLLOUT_REPORTS=true"),
        *("--set-json", f"networkPolicy.inferenceEgress={json.dumps(egress)}"),
        *("--set-json", f"models.{MAIN}={json.dumps(main(default=True))}"),
    ]


def source(model: str, version: str) -> str:
    """Where a version is in the S3 server."""
    return f"s3://{BUCKET}/{model}/{version}"


def main(version: str = "1.0.0", **spec: Any) -> Object:
    """Spec of the main model, or of another one with the same versions."""
    fields = {"license": LICENSE, "resources": LITTLE, **spec}
    return {"family": "onnx", "version": version, "source": source(MAIN, version), **fields}


def store_credentials(address: str) -> dict[str, str]:
    """Environment variables for whoever reads or writes the S3 server at this address."""
    return {
        "AWS_ENDPOINT": address,
        "AWS_ALLOW_HTTP": "true",
        "AWS_ACCESS_KEY_ID": "e2e",
        "AWS_SECRET_ACCESS_KEY": "not-a-secret",
        "AWS_REGION": "us-east-1",
    }


def store() -> list[Object]:
    """An S3 server with one bucket, and the Secret that lets pods read it."""
    credentials = store_credentials(f"http://store:{STORE_PORT}")
    labels = {"app": "store", "e2e": "backend"}
    keys = ("--access", credentials["AWS_ACCESS_KEY_ID"], "--secret", credentials["AWS_SECRET_ACCESS_KEY"])
    container = {
        "name": "store",
        "image": STORE_IMAGE,
        "args": [*keys, "--port", f":{STORE_PORT}", "posix", "/data"],
        "ports": [{"containerPort": STORE_PORT}],
        "readinessProbe": {"tcpSocket": {"port": STORE_PORT}, "periodSeconds": 1},
        "resources": {"requests": {"cpu": "10m", "memory": "64Mi"}, "limits": {"memory": "512Mi"}},
        "securityContext": _RESTRICTED,
        # a folder below /data is a bucket
        "volumeMounts": [
            {"name": "data", "mountPath": "/data"},
            {"name": "bucket", "mountPath": f"/data/{BUCKET}"},
        ],
    }
    pod_spec = {
        "automountServiceAccountToken": False,
        "terminationGracePeriodSeconds": 1,
        "securityContext": {**_pod_security(10001), "fsGroup": 10001},
        "containers": [container],
        "volumes": [{"name": "data", "emptyDir": {}}, {"name": "bucket", "emptyDir": {}}],
    }
    return [
        {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "store"}, "stringData": credentials},
        *_served("store", labels, pod_spec, STORE_PORT),
    ]


def _served(name: str, labels: dict[str, str], pod_spec: Object, port: int) -> list[Object]:
    """A Deployment with a Service."""
    meta = {"name": name, "labels": labels}
    selector = {"app": name}
    template = {"metadata": {"labels": labels}, "spec": pod_spec}
    return [
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": meta,
            "spec": {"selector": selector, "ports": [{"port": port}]},
        },
        {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": meta,
            "spec": {"selector": {"matchLabels": selector}, "template": template},
        },
    ]


def pod(name: str, image_: str, command: list[str], *, user: int, host_path: str = "") -> Object:
    """A pod that runs one command; a folder of the node is at /node."""
    volumes = [{"name": "node", "hostPath": {"path": host_path}}] if host_path else []
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name},
        "spec": {
            "restartPolicy": "Never",
            "securityContext": _pod_security(user),
            "volumes": volumes,
            "containers": [
                {
                    "name": "main",
                    "image": image_,
                    "imagePullPolicy": "IfNotPresent",
                    "command": command,
                    "securityContext": _RESTRICTED,
                    "volumeMounts": [{"name": v["name"], "mountPath": "/node"} for v in volumes],
                }
            ],
        },
    }


def volume(name: str, namespace: str, claim: str, path: str) -> Object:
    """A folder of the node, for one claim only."""
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": name},
        "spec": {
            "capacity": {"storage": "1Gi"},
            "accessModes": ["ReadWriteOnce"],
            "persistentVolumeReclaimPolicy": "Retain",
            "storageClassName": "",
            "claimRef": {"namespace": namespace, "name": claim},
            "hostPath": {"path": path, "type": "Directory"},
        },
    }


def elsewhere(name: str = "elsewhere", memory: str = "1Gi") -> list[Object]:
    """Another Gradio app, run by the frontend's image, which has Gradio; it may take so much memory."""
    labels = {"app": name, "e2e": "backend"}
    script = (Path(__file__).parent / "backend.py").read_text()
    container = {
        "name": "app",
        "image": image("frontend"),
        "command": ["python", "/app/backend.py"],
        "env": [{"name": "GRADIO_ANALYTICS_ENABLED", "value": "False"}],
        "ports": [{"containerPort": 7860}],
        "readinessProbe": {"httpGet": {"path": "/config", "port": 7860}, "periodSeconds": 1},
        "resources": {"requests": {"cpu": "20m", "memory": "128Mi"}, "limits": {"memory": memory}},
        "securityContext": _RESTRICTED,
        "volumeMounts": [{"name": "app", "mountPath": "/app"}, {"name": "tmp", "mountPath": "/tmp"}],
    }
    pod_spec = {
        "automountServiceAccountToken": False,
        "terminationGracePeriodSeconds": 1,
        "securityContext": _pod_security(10001),
        "containers": [container],
        "volumes": [{"name": "app", "configMap": {"name": name}}, {"name": "tmp", "emptyDir": {}}],
    }
    config_map = {"name": name, "labels": labels}
    return [
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": config_map, "data": {"backend.py": script}},
        *_served(name, labels, pod_spec, 7860),
    ]


def _pod_security(user: int) -> Object:
    return {
        "runAsNonRoot": True,
        "runAsUser": user,
        "runAsGroup": user,
        "seccompProfile": {"type": "RuntimeDefault"},
    }


def resource(kind: str, name: str, **spec: Any) -> Object:
    """A Pool or Model."""
    return {"apiVersion": "matte.dev/v1alpha1", "kind": kind, "metadata": {"name": name}, "spec": spec}


#: what a model may take on a small node
LITTLE = {"cpus": 0.1}
EARLIER = resource("Model", "earlier", family="grabcut", version="1.0.0", resources=LITTLE)
ELSEWHERE = resource(
    "Model",
    "elsewhere",
    version="1.0.0",
    remote={"gradio": {"url": "http://elsewhere:7860", "apiName": "/cut_out"}},
    parameters={"timeout_seconds": 600},
    slots=1,
    resources=LITTLE,
)
