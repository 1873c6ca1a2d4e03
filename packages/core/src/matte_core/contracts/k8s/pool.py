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
    """A volume with model folders, mounted read-only in every worker pod and addressed as ``file:///models/…``."""

    cel: ClassVar[tuple[CELRule, ...]] = (
        CELRule(
            "!has(self.claimName) || !has(self.image)",
            "set claimName or image, not both: there is one mountPath",
            field_path=".image",
        ),
    )

    claim_name: str | None = Field(
        None, max_length=253, description="PersistentVolumeClaim in the namespace of the Pool"
    )
    image: str | None = Field(
        None,
        max_length=512,
        description="OCI image with the model folders, mounted as an image volume. Needs Kubernetes 1.35, or 1.33 with "
        "the feature gate ImageVolume; elsewhere the API server drops the volume",
    )
    mount_path: str = Field(
        "/models", pattern=r"^/[A-Za-z0-9._/-]+$", max_length=253, description="Mount path in the worker pods"
    )

    @model_validator(mode="after")
    def _one_volume(self) -> WeightsVolume:
        if self.claim_name and self.image:
            raise ValueError("set claimName or image, not both")
        return self


class HeadResources(ComputeResources):
    """Resource requests and limits of the head pod."""

    cpu: Quantity = Field("500m", description="CPU request")


class WorkerResources(ComputeResources):
    """Resource requests and limits of a worker pod."""

    cpu: Quantity = Field("2", description="CPU request")
    memory: Quantity = Field("6Gi", description="Memory request")


class HeadSpec(KubeContract):
    """The Ray head. It schedules; no picture passes through it."""

    resources: HeadResources = HeadResources()
    node_selector: NodeSelector = Field({}, description="Node labels that the head pod requires")
    tolerations: tuple[Toleration, ...] = Field((), max_length=32, description="Tolerations of the head pod")


class WorkerSpec(KubeContract):
    """The Ray worker pods that run the models."""

    cel: ClassVar[tuple[CELRule, ...]] = (
        CELRule(
            "self.maxReplicas >= self.minReplicas",
            "maxReplicas must be at least minReplicas",
            field_path=".maxReplicas",
        ),
    )

    min_replicas: int = Field(1, ge=0, le=1000, description="Minimum number of worker pods")
    max_replicas: int = Field(
        1, ge=1, le=1000, description="Maximum number of worker pods; Ray adds pods as the models need them"
    )
    idle_timeout_seconds: int = Field(
        300, ge=10, le=86400, description="Seconds after which an idle worker pod is removed"
    )
    gpus: int = Field(0, ge=0, le=16, description="GPUs per worker pod")
    gpu_resource: str = Field(
        "nvidia.com/gpu",
        pattern=r"^[a-z0-9.-]+/[A-Za-z0-9._-]+$",
        max_length=253,
        description="Name of the GPU resource",
    )
    resources: WorkerResources = WorkerResources()
    shared_memory: str = Field("1Gi", pattern=r"^[0-9]+(Mi|Gi)$", description="Size of /dev/shm")
    node_selector: NodeSelector = Field({}, description="Node labels that the worker pods require")
    tolerations: tuple[Toleration, ...] = Field((), max_length=32, description="Tolerations of the worker pods")
    runtime_class_name: str | None = Field(
        None, max_length=253, description="RuntimeClass of the worker pods, if the GPUs need one"
    )

    @model_validator(mode="after")
    def _validate(self) -> WorkerSpec:
        if self.max_replicas < self.min_replicas:
            raise ValueError("maxReplicas must be at least minReplicas")
        return self


class PoolSpec(KubeContract):
    """Desired state of a Pool."""

    image: str | None = Field(None, max_length=512, description="Inference image; unset: the image of the release")
    head: HeadSpec = HeadSpec()
    workers: WorkerSpec = WorkerSpec()
    weights: WeightsVolume = WeightsVolume()
    allowed_licenses: tuple[Annotated[str, Field(max_length=128)], ...] = Field(
        (),
        max_length=64,
        description="SPDX identifiers of the licenses that models in this Pool may have; empty: any license",
        json_schema_extra={"x-kubernetes-list-type": "set"},
    )


class PoolStatus(KubeContract):
    """Observed state of a Pool. Conditions: ``Ready``, ``CapacityAvailable``."""

    observed_generation: int = Field(0, description="metadata.generation that this status describes")
    conditions: Conditions = ()
    ray_service: str | None = Field(None, description="Name of the RayService")
    workers: int = Field(0, description="Ready worker pods")
    desired_workers: int = Field(0, description="Worker pods that Ray currently wants")
    models: int = Field(0, description="Model versions served by this Pool")


class Pool(Resource):
    """A Ray cluster with one kind of GPU (or with CPUs only) that runs Models."""

    cel: ClassVar[tuple[CELRule, ...]] = (NAME_RULE,)

    kind: Literal["Pool"]
    spec: PoolSpec
    status: PoolStatus | None = None
