"""Whether a new version's first replica can ever be placed, and whether it can be placed now."""

from __future__ import annotations

from matte_core.contracts.k8s.model import ModelVersionSpec
from matte_core.contracts.k8s.pool import PoolSpec, PoolStatus

from matte_operator.domain.ray_state import PodProblem, waiting_for_node
from matte_operator.domain.rollout.observation import Gate, GateResult


def preflight(
    pool: PoolSpec,
    status: PoolStatus,
    version: ModelVersionSpec,
    pod_problems: tuple[PodProblem, ...] = (),
    free_gpus: int | None = None,
    reserved_gpus: float = 0,
    ready: int = 0,
) -> GateResult:
    """Failed where no additional node can help; waiting while a worker waits for a node with GPUs.

    Waiting is no failure: a pending worker is what makes a cluster autoscaler add a node. It ends with the phase.

    ``free_gpus`` are those that the cluster's nodes have left, None where they were not counted; ``reserved_gpus`` are
    used by stable's replicas, which stay while the version starts; ``ready`` replicas of the version answer.
    """
    workers, needed = pool.workers, version.resources.gpus
    resource, gpus = workers.gpu_resource, workers.gpus
    if ready or not needed:
        return GateResult(Gate.PASSED, "a replica runs" if ready else "no GPU is needed")
    if needed > gpus:
        message = (
            f"a replica needs {needed:g} {resource}, the workers of Pool {version.pool} have {gpus or 'none'}:"
            " raise workers.gpus of the Pool, or lower resources.gpus"
        )
        return GateResult(Gate.FAILED, message)
    pool_gpus = max(workers.max_replicas, status.desired_workers) * gpus
    if reserved_gpus + needed > pool_gpus:
        message = (
            f"a replica needs {needed:g} {resource} beside {reserved_gpus:g} of stable, Pool"
            f" {version.pool} has {pool_gpus} at most: raise its workers.maxReplicas"
        )
        return GateResult(Gate.FAILED, message)
    waiting = waiting_for_node(pod_problems)
    if not waiting:
        return GateResult(Gate.PASSED, f"the Pool's workers have {gpus} {resource} each")
    if free_gpus is not None and free_gpus < gpus:
        message = f"a worker waits for {gpus} {resource}, the cluster has {free_gpus} free: add a node with GPUs"
        return GateResult(Gate.WAITING, message)
    return GateResult(Gate.WAITING, f"a worker waits: {waiting[0].message}")
