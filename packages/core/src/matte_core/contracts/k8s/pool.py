"""Pool: a Ray cluster of one kind of GPU (or of CPUs)."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from matte_core.contracts.k8s.common import (
    NAME_RULE,
    ComputeResources,
    Conditions,
    KubeContract,
    NodeSelector,
    Quantity,
    Resource,
    Toleration,
)
from matte_core.contracts.k8s.rules import CELRule


class WeightsVolume(KubeContract):
    """A volume with model folders, mounted read-only in every worker. Models name it by ``file:///models/…``."""

    claim_name: str | None = Field(None, max_length=253, description="PersistentVolumeClaim in the Pool's namespace")
    mount_path: str = Field(
        "/models", pattern=r"^/[A-Za-z0-9._/-]+$", max_length=253, description="where workers see it"
    )


class HeadResources(ComputeResources):
    """What the head asks for (requests) and may take (limits)."""

    cpu: Quantity = Field("500m", description="CPU cores requested")


class WorkerResources(ComputeResources):
    """What a worker asks for (requests) and may take (limits)."""

    cpu: Quantity = Field("2", description="CPU cores requested")
    memory: Quantity = Field("6Gi", description="memory requested")


class HeadSpec(KubeContract):
    """Ray's head: it schedules, and carries no picture."""

    resources: HeadResources = HeadResources()
    node_selector: NodeSelector = Field({}, description="labels of the node that it runs on")
    tolerations: tuple[Toleration, ...] = Field((), max_length=32, description="taints that it puts up with")


class WorkerSpec(KubeContract):
    """The pods that models run in."""

    cel: ClassVar[tuple[CELRule, ...]] = (
        CELRule(
            "self.maxReplicas >= self.minReplicas",
            "maxReplicas must be at least minReplicas",
            field_path=".maxReplicas",
        ),
    )

    min_replicas: int = Field(1, ge=0, le=1000, description="worker pods that always run")
    max_replicas: int = Field(1, ge=1, le=1000, description="worker pods at most; Ray adds them as models need them")
    idle_timeout_seconds: int = Field(300, ge=10, le=86400, description="a worker without work ends after this long")
    gpus: int = Field(0, ge=0, le=16, description="GPUs per worker")
    gpu_resource: str = Field(
        "nvidia.com/gpu", pattern=r"^[a-z0-9.-]+/[A-Za-z0-9._-]+$", max_length=253, description="what a GPU is called"
    )
    resources: WorkerResources = WorkerResources()
    shared_memory: str = Field("1Gi", pattern=r"^[0-9]+(Mi|Gi)$", description="size of /dev/shm")
    node_selector: NodeSelector = Field({}, description="labels of the nodes that they run on")
    tolerations: tuple[Toleration, ...] = Field((), max_length=32, description="taints that they put up with")
    runtime_class_name: str | None = Field(None, max_length=253, description="RuntimeClass, where GPUs need one")

    @model_validator(mode="after")
    def _validate(self) -> WorkerSpec:
        if self.max_replicas < self.min_replicas:
            raise ValueError("maxReplicas must be at least minReplicas")
        return self


class PoolSpec(KubeContract):
    """What a platform team asks for."""

    image: str | None = Field(None, max_length=512, description="inference image; none: the one of the release")
    head: HeadSpec = HeadSpec()
    workers: WorkerSpec = WorkerSpec()
    weights: WeightsVolume = WeightsVolume()
    allowed_licenses: tuple[Annotated[str, Field(max_length=128)], ...] = Field(
        (),
        max_length=64,
        description="SPDX identifiers of the licenses that its models may have; none: every one",
        json_schema_extra={"x-kubernetes-list-type": "set"},
    )


class PoolStatus(KubeContract):
    """What became of it. Conditions: ``Ready``, ``CapacityAvailable``."""

    observed_generation: int = Field(0, description="generation of the spec that this status is about")
    conditions: Conditions = ()
    ray_service: str | None = Field(None, description="name of the RayService")
    workers: int = Field(0, description="workers that run and are ready")
    desired_workers: int = Field(0, description="workers that Ray wants now")
    models: int = Field(0, description="model versions that this Pool serves")


class Pool(Resource):
    """A Ray cluster of one kind of GPU (or of CPUs) that Models run in."""

    cel: ClassVar[tuple[CELRule, ...]] = (NAME_RULE,)

    kind: Literal["Pool"]
    spec: PoolSpec
    status: PoolStatus | None = None
