"""The status of a Pool, from its RayService and its pods."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from matte_core.contracts.k8s.pool import PoolSpec, PoolStatus

from matte_operator.domain.conditions import ConditionUpdate, merge_conditions
from matte_operator.domain.ray_state import ROUTER, AppStatus, PodProblem, PodProblemKind, RayService, waiting_for_node

READY = "Ready"
CAPACITY = "CapacityAvailable"


@dataclass(frozen=True, slots=True)
class PoolObservation:
    """What is known of a Pool. ``models``: versions that it serves; ``free_gpus``: None where they were not counted.

    ``apply_error``: why the API server refused its RayService or PodDisruptionBudget; '' where it did not.
    """

    ray_service: str
    models: int = 0
    service: RayService | None = None
    pod_problems: tuple[PodProblem, ...] = ()
    free_gpus: int | None = None
    apply_error: str = ""


def pool_status(
    spec: PoolSpec, status: PoolStatus, generation: int, observation: PoolObservation, now: datetime
) -> PoolStatus:
    cluster = observation.service.current if observation.service else None
    capacity = _capacity(spec, observation)
    updates = (_ready(spec, observation, capacity), capacity)
    return PoolStatus(
        observed_generation=generation,
        conditions=merge_conditions(status.conditions, updates, generation=generation, now=now),
        ray_service=observation.ray_service,
        workers=cluster.ready_workers if cluster else 0,
        desired_workers=cluster.desired_workers if cluster else spec.workers.min_replicas,
        models=observation.models,
    )


def _ready(spec: PoolSpec, observed: PoolObservation, capacity: ConditionUpdate) -> ConditionUpdate:
    if observed.apply_error:
        message = f"RayService {observed.ray_service} was refused: {observed.apply_error}"
        return ConditionUpdate.false(READY, "RayServiceRefused", message)
    # what a person must fix comes first; then the head, then by name
    order = list(PodProblemKind)
    problems = sorted(observed.pod_problems, key=lambda p: (order.index(p.kind), p.worker, p.pod))
    service = observed.service or RayService()
    cluster, router, obstacle = service.current, service.app(ROUTER), ""
    workers, min_workers = cluster.ready_workers if cluster else 0, spec.workers.min_replicas
    if cluster is None:
        obstacle = "the Ray cluster is being made"
    elif not cluster.head_ready and service.pending is cluster:
        obstacle = "Ray's head is starting"
    elif workers < min_workers:
        obstacle = f"{workers} of {min_workers} workers are ready"
    elif service.active is None and (router is None or router.status is not AppStatus.RUNNING):
        obstacle = "Ray Serve is starting the router"
    if obstacle and not problems:
        return ConditionUpdate.false(READY, "Starting", obstacle)
    if obstacle and problems[0].kind is PodProblemKind.UNSCHEDULABLE:
        return ConditionUpdate.false(READY, capacity.reason, f"{obstacle}; {capacity.message}")
    if obstacle:
        return ConditionUpdate.false(READY, problems[0].kind.value, f"{obstacle}; {problems[0].message}")
    if service.active and service.pending:
        problem = f"; the new one: {problems[0].message}" if problems else ""
        message = f"a new Ray cluster replaces {service.active.name}, which serves until it is ready{problem}"
        return ConditionUpdate.true(READY, "Replacing", message)
    return ConditionUpdate.true(READY, "Running", f"{workers} {'worker' if workers == 1 else 'workers'} ready")


def _capacity(spec: PoolSpec, observed: PoolObservation) -> ConditionUpdate:
    unschedulable = [p for p in observed.pod_problems if p.kind is PodProblemKind.UNSCHEDULABLE]
    if not unschedulable:
        return ConditionUpdate.true(CAPACITY, "Scheduled", "no pod waits for a node")
    gpus, resource, free = spec.workers.gpus, spec.workers.gpu_resource, observed.free_gpus
    waiting = len(waiting_for_node(observed.pod_problems))
    if gpus and waiting and free is not None and free < gpus * waiting:
        message = (
            f"needs {gpus} {resource} per worker, the cluster has {free} free:"
            f" add a node with GPUs, or lower workers.gpus or workers.minReplicas ({waiting} waiting)"
        )
        return ConditionUpdate.false(CAPACITY, "InsufficientGPU", message)
    return ConditionUpdate.false(CAPACITY, "Unschedulable", unschedulable[0].message)
