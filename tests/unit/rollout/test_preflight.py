from typing import Any

import pytest
from matte_core.contracts.k8s.model import ModelVersionSpec
from matte_core.contracts.k8s.pool import PoolSpec, PoolStatus
from matte_operator.domain.ray_state import PodProblem, PodProblemKind
from matte_operator.domain.rollout.observation import Gate, GateResult
from matte_operator.domain.rollout.preflight import preflight

NO_NODE = PodProblem(
    "w", PodProblemKind.UNSCHEDULABLE, "0/3 nodes are available: Insufficient nvidia.com/gpu", worker=True
)
NO_IMAGE = PodProblem("w", PodProblemKind.IMAGE, "image x cannot be pulled", worker=True)
NO_HEAD = PodProblem("h", PodProblemKind.UNSCHEDULABLE, "0/3 nodes are available", worker=False)


def version(gpus: float) -> ModelVersionSpec:
    spec = {"model": "m", "version": "2.0.0", "family": "grabcut", "resources": {"gpus": gpus}}
    return ModelVersionSpec.model_validate(spec)


def look(gpus: float, *troubles: PodProblem, each: int = 1, most: int = 4, **seen: Any) -> GateResult:
    pool = PoolSpec.model_validate({"workers": {"gpus": each, "maxReplicas": most}})
    return preflight(pool, PoolStatus(), version(gpus), troubles, **seen)


@pytest.mark.parametrize(("gpus", "each"), [(1, 0), (0.5, 0), (2, 1)])
def test_more_gpus_than_a_worker_has_can_never_be_placed(gpus: float, each: int) -> None:
    seen = look(gpus, each=each)
    assert seen.gate is Gate.FAILED
    assert f"a replica needs {gpus:g} nvidia.com/gpu, the workers of Pool default have {each or 'none'}" in seen.message


@pytest.mark.parametrize("gpus", [0, 0.5, 1])
def test_what_fits_into_a_worker_may_start(gpus: float) -> None:
    assert look(gpus).gate is Gate.PASSED


def test_no_gpu_needs_no_look_at_the_pool() -> None:
    assert look(0, NO_NODE, each=0).gate is Gate.PASSED


@pytest.mark.parametrize(("reserved", "gate"), [(3, Gate.PASSED), (4, Gate.FAILED), (3.5, Gate.FAILED)])
def test_one_more_than_stable_has_must_fit_into_the_largest_pool(reserved: float, gate: Gate) -> None:
    seen = look(1, reserved_gpus=reserved)
    assert seen.gate is gate
    assert ("has 4 at most: raise its workers.maxReplicas" in seen.message) is (gate is Gate.FAILED)


def test_a_worker_that_waits_for_gpus_is_waited_for() -> None:
    seen = look(1, NO_NODE, free_gpus=0)
    assert seen.gate is Gate.WAITING
    assert "the cluster has 0 free: add a node with GPUs" in seen.message


def test_a_worker_that_waits_for_something_else_is_told_in_the_scheduler_s_words() -> None:
    for free in (None, 8):
        assert look(1, NO_NODE, free_gpus=free).message == f"a worker waits: {NO_NODE.message}"


def test_other_troubles_are_no_lack_of_gpus() -> None:
    assert look(1, NO_IMAGE, NO_HEAD, free_gpus=0).gate is Gate.PASSED


def test_a_replica_that_answers_needs_no_more_room() -> None:
    assert look(1, NO_NODE, free_gpus=0, ready=1, reserved_gpus=4).gate is Gate.PASSED
