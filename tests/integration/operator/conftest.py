"""A namespace of its own on the cluster that KUBECONFIG names, and the operator as a process outside of it."""

from __future__ import annotations

import os
import secrets
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from integration.operator import identity
from kubernetes import client
from matte_operator.kinds import MODEL, POOL, RAY_CLUSTER, Body, Kind, name_of
from matte_operator.kube_client import KubeClient, api_client
from matte_operator.metrics import OPERATOR
from matte_telemetry.prometheus import PrometheusMeter

#: nobody has it: pods of these tests never run
NO_IMAGE = "ghcr.io/matte-dev/inference:there-is-no-such-tag"


def port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


class Stage:
    """What a test does with the namespace."""

    def __init__(self, namespace: str, log: Path, kubeconfig: Path) -> None:
        self.namespace = namespace
        self.kubeconfig = kubeconfig
        self.log = log
        self.kube = KubeClient(api_client(), namespace, PrometheusMeter(OPERATOR))
        self.ports = (port(), port())

    def put(self, kind: Kind, name: str, **spec: Any) -> Body:
        metadata = {"name": name, "namespace": self.namespace}
        body = {"apiVersion": kind.api_version, "kind": kind.kind, "metadata": metadata, "spec": spec}
        return self.kube.apply(kind, body)

    def condition(self, kind: Kind, name: str, type_: str) -> tuple[str, str, str]:
        """Status, reason and message; empty where it is not told yet."""
        body = self.kube.get(kind, name) or {}
        for found in body.get("status", {}).get("conditions", ()):
            if found["type"] == type_:
                return found["status"], found["reason"], found["message"]
        return "", "", ""

    def start(self, *arguments: str, **settings: str) -> subprocess.Popen[bytes]:
        """The operator, or its cleanup; ``settings`` are further MATTE_… of it."""
        env = os.environ | {f"MATTE_{name.upper()}": value for name, value in settings.items()}
        env |= {
            "KUBECONFIG": str(self.kubeconfig),
            "MATTE_NAMESPACE": self.namespace,
            "MATTE_LISTEN": "127.0.0.1",
            "MATTE_INFERENCE_IMAGE": NO_IMAGE,
            "MATTE_HEALTH_PORT": str(self.ports[0]),
            "MATTE_METRICS_PORT": str(self.ports[1]),
            "MATTE_CLEANUP_SECONDS": "60",
        }
        with self.log.open("ab") as log:
            return subprocess.Popen([sys.executable, "-m", "matte_operator", *arguments], env=env, stderr=log)


def samples(stage: Stage) -> float:
    """Calls of the API so far."""
    with urllib.request.urlopen(f"http://127.0.0.1:{stage.ports[1]}/metrics", timeout=5) as answer:
        lines = answer.read().decode().splitlines()
    return sum(float(line.split()[-1]) for line in lines if line.startswith("matte_operator_api_requests_total{"))


def wait(what: Callable[[], bool], seconds: float = 40.0) -> None:
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end, "timed out"
        time.sleep(0.5)


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    if not os.environ.get("KUBECONFIG"):
        pytest.skip("needs a cluster: set KUBECONFIG")
    core = client.CoreV1Api(api_client())
    name = f"matte-test-{secrets.token_hex(3)}"
    restricted = {"pod-security.kubernetes.io/enforce": "restricted"}
    core.create_namespace(client.V1Namespace(metadata=client.V1ObjectMeta(name=name, labels=restricted)))
    folder = tmp_path_factory.mktemp("operator")
    found = Stage(name, folder / "operator.log", identity.kubeconfig(api_client(), name, folder))
    try:
        yield found
    finally:
        for kind in (MODEL, POOL):
            for body in found.kube.list(kind):
                found.kube.delete(kind, name_of(body))
        release(found)
        identity.revoke(api_client(), name)
        core.delete_namespace(name)


def release(stage: Stage) -> None:
    """KubeRay's finalizer waits for a job whose image does not exist."""
    objects = client.CustomObjectsApi(api_client())
    end = time.monotonic() + 40
    while (bodies := stage.kube.list(RAY_CLUSTER)) and time.monotonic() < end:
        for body in bodies:
            if "deletionTimestamp" in body["metadata"]:
                objects.patch_namespaced_custom_object(
                    "ray.io", "v1", stage.namespace, "rayclusters", name_of(body), {"metadata": {"finalizers": None}}
                )
        time.sleep(1)


@pytest.fixture(scope="module")
def operator(stage: Stage) -> Iterator[subprocess.Popen[bytes]]:
    process = stage.start()
    yield process
    end(process)


def end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        process.wait(20)
