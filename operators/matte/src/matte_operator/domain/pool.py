"""What a Pool's status says, from what is seen of its RayService and its pods."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from matte_core.contracts.k8s.pool import PoolSpec, PoolStatus

from matte_operator.domain.conditions import Finding, settle
from matte_operator.domain.serving import ROUTER, AppStatus, Service, Trouble, TroubleKind

READY = "Ready"
CAPACITY = "CapacityAvailable"


@dataclass(frozen=True, slots=True)
class PoolObservation:
    """What is seen. ``free_gpus``: None where nobody asked; ``refused``: the API server's word on the RayService."""

    ray_service: str
    models: int = 0
    service: Service | None = None
    troubles: tuple[Trouble, ...] = ()
    free_gpus: int | None = None
    refused: str = ""


@dataclass(frozen=True, slots=True)
class PoolDecision:
    """The new status."""

    status: PoolStatus


def asks_for_capacity(observation: PoolObservation) -> bool:
    """Whether the cluster's free GPUs matter: a worker waits for a node."""
    return any(t.worker and t.kind is TroubleKind.UNSCHEDULABLE for t in observation.troubles)


def decide_pool(
    spec: PoolSpec, status: PoolStatus, generation: int, observation: PoolObservation, now: datetime
) -> PoolDecision:
    """The Pool's status. ``now`` is in UTC."""
    cluster = observation.service.current if observation.service else None
    capacity = _capacity(spec, observation)
    findings = (_ready(spec, observation, capacity), capacity)
    return PoolDecision(
        PoolStatus(
            observed_generation=generation,
            conditions=settle(status.conditions, findings, generation=generation, now=now),
            ray_service=observation.ray_service,
            workers=cluster.ready_workers if cluster else 0,
            desired_workers=cluster.desired_workers if cluster else spec.workers.min_replicas,
            models=observation.models,
        )
    )


def _ready(spec: PoolSpec, seen: PoolObservation, capacity: Finding) -> Finding:
    if seen.refused:
        return Finding.no(READY, "RayServiceRefused", f"RayService {seen.ray_service} was refused: {seen.refused}")
    service = seen.service
    cluster = service.current if service else None
    if service is None or cluster is None:
        return _starting(seen, capacity, "the Ray cluster is being made")
    if not cluster.head_ready and service.pending is cluster:
        return _starting(seen, capacity, "Ray's head is starting")
    least = spec.workers.min_replicas
    if cluster.ready_workers < least:
        return _starting(seen, capacity, f"{cluster.ready_workers} of {least} workers are ready")
    router = service.app(ROUTER)
    if service.active is None and (router is None or router.status is not AppStatus.RUNNING):
        return _starting(seen, capacity, "Ray Serve is starting the router")
    return _serving(service, cluster.ready_workers, seen)


def _serving(service: Service, workers: int, seen: PoolObservation) -> Finding:
    if service.active and service.pending:
        trouble = f"; the new one: {_worst(seen).message}" if seen.troubles else ""
        text = f"a new Ray cluster replaces {service.active.name}, which serves until it is ready{trouble}"
        return Finding.yes(READY, "Replacing", text)
    return Finding.yes(READY, "Running", f"{workers} {'worker' if workers == 1 else 'workers'} ready")


def _starting(seen: PoolObservation, capacity: Finding, text: str) -> Finding:
    if not seen.troubles:
        return Finding.no(READY, "Starting", text)
    worst = _worst(seen)
    if worst.kind is TroubleKind.UNSCHEDULABLE:
        return Finding.no(READY, capacity.reason, f"{text}; {capacity.message}")
    return Finding.no(READY, worst.kind.value, f"{text}; {worst.message}")


def _worst(seen: PoolObservation) -> Trouble:
    """The one to tell: what a person must mend comes first; then the head, then by name."""
    order = list(TroubleKind)
    return min(seen.troubles, key=lambda t: (order.index(t.kind), t.worker, t.pod))


def _capacity(spec: PoolSpec, seen: PoolObservation) -> Finding:
    waiting = [t for t in seen.troubles if t.kind is TroubleKind.UNSCHEDULABLE]
    if not waiting:
        return Finding.yes(CAPACITY, "Scheduled", "no pod waits for a node")
    workers, gpus = spec.workers, spec.workers.gpus
    short = sum(t.worker for t in waiting)
    if gpus and short and seen.free_gpus is not None and seen.free_gpus < gpus * short:
        text = (
            f"needs {gpus} {workers.gpu_resource} per worker, the cluster has {seen.free_gpus} free:"
            f" add a node with GPUs, or lower workers.gpus or workers.minReplicas ({short} waiting)"
        )
        return Finding.no(CAPACITY, "InsufficientGPU", text)
    return Finding.no(CAPACITY, "Unschedulable", waiting[0].message)
