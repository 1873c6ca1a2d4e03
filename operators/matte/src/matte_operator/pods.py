"""Why a pod does not run, in words a person can act on; and how many GPUs are free."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from matte_operator.domain.ray_state import PodProblem, PodProblemKind
from matte_operator.kinds import Body, name_of

_IMAGE_REASONS = frozenset({"ImagePullBackOff", "ErrImagePull", "InvalidImageName", "ErrImageNeverPull"})
_REFUSED_REASONS = frozenset({"CreateContainerConfigError", "CreateContainerError", "RunContainerError"})
_NODE_TYPE = "ray.io/node-type"
#: one text per cause: the kubelet alternates between several messages for the same one
_PULL_ADVICE = (
    (
        r"not found|manifest unknown|NotFound",
        "the registry has no such image: push it, or correct the Pool's image or the chart's images",
    ),
    (
        r"(?i)401|403|denied|unauthorized|no basic auth",
        "the registry refuses: name a Secret with access in images.pullSecrets",
    ),
    (
        r"no such host|timeout|connection refused|dial tcp",
        "the node cannot reach its registry: correct the Pool's image or the chart's images, or the node's network",
    ),
)


def pod_problems(pods: Iterable[Body]) -> tuple[PodProblem, ...]:
    """The Ray heads and workers that do not run, by name; terminating pods do not count."""
    problems = []
    for pod in pods:
        node_type = pod["metadata"].get("labels", {}).get(_NODE_TYPE)
        if node_type not in {"head", "worker"} or "deletionTimestamp" in pod["metadata"]:
            continue
        if problem := _pod_problem(pod):
            problems.append(PodProblem(name_of(pod), *problem, worker=node_type == "worker"))
    return tuple(sorted(problems, key=lambda problem: problem.pod))


def free_gpus(nodes: Iterable[Body], pods: Iterable[Body], resource: str, selector: Mapping[str, str]) -> int:
    """GPUs of the schedulable nodes with the selector's labels, less what pods there request."""
    allocatable = {
        name_of(node): int(node.get("status", {}).get("allocatable", {}).get(resource, 0))
        for node in nodes
        if not node.get("spec", {}).get("unschedulable")
        and selector.items() <= node["metadata"].get("labels", {}).items()
    }
    requested = sum(
        _requested(pod["spec"], resource)
        for pod in pods
        if pod["spec"].get("nodeName") in allocatable
        and pod.get("status", {}).get("phase") not in {"Succeeded", "Failed"}
    )
    return max(0, sum(allocatable.values()) - requested)


def _requested(spec: Mapping[str, Any], resource: str) -> int:
    """As the scheduler counts: the sum of the containers, or the largest init container."""

    def amount(container: Mapping[str, Any]) -> int:
        resources = container.get("resources", {})
        return int(resources.get("requests", resources.get("limits", {})).get(resource, 0))

    largest_init = max((amount(c) for c in spec.get("initContainers", ())), default=0)
    return max(largest_init, sum(amount(c) for c in spec["containers"]))


def _pod_problem(pod: Body) -> tuple[PodProblemKind, str] | None:
    status = pod.get("status", {})
    for condition in status.get("conditions", ()):
        if condition["type"] == "PodScheduled" and condition["status"] == "False":
            message = condition.get("message", "no node takes it")
            if claim := re.search(r'persistentvolumeclaim "([^"]+)" not found', message):
                text = f"there is no PersistentVolumeClaim {claim[1]}: create it, or correct spec.weights.claimName"
                return PodProblemKind.VOLUME, text
            text = message.partition(" preemption:")[0].rstrip(". ")
            return PodProblemKind.UNSCHEDULABLE, f"no node takes the pod: {text}"
    for container in (*status.get("initContainerStatuses", ()), *status.get("containerStatuses", ())):
        if problem := _container_problem(name_of(pod), container):
            return problem
    return None


def _container_problem(pod: str, container: Mapping[str, Any]) -> tuple[PodProblemKind, str] | None:
    waiting = container.get("state", {}).get("waiting", {})
    reason, message = waiting.get("reason", ""), waiting.get("message", "")
    if reason in _IMAGE_REASONS:
        advice = next(
            (text for pattern, text in _PULL_ADVICE if re.search(pattern, message)), "see kubectl describe pod"
        )
        return PodProblemKind.IMAGE, f"image {container['image']} cannot be pulled: {advice}"
    if reason in _REFUSED_REASONS:
        return PodProblemKind.REFUSED, f"container {container['name']} cannot be made: {message}"
    if reason == "CrashLoopBackOff":
        last = container.get("lastState", {}).get("terminated", {})
        how = f"exit code {last.get('exitCode', '?')}, {last.get('reason', 'Error')}"
        advice = ": raise its memory" if last.get("reason") == "OOMKilled" else ""
        text = f"container {container['name']} keeps ending ({how}){advice}; see kubectl logs {pod} --previous"
        return PodProblemKind.CRASH, text
    return None
