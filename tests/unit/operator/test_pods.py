from typing import Any

import pytest
from matte_operator.domain.ray_state import PodProblemKind
from matte_operator.pods import free_gpus, pod_problems

GPU = "nvidia.com/gpu"


def pod(name: str = "w", node_type: str = "worker", **status: Any) -> dict[str, Any]:
    return {"metadata": {"name": name, "labels": {"ray.io/node-type": node_type}}, "spec": {}, "status": status}


def waiting(reason: str, message: str = "") -> list[dict[str, Any]]:
    return [{"name": "ray-worker", "image": "x:1", "state": {"waiting": {"reason": reason, "message": message}}}]


def unscheduled(message: str) -> dict[str, Any]:
    condition = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message}
    return pod(conditions=[condition])


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ("ErrImagePull: rpc error: code = NotFound desc = ghcr.io/x:1: not found", "no such image"),
        ("failed to authorize: 401 Unauthorized", "images.pullSecrets"),
        ("dial tcp: lookup ghcr.io: no such host", "cannot reach its registry"),
        ("", "kubectl describe pod"),
    ],
)
@pytest.mark.parametrize("reason", ["ErrImagePull", "ImagePullBackOff"])
def test_images(reason: str, message: str, expected: str) -> None:
    (found,) = pod_problems([pod(initContainerStatuses=waiting(reason, message))])
    assert found.kind is PodProblemKind.IMAGE
    assert "image x:1 cannot be pulled" in found.message
    assert expected in found.message


def test_a_crash_says_how_and_where_to_look() -> None:
    crash = waiting("CrashLoopBackOff")
    crash[0]["lastState"] = {"terminated": {"exitCode": 137, "reason": "OOMKilled"}}
    (found,) = pod_problems([pod(containerStatuses=crash)])
    assert found.kind is PodProblemKind.CRASH
    assert "exit code 137, OOMKilled): raise its memory; see kubectl logs w --previous" in found.message


def test_a_missing_secret() -> None:
    (found,) = pod_problems([pod(containerStatuses=waiting("CreateContainerConfigError", 'secret "redis" not found'))])
    assert found.kind is PodProblemKind.REFUSED
    assert 'secret "redis" not found' in found.message


def test_a_missing_claim_and_a_full_cluster() -> None:
    claim = unscheduled('persistentvolumeclaim "models" not found. preemption: 0/1 nodes')
    full = unscheduled("0/1 nodes are available: 1 Insufficient cpu. preemption: 0/1 nodes are available.")
    found = [problem for each in (claim, full) for problem in pod_problems([each])]
    assert [problem.kind for problem in found] == [PodProblemKind.VOLUME, PodProblemKind.UNSCHEDULABLE]
    assert "PersistentVolumeClaim models" in found[0].message
    assert found[1].message == "no node takes the pod: 0/1 nodes are available: 1 Insufficient cpu"


def test_pods_that_end_and_cleanup_jobs_are_no_trouble() -> None:
    ending = pod(containerStatuses=waiting("ErrImagePull"))
    ending["metadata"]["deletionTimestamp"] = "now"
    assert pod_problems([ending, pod("c", "redis-cleanup", containerStatuses=waiting("ErrImagePull")), pod()]) == ()


def node(name: str, gpus: int, **spec: Any) -> dict[str, Any]:
    return {
        "metadata": {"name": name, "labels": {"n": name}},
        "spec": spec,
        "status": {"allocatable": {GPU: str(gpus)}},
    }


def taker(on: str, gpus: int, phase: str = "Running") -> dict[str, Any]:
    container = {"resources": {"requests": {GPU: str(gpus)}}}
    return {"metadata": {"name": "t"}, "spec": {"nodeName": on, "containers": [container]}, "status": {"phase": phase}}


def test_free_gpus_are_those_that_nobody_asked_for() -> None:
    nodes = [node("a", 4), node("b", 2), node("cordoned", 8, unschedulable=True)]
    pods = [taker("a", 1), taker("a", 2, "Succeeded"), taker("b", 2), {**taker("a", 1)}]
    assert free_gpus(nodes, pods, GPU, {}) == 2
    assert free_gpus(nodes, pods, GPU, {"n": "b"}) == 0
    assert free_gpus(nodes, pods, "amd.com/gpu", {}) == 0
