from typing import Any

import pytest
from matte_core.contracts.k8s.pool import PoolSpec, PoolStatus
from matte_operator.domain.conditions import find
from matte_operator.domain.pool import PoolObservation, pool_status
from matte_operator.domain.ray_state import (
    ROUTER,
    AppStatus,
    PodProblem,
    PodProblemKind,
    RayCluster,
    RayService,
    ServeApp,
    waiting_for_node,
)
from unit.operator.builders import NOW, RUNNING

CPU = PoolSpec()
GPU = PoolSpec.model_validate({"workers": {"gpus": 1, "minReplicas": 2, "maxReplicas": 2}})
UP = RayCluster("c1", ready_workers=1, desired_workers=1, head_ready=True, apps={ROUTER: RUNNING})
NEW = RayCluster("c2", desired_workers=1)
NO_IMAGE = PodProblem("head", PodProblemKind.IMAGE, "image x cannot be pulled: push it", worker=False)
NO_NODE = PodProblem("worker", PodProblemKind.UNSCHEDULABLE, "no node takes the pod: 1 Insufficient cpu", worker=True)


def conditions(spec: PoolSpec, **seen: Any) -> dict[str, tuple[str, str, str]]:
    status = pool_status(spec, PoolStatus(), 1, PoolObservation("matte-default", **seen), NOW)
    return {c.type: (c.status.value, c.reason, c.message) for c in status.conditions}


@pytest.mark.parametrize(
    ("service", "status", "reason"),
    [
        (None, "False", "Starting"),
        (RayService(), "False", "Starting"),
        (RayService(pending=NEW), "False", "Starting"),
        (RayService(pending=RayCluster("c1", head_ready=True)), "False", "Starting"),
        (RayService(pending=RayCluster("c1", ready_workers=1, head_ready=True)), "False", "Starting"),
        (RayService(pending=UP), "True", "Running"),
        (RayService(active=UP), "True", "Running"),
        (RayService(active=UP, pending=NEW), "True", "Replacing"),
        (RayService(active=RayCluster("c1", ready_workers=1)), "True", "Running"),  # the head is away, workers serve on
        (RayService(active=RayCluster("c1", head_ready=True)), "False", "Starting"),
    ],
)
def test_ready(service: RayService | None, status: str, reason: str) -> None:
    assert conditions(CPU, service=service)["Ready"][:2] == (status, reason)


def test_a_router_that_fails_keeps_a_new_pool_from_being_ready() -> None:
    broken = RayCluster("c1", ready_workers=1, head_ready=True, apps={ROUTER: ServeApp(AppStatus.DEPLOY_FAILED)})
    assert conditions(CPU, service=RayService(pending=broken))["Ready"][0] == "False"


def test_what_a_person_must_mend_is_told_first() -> None:
    found = conditions(CPU, service=RayService(pending=NEW), pod_problems=(NO_NODE, NO_IMAGE))
    assert found["Ready"][1] == "ImagePullFailed"
    assert "push it" in found["Ready"][2]
    assert found["CapacityAvailable"][:2] == ("False", "Unschedulable")


def test_gpus_that_are_not_there() -> None:
    found = conditions(GPU, service=RayService(pending=NEW), pod_problems=(NO_NODE,), free_gpus=0)
    status, reason, message = found["CapacityAvailable"]
    assert (status, reason) == ("False", "InsufficientGPU")
    assert message.startswith("needs 1 nvidia.com/gpu per worker, the cluster has 0 free")
    assert found["Ready"][1] == "InsufficientGPU"


def test_gpus_are_not_blamed_where_there_are_enough() -> None:
    found = conditions(GPU, service=RayService(pending=NEW), pod_problems=(NO_NODE,), free_gpus=1)
    assert found["CapacityAvailable"] == ("False", "Unschedulable", NO_NODE.message)


def test_nodes_are_looked_at_only_while_a_worker_waits() -> None:
    assert not waiting_for_node((NO_IMAGE,))
    assert waiting_for_node((NO_IMAGE, NO_NODE))


def test_a_refused_ray_service_is_told() -> None:
    assert conditions(CPU, apply_error="spec is wrong")["Ready"][:2] == ("False", "RayServiceRefused")


def test_trouble_of_a_new_cluster_does_not_take_the_old_one_down() -> None:
    status, _, message = conditions(CPU, service=RayService(active=UP, pending=NEW), pod_problems=(NO_IMAGE,))["Ready"]
    assert status == "True"
    assert "push it" in message


def test_counts() -> None:
    status = pool_status(
        GPU, PoolStatus(), 7, PoolObservation("matte-gpu", models=3, service=RayService(active=UP)), NOW
    )
    assert (status.workers, status.desired_workers, status.models) == (1, 1, 3)
    ready = find(status.conditions, "Ready")
    assert ready is not None
    assert (ready.observed_generation, ready.last_transition_time) == (7, "2026-01-01T12:00:00Z")
    assert ready.message == "1 of 2 workers are ready"
