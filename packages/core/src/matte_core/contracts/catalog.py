"""Which models and versions there are, and how traffic is split between them."""

from __future__ import annotations

from typing import Annotated, Any

import semver
from pydantic import AfterValidator, Field, model_validator

from matte_core.contracts.base import Contract


def _semver(value: str) -> str:
    semver.Version.parse(value)  # ValueError says what is wrong
    return value


PoolName = Annotated[str, Field(pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$", max_length=40)]
ModelName = Annotated[str, Field(pattern=r"^[a-z0-9]([-a-z0-9]{0,51}[a-z0-9])?$")]
Version = Annotated[str, AfterValidator(_semver)]
#: of a version's folder: over its canonical manifest
Digest = Annotated[str, Field(pattern=r"^sha256:[0-9a-f]{64}$")]


class VersionConfig(Contract):
    """One version of a model as inference loads it."""

    model: ModelName
    version: Version
    family: str
    source: str | None = Field(None, description="where the folder with the safetensors lies: an address, or a path")
    digest: Digest | None = Field(None, description="pinned: of the folder at source; another one is not loaded")
    parameters: dict[str, Any] = Field(default={}, description="the family's own")
    license: str | None = None
    replicas: int = Field(1, ge=1)
    num_cpus: float = Field(0.1, ge=0, description="per replica, what Ray reserves")
    num_gpus: float = Field(0.0, ge=0, description="per replica")
    slots: int = Field(2, ge=1, description="jobs a replica holds at once")
    threads: int = Field(1, ge=1, description="CPU threads of one forward")
    max_batch_size: int = Field(8, ge=1)
    batch_wait_seconds: float = Field(0.0, ge=0)
    drain_seconds: float = Field(60.0, ge=0, description="what runs may end before a replica goes")

    @property
    def app(self) -> str:
        """The name of its Serve application."""
        return app_name(self.model, self.version)


def app_name(model: str, version: str) -> str:
    """The Serve application of a model version: a DNS label."""
    return f"{model}-{version}".replace(".", "-").replace("+", "-")


class Arm(Contract):
    """One version's share of a model's traffic."""

    version: Version
    weight: int = Field(ge=0, le=100, description="per cent")


class Mirror(Contract):
    """Jobs that ``version`` computes as well, of the other arm with the most traffic; nobody sees its answers."""

    version: Version
    percent: int = Field(ge=0, le=100)


class Rule(Contract):
    """Jobs that one version answers whatever the weights: all that is named must hold. The first rule that holds wins.

    A rule whose version has no arm is passed over.
    """

    version: Version
    tenants: tuple[str, ...] = Field((), description="one of these; none: any")
    header: str | None = Field(None, pattern=r"^[A-Za-z0-9-]{1,64}$", description="name of a request header")
    values: tuple[str, ...] = Field(
        (), description="one of these, exactly, alone or in a list with commas; none: the header is there"
    )


class Route(Contract):
    """How a model's unpinned traffic is split. A version with weight 0 answers pins, rules and mirrored jobs only."""

    model: ModelName
    arms: tuple[Arm, ...] = Field(min_length=1)
    mirror: Mirror | None = None
    rules: tuple[Rule, ...] = Field((), max_length=64)

    @model_validator(mode="after")
    def _whole(self) -> Route:
        versions = [arm.version for arm in self.arms]
        if len(set(versions)) != len(versions):
            raise ValueError(f"model {self.model}: a version is named twice")
        total = sum(arm.weight for arm in self.arms)
        if total != 100:
            raise ValueError(f"model {self.model}: weights sum to {total}, they must sum to 100")
        return self


class RouteTable(Contract):
    """The ``user_config`` of a pool's router: its models' routes. The default model answers ``/predict``.

    An empty table is sound: the router waits for a better one.
    """

    default_model: ModelName | None = None
    routes: tuple[Route, ...] = ()

    @model_validator(mode="after")
    def _known_default(self) -> RouteTable:
        names = [route.model for route in self.routes]
        if len(set(names)) != len(names):
            raise ValueError("a model is named twice")
        if self.default_model is not None and self.default_model not in names:
            raise ValueError(f"default model {self.default_model} has no route")
        return self

    def route(self, model: str) -> Route | None:
        """The route of a model, or None."""
        return next((route for route in self.routes if route.model == model), None)


class Replica(Contract):
    """A live replica as it announces itself."""

    id: str
    model: ModelName
    version: Version
    pool: PoolName = "default"
    family: str
    digest: str = Field(description="sha256:… over the weights, or over the family's code version")
    license: str | None = None
    slots: int
    device: str = "cpu"
    expires_at: float = Field(description="Unix seconds; silent until then: gone")


class VersionView(Contract):
    """A version as ``GET /models`` shows it."""

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
        None, description="that a picture of any size takes in a slot, fitted to recent ones; None: not measured yet"
    )
    seconds_per_megapixel: float | None = Field(None, description="that each of its megapixels takes beyond that")
    most_seconds_per_megapixel: float | None = Field(
        None, description="that a small picture takes in all, where that is less than the other two say"
    )


class ModelView(Contract):
    """A model as ``GET /models`` shows it."""

    name: ModelName
    default: bool
    ready: bool = Field(description="a picture sent now is answered by a replica that is there")
    served: bool = Field(default=True, description="a router takes its jobs; else they wait in the queue")
    queue_length: int
    versions: tuple[VersionView, ...]


class Catalog(Contract):
    """What there is: the body of ``GET /models``."""

    default_model: str | None = None
    models: tuple[ModelView, ...]

    def model(self, name: str | None) -> ModelView | None:
        """A model by name, or None."""
        return next((model for model in self.models if model.name == name), None)
