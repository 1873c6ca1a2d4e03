"""Whether a new version's first replica can ever be placed, and whether it could be now."""

from __future__ import annotations

from collections.abc import Iterable

from matte_core.contracts.k8s.model import ModelVersionSpec
from matte_core.contracts.k8s.pool import PoolSpec, PoolStatus

from matte_operator.domain.rollout.observe import Gate, GateSeen
from matte_operator.domain.serving import Trouble, TroubleKind


def preflight(
    pool: PoolSpec,
    status: PoolStatus,
    version: ModelVersionSpec,
    troubles: Iterable[Trouble] = (),
    free_gpus: int | None = None,
    reserved_gpus: float = 0,
    ready: int = 0,
) -> GateSeen:
    """Failed where no node that is added can help; waiting while a worker waits for a node with GPUs.

    Waiting is no failure: such a worker is what lets a cluster's autoscaler add a node. It ends with the phase.

    Args:
        pool: that the version runs in.
        status: of the Pool.
        version: whose first replica is to start.
        troubles: of the Pool's pods.
        free_gpus: that the cluster's nodes have left; None where nobody counted.
        reserved_gpus: that replicas have which stay while it starts: those of stable.
        ready: replicas of the version that answer.
    """
    workers, wanted = pool.workers, version.resources.gpus
    resource, gpus = workers.gpu_resource, workers.gpus
    if ready or not wanted:
        return GateSeen(Gate.PASSED, "a replica runs" if ready else "no GPU is needed")
    if wanted > gpus:
        text = (
            f"a replica needs {wanted:g} {resource}, the workers of Pool {version.pool} have {gpus or 'none'}:"
            " raise workers.gpus of the Pool, or lower resources.gpus"
        )
        return GateSeen(Gate.FAILED, text)
    most = max(workers.max_replicas, status.desired_workers) * gpus
    if reserved_gpus + wanted > most:
        text = (
            f"a replica needs {wanted:g} {resource} beside {reserved_gpus:g} of stable, Pool"
            f" {version.pool} has {most} at most: raise its workers.maxReplicas"
        )
        return GateSeen(Gate.FAILED, text)
    return _placed(workers.gpu_resource, gpus, troubles, free_gpus)


def _placed(resource: str, gpus: int, troubles: Iterable[Trouble], free_gpus: int | None) -> GateSeen:
    short = [t for t in troubles if t.worker and t.kind is TroubleKind.UNSCHEDULABLE]
    if not short:
        return GateSeen(Gate.PASSED, f"the Pool's workers have {gpus} {resource} each")
    if free_gpus is not None and free_gpus < gpus:
        text = f"a worker waits for {gpus} {resource}, the cluster has {free_gpus} free: add a node with GPUs"
        return GateSeen(Gate.WAITING, text)
    return GateSeen(Gate.WAITING, f"a worker waits: {short[0].message}")
