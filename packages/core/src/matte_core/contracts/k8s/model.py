"""Model: what people edit. ModelVersion: one version of it, made by the operator, immutable like a ReplicaSet."""

from __future__ import annotations

from enum import StrEnum
from typing import Any

from pydantic import Field, model_validator

from matte_core.contracts.k8s.common import Condition, KubeContract, Name, SemVer


class Family(StrEnum):
    """The model families that inference has."""

    GRABCUT = "grabcut"
    UNET = "unet"
    TRANSFORMERS = "transformers"
    GRADIO = "gradio"


#: families that load weights from ``source``
WITH_WEIGHTS = frozenset({Family.UNET, Family.TRANSFORMERS})


class ReplicaResources(KubeContract):
    """What Ray reserves for one replica."""

    cpus: float = Field(0.5, ge=0, le=256)
    gpus: float = Field(0, ge=0, le=16, description="whole ones, or a part of one below 1")


class Batching(KubeContract):
    """Pictures that go through the network together."""

    max_size: int = Field(8, ge=1, le=256)
    wait_seconds: float = Field(0, ge=0, le=5)


class GradioBackend(KubeContract):
    """Another Gradio app that serves this model."""

    url: str = Field(pattern=r"^https?://[^\s]+$", max_length=2048, description="its root address")
    api_name: str = Field(
        "/remove_background",
        pattern=r"^/[A-Za-z0-9_/-]+$",
        max_length=253,
        description="endpoint: picture in, picture out",
    )


class Remote(KubeContract):
    """A backend that is not ours."""

    gradio: GradioBackend


class VersionParameters(KubeContract):
    """What makes a version what it is; a change of any of these needs a new ``version``."""

    pool: Name = "default"
    family: Family | None = Field(None, description="how the model is run; none for a remote one")
    source: str | None = Field(
        None, pattern=r"^file:///[^\s]*$", max_length=2048, description="folder with the weights: file:///models/NAME"
    )
    remote: Remote | None = Field(
        None, description="another Gradio app that serves the model, instead of family and source"
    )
    parameters: dict[str, Any] = Field(
        {}, description="the family's own", json_schema_extra={"x-kubernetes-preserve-unknown-fields": True}
    )
    license: str | None = Field(None, max_length=128, description="SPDX identifier")
    replicas: int = Field(1, ge=1, le=1000)
    slots: int = Field(2, ge=1, le=64, description="jobs that a replica holds at once")
    threads: int = Field(1, ge=1, le=256, description="CPU threads of one forward")
    resources: ReplicaResources = ReplicaResources()
    batching: Batching = Batching()

    @model_validator(mode="after")
    def _one_backend(self) -> VersionParameters:
        if (self.family is None) == (self.remote is None):
            raise ValueError("exactly one of family and remote must be set")
        if self.family in WITH_WEIGHTS and self.source is None:
            raise ValueError(f"family {self.family} needs source")
        return self


class TrafficTarget(KubeContract):
    """A version's share."""

    version: SemVer
    weight: int = Field(ge=0, le=100, description="per cent")


class ModelSpec(VersionParameters):
    """What people ask for. A new ``version`` replaces the old one once it is ready, unless ``traffic`` says else."""

    version: SemVer
    default: bool = Field(default=False, description="serve the paths that name no model")
    traffic: tuple[TrafficTarget, ...] = Field(
        (), max_length=16, description="explicit shares, of versions that exist; none: all to the newest ready one"
    )

    @model_validator(mode="after")
    def _whole(self) -> ModelSpec:
        if self.traffic and sum(target.weight for target in self.traffic) != 100:
            raise ValueError("traffic: the weights must sum to 100")
        return self


class ServedTraffic(KubeContract):
    """The share that a version has now."""

    version: str
    weight: int
    ready: bool


class ModelStatus(KubeContract):
    """What became of it. Condition: ``Ready`` (a version answers), ``Progressing`` (another one is on its way)."""

    observed_generation: int = 0
    conditions: tuple[Condition, ...] = ()
    ready_version: str | None = None
    traffic: tuple[ServedTraffic, ...] = ()


class ModelVersionSpec(VersionParameters):
    """Made by the operator from a Model. Immutable."""

    model: Name
    version: SemVer


class ModelVersionStatus(KubeContract):
    """What became of it. Condition: ``Ready``."""

    observed_generation: int = 0
    conditions: tuple[Condition, ...] = ()
    application: str | None = Field(None, description="name of the Serve application")
