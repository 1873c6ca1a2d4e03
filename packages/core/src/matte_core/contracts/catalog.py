"""Models, their versions and replicas, and how traffic is split between versions."""

from __future__ import annotations

from typing import Annotated, Any

import semver
from pydantic import AfterValidator, Field, model_validator

from matte_core.contracts.base import Contract

PoolName = Annotated[str, Field(pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$", max_length=40)]
ModelName = Annotated[str, Field(pattern=r"^[a-z0-9]([-a-z0-9]{0,51}[a-z0-9])?$")]
Version = Annotated[str, AfterValidator(lambda text: str(semver.Version.parse(text)))]
#: SHA-256 of a version's canonical manifest
Digest = Annotated[str, Field(pattern=r"^sha256:[0-9a-f]{64}$")]


class VersionConfig(Contract):
    """One version of a model as inference loads it."""

    model: ModelName
    version: Version
    family: str
    source: str | None = Field(None, description="URL or path of the folder with the weights")
    digest: Digest | None = Field(None, description="expected digest of the folder; another one is not loaded")
    parameters: dict[str, Any] = Field(default={}, description="of the family")
    license: str | None = None
    replicas: int = Field(1, ge=1)
    num_cpus: float = Field(0.1, ge=0, description="reserved by Ray per replica")
    num_gpus: float = Field(0.0, ge=0, description="reserved by Ray per replica")
    slots: int = Field(2, ge=1, description="concurrent jobs per replica")
    threads: int = Field(1, ge=1, description="CPU threads of one forward pass")
    max_batch_size: int = Field(8, ge=1)
    batch_wait_seconds: float = Field(0.0, ge=0)
    drain_seconds: float = Field(60.0, ge=0, description="time for running jobs to finish before a replica stops")

    @property
    def app(self) -> str:
        return app_name(self.model, self.version)


def app_name(model: str, version: str) -> str:
    """Name of the version's Serve application: a DNS label."""
    return f"{model}-{version}".replace(".", "-").replace("+", "-")


class Arm(Contract):
    """One version's share of a model's traffic."""

    version: Version
    weight: int = Field(ge=0, le=100, description="percent")


class Mirror(Contract):
    """``version`` also computes a share of the jobs of the other arm with the most traffic; its results are dropped."""

    version: Version
    percent: int = Field(ge=0, le=100)


class Rule(Contract):
    """Sends matching jobs to one version, whatever the weights. All conditions must hold; the first matching rule wins.

    Rules whose version has no arm are ignored.
    """

    version: Version
    tenants: tuple[str, ...] = Field((), description="empty: any")
    header: str | None = Field(None, pattern=r"^[A-Za-z0-9-]{1,64}$", description="request header that must be present")
    values: tuple[str, ...] = Field(
        (), description="the header, or an item of its comma-separated list, equals one of these; empty: any value"
    )


class Route(Contract):
    """A model's traffic split. A version with weight 0 gets pinned, ruled and mirrored jobs only."""

    model: ModelName
    arms: tuple[Arm, ...] = Field(min_length=1)
    mirror: Mirror | None = None
    rules: tuple[Rule, ...] = Field((), max_length=64)

    @model_validator(mode="after")
    def _check_weights(self) -> Route:
        versions = [arm.version for arm in self.arms]
        if len(set(versions)) != len(versions):
            raise ValueError(f"model {self.model}: a version is named twice")
        total = sum(arm.weight for arm in self.arms)
        if total != 100:
            raise ValueError(f"model {self.model}: weights sum to {total}, they must sum to 100")
        return self


class RouteTable(Contract):
    """The ``user_config`` of a pool's router. The default model answers ``/predict``; an empty table is valid."""

    default_model: ModelName | None = None
    pending_default_model: ModelName | None = Field(
        None, description="becomes the default model once it can answer; None: default_model stays"
    )
    routes: tuple[Route, ...] = ()

    @model_validator(mode="after")
    def _check_models(self) -> RouteTable:
        names = [route.model for route in self.routes]
        if len(set(names)) != len(names):
            raise ValueError("a model is named twice")
        for default in (self.default_model, self.pending_default_model):
            if default is not None and default not in names:
                raise ValueError(f"default model {default} has no route")
        return self

    def route(self, model: str) -> Route | None:
        return next((route for route in self.routes if route.model == model), None)


class Replica(Contract):
    """What a live replica announces in Redis."""

    id: str
    model: ModelName
    version: Version
    pool: PoolName = "default"
    family: str
    digest: str = Field(description="sha256:… of the weights, or of the family's code version")
    license: str | None = None
    slots: int
    device: str = "cpu"
    expires_at: float = Field(
        description="Unix seconds; the replica is gone if it has not announced itself again by then"
    )


class Download(Contract):
    """How far the weights of a version that is not ready yet are, or why it cannot be loaded."""

    done: int = Field(0, ge=0, description="bytes on the machine that downloads")
    total: int = Field(0, ge=0, description="bytes of the version; 0: not known yet")
    error: str | None = Field(None, description="why it was not downloaded or loaded, and what to do")


class VersionView(Contract):
    """A version in ``GET /models``."""

    version: Version
    weight: int
    ready: bool
    replicas: int
    slots: int
    family: str | None = None
    digest: str | None = None
    license: str | None = None
    device: str | None = None
    seconds_per_picture: float | None = Field(
        None, description="fixed seconds per picture, fitted to recent jobs; None: not measured yet"
    )
    seconds_per_megapixel: float | None = Field(None, description="additional seconds per megapixel")
    most_seconds_per_megapixel: float | None = Field(
        None, description="upper bound on the total per megapixel, which applies to small pictures"
    )
    download: Download | None = Field(None, description="None: nothing is being downloaded, and nothing failed")


class ModelView(Contract):
    """A model in ``GET /models``."""

    name: ModelName
    default: bool
    ready: bool = Field(description="a live replica can take a job now")
    served: bool = Field(default=True, description="a router takes its jobs; otherwise they wait in the queue")
    queue_length: int
    versions: tuple[VersionView, ...]


class Catalog(Contract):
    """The body of ``GET /models``."""

    default_model: str | None = None
    pending_default_model: str | None = Field(
        None, description="becomes the default model once it can answer; until then default_model does"
    )
    models: tuple[ModelView, ...]

    def model(self, name: str | None) -> ModelView | None:
        return next((model for model in self.models if model.name == name), None)
