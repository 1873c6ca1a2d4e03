"""The operator on a real API server. Its pods never run here: that is what most of it is about."""

from __future__ import annotations

import signal
import subprocess
import time
from typing import Any

import pytest
from integration.operator.conftest import Stage, samples, wait
from kubernetes import client
from matte_core.contracts.k8s.pool import PoolSpec
from matte_operator.kinds import LEASE, MODEL, MODEL_VERSION, POD, POOL, RAY_SERVICE, Kind
from matte_operator.kube_client import api_client
from matte_operator.leader_election import LEASE_SECONDS, RENEW_DEADLINE_SECONDS, LeaderElector

pytestmark = pytest.mark.cluster
SMALL = {"resources": {"cpu": "10m", "memory": "64Mi"}}
WORKERS = {**SMALL, "sharedMemory": "64Mi"}


@pytest.fixture(scope="module")
def served(stage: Stage, operator: subprocess.Popen[bytes]) -> Stage:
    assert operator.poll() is None
    stage.put(POOL, "default", head=SMALL, workers=WORKERS)
    stage.put(MODEL, "portrait", family="grabcut", version="1.0.0")
    stage.put(MODEL, "lost", family="grabcut", version="1.0.0", pool="nowhere")
    wait(lambda: stage.condition(POOL, "default", "Ready")[1] == "ImagePullFailed")
    return stage


def test_an_image_that_is_not_there_is_told_with_its_name(served: Stage) -> None:
    status, _, message = served.condition(POOL, "default", "Ready")
    assert status == "False"
    assert "there-is-no-such-tag cannot be pulled" in message
    wait(lambda: "cannot be pulled" in served.condition(MODEL, "portrait", "Ready")[2])


def test_pods_are_admitted_by_pod_security_restricted(served: Stage) -> None:
    pods = served.kube.list(POD, label_selector="matte.dev/pool=default")
    assert {pod["metadata"]["labels"]["ray.io/node-type"] for pod in pods} == {"head", "worker"}


def test_a_pool_that_is_not_there_is_named_with_those_that_are(served: Stage) -> None:
    wait(lambda: served.condition(MODEL, "lost", "Ready")[1] == "PoolMissing")
    assert "there is no Pool nowhere (there is default)" in served.condition(MODEL, "lost", "Ready")[2]


def test_events_say_it_once(served: Stage) -> None:
    time.sleep(5)
    found = client.CoreV1Api(api_client()).list_namespaced_event(
        served.namespace, field_selector="involvedObject.kind=Pool,reason=ImagePullFailed"
    )
    assert 1 <= len(found.items) <= 3  # the kubelet itself changes its mind about the cause
    assert found.items[0].type == "Warning"


@pytest.mark.parametrize(
    ("kind", "name"),
    [(POOL, "default"), (MODEL, "portrait"), (MODEL_VERSION, "portrait-1-0-0"), (RAY_SERVICE, "matte-default")],
)
def test_no_finalizer_and_no_mark_of_kopf(served: Stage, kind: Kind, name: str) -> None:
    body = served.kube.get(kind, name)
    assert body is not None
    assert "finalizers" not in body["metadata"]
    assert not [key for key in body["metadata"].get("annotations", {}) if "kopf" in key]


def test_owners_so_that_the_garbage_collector_cleans_up(served: Stage) -> None:
    for kind, name, owner in ((MODEL_VERSION, "portrait-1-0-0", "Model"), (RAY_SERVICE, "matte-default", "Pool")):
        body = served.kube.get(kind, name)
        assert body is not None
        assert [each["kind"] for each in body["metadata"]["ownerReferences"]] == [owner]


def test_gpus_that_are_not_there(served: Stage) -> None:
    workers: dict[str, Any] = {**WORKERS, "gpus": 16}
    served.put(POOL, "gpu", head=SMALL, workers=workers)
    wait(lambda: served.condition(POOL, "gpu", "CapacityAvailable")[1] == "InsufficientGPU")
    assert (
        "needs 16 nvidia.com/gpu per worker, the cluster has" in served.condition(POOL, "gpu", "CapacityAvailable")[2]
    )
    served.kube.delete(POOL, "gpu")


def test_everything_that_a_pool_can_say_is_a_ray_service_that_kuberay_s_schema_knows(served: Stage) -> None:
    full = PoolSpec.model_validate(
        {
            "head": SMALL,
            "workers": {
                **WORKERS,
                "minReplicas": 0,
                "maxReplicas": 3,
                "gpus": 1,
                "nodeSelector": {"no-node": "has-this"},
                "tolerations": [{"key": "a", "operator": "Exists"}],
                "runtimeClassName": "nvidia",
            },
            "weights": {"claimName": "models"},
        }
    )
    served.put(POOL, "full", **full.model_dump(mode="json", exclude_none=True))
    wait(lambda: served.kube.get(RAY_SERVICE, "matte-full") is not None)
    body = served.kube.get(RAY_SERVICE, "matte-full")
    assert body is not None
    wanted = body["spec"]["rayClusterConfig"]  # an unknown field would have been dropped by the API server
    assert wanted["authOptions"] == {"mode": "token"}
    assert "RAY_REDIS_ADDRESS" in wanted["headGroupSpec"]["template"]["spec"]["containers"][0]["command"][0]
    assert wanted["autoscalerOptions"]["idleTimeoutSeconds"] == 300
    served.kube.delete(POOL, "full")


def test_few_calls_at_rest(served: Stage) -> None:
    time.sleep(20)
    before, began = samples(served), time.monotonic()
    time.sleep(60)
    per_minute = (samples(served) - before) * 60 / (time.monotonic() - began)
    print(f"calls of the API per minute: {per_minute:.1f}")
    assert per_minute <= 20  # the kubelet tries the image again now and then, so this is not quite rest


def test_one_of_two_acts_and_the_other_takes_over(stage: Stage) -> None:
    times = {"now": 1000.0}

    def lease(identity: str) -> LeaderElector:
        return LeaderElector(stage.kube, "two", identity, clock=lambda: times["now"])

    one, two = lease("one"), lease("two")
    assert one.try_acquire_or_renew()
    assert not two.try_acquire_or_renew()
    times["now"] += RENEW_DEADLINE_SECONDS + 1  # the first one hangs: it stops before the second may begin
    assert not one.is_leader
    assert not two.try_acquire_or_renew()
    times["now"] += LEASE_SECONDS
    assert two.try_acquire_or_renew()
    assert not one.is_leader
    with pytest.raises(Exception, match="Conflict"):
        one.try_acquire_or_renew()
    assert not one.try_acquire_or_renew()
    two.release()
    assert one.try_acquire_or_renew()


def test_it_ends_cleanly_and_gives_the_lease_back(served: Stage, operator: subprocess.Popen[bytes]) -> None:
    operator.send_signal(signal.SIGTERM)
    assert operator.wait(15) == 0
    lease = served.kube.get(LEASE, "matte-matte-operator")
    assert lease is not None
    assert lease["spec"].get("holderIdentity", "") == ""
    assert "Traceback" not in served.log.read_text()
