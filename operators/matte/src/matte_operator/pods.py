"""Why a pod does not run, in words a person can act on; and GPUs that nobody uses."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from matte_operator.domain.serving import Trouble, TroubleKind
from matte_operator.kinds import Body, name_of

_IMAGE = frozenset({"ImagePullBackOff", "ErrImagePull", "InvalidImageName", "ErrImageNeverPull"})
_REFUSED = frozenset({"CreateContainerConfigError", "CreateContainerError", "RunContainerError"})
_NODE_TYPE = "ray.io/node-type"
_DONE = frozenset({"Succeeded", "Failed"})


def troubles(pods: Iterable[Body]) -> tuple[Trouble, ...]:
    """Of Ray's heads and workers; pods that end are none."""
    found = []
    for pod in pods:
        node_type = pod["metadata"].get("labels", {}).get(_NODE_TYPE)
        if node_type not in {"head", "worker"} or "deletionTimestamp" in pod["metadata"]:
            continue
        if told := _trouble(pod):
            found.append(Trouble(name_of(pod), *told, worker=node_type == "worker"))
    return tuple(sorted(found, key=lambda trouble: trouble.pod))


def free_gpus(nodes: Iterable[Body], pods: Iterable[Body], resource: str, selector: Mapping[str, str]) -> int:
    """GPUs on schedulable nodes with the selector's labels, less what pods there have asked for."""
    allocatable = {
        name_of(node): int(node.get("status", {}).get("allocatable", {}).get(resource, 0))
        for node in nodes
        if not node.get("spec", {}).get("unschedulable")
        and selector.items() <= node["metadata"].get("labels", {}).items()
    }
    taken = sum(
        _asked(pod["spec"], resource)
        for pod in pods
        if pod["spec"].get("nodeName") in allocatable and pod.get("status", {}).get("phase") not in _DONE
    )
    return max(0, sum(allocatable.values()) - taken)


def _asked(spec: Mapping[str, Any], resource: str) -> int:
    """As the scheduler counts: containers together, or the greediest of those that run before them."""

    def amount(container: Mapping[str, Any]) -> int:
        wants = container.get("resources", {})
        return int(wants.get("requests", wants.get("limits", {})).get(resource, 0))

    first = max((amount(c) for c in spec.get("initContainers", ())), default=0)
    return max(first, sum(amount(c) for c in spec["containers"]))


def _trouble(pod: Body) -> tuple[TroubleKind, str] | None:
    status = pod.get("status", {})
    for condition in status.get("conditions", ()):
        if condition["type"] == "PodScheduled" and condition["status"] == "False":
            return _unscheduled(condition.get("message", "no node takes it"))
    for container in _containers(status):
        if told := _container(name_of(pod), container):
            return told
    return None


def _unscheduled(message: str) -> tuple[TroubleKind, str]:
    if missing := re.search(r'persistentvolumeclaim "([^"]+)" not found', message):
        text = f"there is no PersistentVolumeClaim {missing.group(1)}: create it, or correct spec.weights.claimName"
        return TroubleKind.VOLUME, text
    return TroubleKind.UNSCHEDULABLE, f"no node takes the pod: {message.partition(' preemption:')[0].rstrip('. ')}"


def _containers(status: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    yield from status.get("initContainerStatuses", ())
    yield from status.get("containerStatuses", ())


def _container(pod: str, container: Mapping[str, Any]) -> tuple[TroubleKind, str] | None:
    waiting = container.get("state", {}).get("waiting", {})
    reason, message = waiting.get("reason", ""), waiting.get("message", "")
    if reason in _IMAGE:
        return TroubleKind.IMAGE, f"image {container['image']} cannot be pulled: {_pull_problem(message)}"
    if reason in _REFUSED:
        return TroubleKind.REFUSED, f"container {container['name']} cannot be made: {message}"
    if reason == "CrashLoopBackOff":
        last = container.get("lastState", {}).get("terminated", {})
        how = f"exit code {last.get('exitCode', '?')}, {last.get('reason', 'Error')}"
        more = ": raise its memory" if last.get("reason") == "OOMKilled" else ""
        text = f"container {container['name']} keeps ending ({how}){more}; see kubectl logs {pod} --previous"
        return TroubleKind.CRASH, text
    return None


def _pull_problem(message: str) -> str:
    """The kubelet says the same in many ways, in turns; this is always the same."""
    if re.search(r"not found|manifest unknown|NotFound", message):
        return "the registry has no such image: push it, or correct the Pool's image or the chart's images"
    if re.search(r"401|403|denied|unauthorized|no basic auth", message, re.IGNORECASE):
        return "the registry refuses: name a Secret with access in images.pullSecrets"
    if re.search(r"no such host|timeout|connection refused|dial tcp", message):
        return (
            "the node cannot reach its registry: correct the Pool's image or the chart's images, or the node's network"
        )
    return "see kubectl describe pod"
