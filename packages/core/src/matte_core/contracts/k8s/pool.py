"""Pool: a Ray cluster of one kind of GPU (or of CPUs)."""

from __future__ import annotations

from pydantic import Field

from matte_core.contracts.k8s.common import ComputeResources, Condition, KubeContract, Name, Toleration


class WeightsVolume(KubeContract):
    """A volume with model folders, mounted read-only in every worker. Models name it by ``file:///models/…``."""

    claim_name: str | None = Field(None, max_length=253, description="PersistentVolumeClaim in the Pool's namespace")
    mount_path: str = Field("/models", pattern=r"^/[A-Za-z0-9._/-]+$", max_length=253)


class HeadSpec(KubeContract):
    """Ray's head: it schedules, and carries no picture."""

    resources: ComputeResources = ComputeResources(cpu="500m", memory="2Gi")
    node_selector: dict[str, str] = {}
    tolerations: tuple[Toleration, ...] = Field((), max_length=32)


class WorkerSpec(KubeContract):
    """The pods that models run in."""

    min_replicas: int = Field(1, ge=0, le=1000, description="worker pods that always run")
    max_replicas: int = Field(1, ge=1, le=1000, description="worker pods at most; Ray adds them as models need them")
    idle_timeout_seconds: int = Field(300, ge=10, le=86400, description="a worker without work ends after this long")
    gpus: int = Field(0, ge=0, le=16, description="GPUs per worker")
    gpu_resource: str = Field(
        "nvidia.com/gpu", pattern=r"^[a-z0-9.-]+/[A-Za-z0-9._-]+$", max_length=253, description="what a GPU is called"
    )
    resources: ComputeResources = ComputeResources(cpu="2", memory="6Gi")
    shared_memory: str = Field("1Gi", pattern=r"^[0-9]+(Mi|Gi)$", description="size of /dev/shm")
    node_selector: dict[str, str] = {}
    tolerations: tuple[Toleration, ...] = Field((), max_length=32)
    runtime_class_name: str | None = Field(None, max_length=253)


class PoolSpec(KubeContract):
    """What a platform team asks for."""

    image: str | None = Field(None, max_length=512, description="inference image; none: the one of the release")
    head: HeadSpec = HeadSpec()
    workers: WorkerSpec = WorkerSpec()
    weights: WeightsVolume = WeightsVolume()


class PoolStatus(KubeContract):
    """What became of it. Conditions: ``Ready``, ``CapacityAvailable``."""

    observed_generation: int = 0
    conditions: tuple[Condition, ...] = ()
    ray_service: str | None = Field(None, description="name of the RayService")
    workers: int = Field(0, description="workers that run and are ready")
    desired_workers: int = 0
    models: int = Field(0, description="model versions that this Pool serves")


class PoolRef(KubeContract):
    """Which Pool a model runs in."""

    name: Name = "default"
