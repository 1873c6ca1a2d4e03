"""Model: what people edit. ModelVersion: one version of it, made by the operator, immutable like a ReplicaSet."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, model_validator

from matte_core.contracts.k8s.common import NAME_RULE, Conditions, KubeContract, Name, Resource, SemVer, list_map
from matte_core.contracts.k8s.rollout import RolloutSpec, RolloutStatus
from matte_core.contracts.k8s.rules import CELRule, immutable


class Family(StrEnum):
    """The model families that inference has."""

    GRABCUT = "grabcut"
    UNET = "unet"
    TRANSFORMERS = "transformers"
    BIREFNET = "birefnet"
    SAM2 = "sam2"
    GRADIO = "gradio"


#: families that load weights from ``source``
FAMILIES_WITH_WEIGHTS = frozenset({Family.UNET, Family.TRANSFORMERS, Family.BIREFNET, Family.SAM2})
#: the schemes that ``source`` takes; :mod:`matte_core.domain.source` reads the rest
SOURCE_PATTERN = r"^(file:///|(s3|gs|hf|mlflow|oci|pvc)://)[^\s]*$"
DIGEST_PATTERN = r"^sha256:[0-9a-f]{64}$"
#: fields (as on the wire) that may change without a new ``version``, as in a ReplicaSet
MUTABLE_FIELDS = frozenset({"replicas"})


class ReplicaResources(KubeContract):
    """What Ray reserves for one replica."""

    cel: ClassVar[tuple[CELRule, ...]] = (
        CELRule(
            "self.gpus < 1.0 || self.gpus == double(int(self.gpus))", "gpus must be whole, or a part of one below 1"
        ),
    )

    cpus: float = Field(0.5, ge=0, le=256, description="CPU cores")
    gpus: float = Field(0, ge=0, le=16, description="whole ones, or a part of one below 1")

    @model_validator(mode="after")
    def _whole_gpus(self) -> ReplicaResources:
        if self.gpus >= 1 and self.gpus != int(self.gpus):
            raise ValueError("gpus must be whole, or a part of one below 1")
        return self


class Batching(KubeContract):
    """Pictures that go through the network together."""

    max_size: int = Field(8, ge=1, le=256, description="pictures at most")
    wait_seconds: float = Field(0, ge=0, le=5, description="how long a picture waits for others")


class GradioBackend(KubeContract):
    """Another Gradio app that serves this model."""

    cel: ClassVar[tuple[CELRule, ...]] = (
        CELRule(
            "isURL(self.url) && !self.url.contains('@')",
            "url must be http(s)://host[:port][/path], without user or password",
            field_path=".url",
        ),
    )

    url: str = Field(pattern=r"^https?://[^\s@]+$", max_length=2048, description="its root address, without password")
    api_name: str = Field(
        "/remove_background",
        pattern=r"^/[A-Za-z0-9_/-]+$",
        max_length=253,
        description="endpoint: picture in, picture out",
    )


class Remote(KubeContract):
    """A backend that is not ours."""

    gradio: GradioBackend = Field(description="another Gradio app")


class VersionParameters(KubeContract):
    """What makes a version what it is; a change of any of these, ``replicas`` excepted, needs a new ``version``."""

    cel: ClassVar[tuple[CELRule, ...]] = (
        CELRule(
            "has(self.family) != has(self.remote)",
            "exactly one of family (a model that runs in the Pool) and remote (another app) must be set",
        ),
        CELRule(
            f"!has(self.family) || self.family != '{Family.GRADIO}'",
            "another Gradio app is named by remote.gradio.url, not by a family",
            field_path=".family",
        ),
        CELRule(
            f"!has(self.family) || !(self.family in {sorted(map(str, FAMILIES_WITH_WEIGHTS))}) || has(self.source)",
            "this family needs source, the folder with its weights, such as file:///models/portrait",
            message_expression="'family ' + self.family + ' needs source, the folder with its weights, such as"
            " file:///models/portrait'",
        ),
        CELRule("!has(self.remote) || !has(self.source)", "a remote model has no source", field_path=".source"),
    )

    pool: Name = Field("default", description="Pool that runs it")
    family: Family | None = Field(None, description="how the model is run; none for a remote one")
    source: str | None = Field(
        None,
        pattern=SOURCE_PATTERN,
        max_length=2048,
        description="folder with the weights: file:///models/NAME, pvc://CLAIM/FOLDER, s3://BUCKET/FOLDER,"
        " gs://BUCKET/FOLDER, hf://ORG/REPO@REVISION, oci://REGISTRY/REPOSITORY:TAG, mlflow:///models/NAME/VERSION",
    )
    digest: str | None = Field(
        None, pattern=DIGEST_PATTERN, description="what the folder must hold; none: what it holds when it is first seen"
    )
    public_keys: tuple[Annotated[str, Field(max_length=4096)], ...] = Field(
        (), max_length=8, description="PEM; one of them must have signed the folder; none: no signature is asked for"
    )
    remote: Remote | None = Field(
        None, description="another Gradio app that serves the model, instead of family and source"
    )
    parameters: dict[str, Any] = Field(
        {},
        description="the family's own",
        max_length=64,
        json_schema_extra={"x-kubernetes-preserve-unknown-fields": True},
    )
    license: str | None = Field(None, max_length=128, description="SPDX identifier")
    replicas: int = Field(1, ge=1, le=1000, description="processes that run it at once")
    slots: int = Field(2, ge=1, le=64, description="jobs that a replica holds at once")
    threads: int = Field(1, ge=1, le=256, description="CPU threads of one forward")
    resources: ReplicaResources = ReplicaResources()
    batching: Batching = Batching()

    @model_validator(mode="after")
    def _exactly_one_backend(self) -> VersionParameters:
        if (self.family is None) == (self.remote is None):
            raise ValueError("exactly one of family and remote must be set")
        if self.family is Family.GRADIO:
            raise ValueError("another Gradio app is named by remote.gradio.url, not by a family")
        if self.family in FAMILIES_WITH_WEIGHTS and self.source is None:
            raise ValueError(f"family {self.family} needs source")
        if self.remote and self.source:
            raise ValueError("a remote model has no source")
        return self


def immutable_fields() -> tuple[str, ...]:
    """The fields, as on the wire, that belong to a version for good."""
    names = (field.alias or name for name, field in VersionParameters.model_fields.items())
    return tuple(name for name in names if name not in MUTABLE_FIELDS)


class TrafficTarget(KubeContract):
    """A version's share."""

    version: SemVer = Field(description="a version that exists")
    weight: int = Field(ge=0, le=100, description="per cent")


class TrafficRule(KubeContract):
    """Jobs that one version answers whatever the weights: all that is named must hold."""

    cel: ClassVar[tuple[CELRule, ...]] = (
        CELRule("has(self.header) || (has(self.tenants) && size(self.tenants) > 0)", "a rule needs tenants or header"),
        CELRule("!has(self.values) || size(self.values) == 0 || has(self.header)", "values are those of a header"),
    )

    version: SemVer = Field(description="a version that exists; while it has no route, the rule is passed over")
    tenants: tuple[Annotated[str, Field(max_length=128)], ...] = Field(
        (), max_length=64, description="one of these; none: any"
    )
    header: str | None = Field(None, pattern=r"^[A-Za-z0-9-]{1,64}$", description="name of a request header")
    values: tuple[Annotated[str, Field(max_length=256)], ...] = Field(
        (),
        max_length=64,
        description="one of these, exactly, alone or in a list with commas; none: the header is there",
    )

    @model_validator(mode="after")
    def _validate(self) -> TrafficRule:
        if not self.header and not self.tenants:
            raise ValueError("a rule needs tenants or header")
        if self.values and not self.header:
            raise ValueError("values are those of a header")
        return self


class TrafficMirror(KubeContract):
    """Jobs that a version computes beside the one that answers: its masks are compared, nobody sees them."""

    version: SemVer = Field(description="one of traffic, with weight 0 or more")
    percent: int = Field(ge=1, le=100, description="of the jobs of the other version with the most traffic")


class ModelSpec(VersionParameters):
    """What people ask for. A new ``version`` replaces the old one by ``rollout``, or at once when it is ready, unless
    ``traffic`` says else.
    """

    cel: ClassVar[tuple[CELRule, ...]] = (
        CELRule(
            "!has(self.traffic) || size(self.traffic) == 0 || self.traffic.map(t, t.weight).sum() == 100",
            "the weights must sum to 100",
            field_path=".traffic",
        ),
        CELRule(
            "!has(self.mirror) || (has(self.traffic) && self.traffic.exists(t, t.version == self.mirror.version))",
            "mirror.version must be one of traffic, with weight 0 at least; a rollout mirrors by itself",
            field_path=".mirror",
        ),
        CELRule(
            "!has(self.rollout) || !has(self.traffic) || size(self.traffic) == 0",
            "traffic and rollout exclude each other: explicit shares, or a new version that takes over by itself",
            field_path=".rollout",
        ),
        *immutable(
            immutable_fields(),
            "cannot change within a version: give spec.version a new value together with it",
            unless="self.version != oldSelf.version",
        ),
    )

    version: SemVer = Field(description="a new value starts a new ModelVersion; an earlier one is the way back")
    default: bool = Field(default=False, description="serve the paths that name no model")
    traffic: tuple[TrafficTarget, ...] = Field(
        (),
        max_length=16,
        description="explicit shares, of versions that exist; none: all to the newest ready one",
        json_schema_extra=list_map("version"),
    )
    mirror: TrafficMirror | None = Field(
        None, description="with traffic: a version that computes some jobs too, for comparison"
    )
    rules: tuple[TrafficRule, ...] = Field(
        (),
        max_length=32,
        description="jobs that one version answers whatever the shares; the first that holds wins",
        json_schema_extra={"x-kubernetes-list-type": "atomic"},
    )
    rollout: RolloutSpec | None = Field(
        None, description="how a new version takes over; none: at once, when it is ready"
    )

    @model_validator(mode="after")
    def _validate_traffic(self) -> ModelSpec:
        if self.traffic and self.rollout:
            raise ValueError("traffic and rollout exclude each other")
        if self.mirror and self.mirror.version not in {target.version for target in self.traffic}:
            raise ValueError("mirror.version must be one of traffic")
        versions = [target.version for target in self.traffic]
        if len(set(versions)) != len(versions):
            raise ValueError("traffic: a version is named twice")
        total = sum(target.weight for target in self.traffic)
        if self.traffic and total != 100:
            raise ValueError(f"traffic: the weights sum to {total}, they must sum to 100")
        return self


class ServedTraffic(KubeContract):
    """The share that a version has now."""

    version: str
    weight: int = Field(description="per cent")
    ready: bool = Field(description="whether it answers")


class ModelStatus(KubeContract):
    """What became of it. Condition: ``Ready`` (a version answers), ``Progressing`` (another one is on its way)."""

    observed_generation: int = Field(0, description="generation of the spec that this status is about")
    conditions: Conditions = ()
    ready_version: str | None = Field(None, description="newest version that answers")
    replicas: int = Field(0, description="replicas of the spec's version that run")
    traffic: tuple[ServedTraffic, ...] = Field((), json_schema_extra=list_map("version"))
    rollout: RolloutStatus | None = Field(None, description="how far the rollout is")


class Model(Resource):
    """A segmentation model: which family runs it, from which weights, in which Pool, and its versions' traffic."""

    cel: ClassVar[tuple[CELRule, ...]] = (NAME_RULE,)

    kind: Literal["Model"]
    spec: ModelSpec
    status: ModelStatus | None = None


class ModelVersionSpec(VersionParameters):
    """Made by the operator from a Model. Immutable, ``replicas`` excepted."""

    cel: ClassVar[tuple[CELRule, ...]] = immutable(
        ("model", "version", *immutable_fields()),
        "of a ModelVersion cannot change: give spec.version of its Model a new value instead",
    )

    model: Name = Field(description="Model that it belongs to")
    version: SemVer = Field(description="version of that Model")


class ModelVersionStatus(KubeContract):
    """What became of it. Conditions: ``Verified``, ``Ready``, ``Serving``."""

    observed_generation: int = Field(0, description="generation of the spec that this status is about")
    conditions: Conditions = ()
    application: str | None = Field(None, description="name of the Serve application")
    digest: str | None = Field(None, description="of the folder, as it was checked; every replica checks it again")
    license: str | None = Field(None, description="as the folder says it, or else the Model")
    rollout: RolloutStatus | None = Field(None, description="the story of its rollout")


class ModelVersion(Resource):
    """One version of a Model. The operator makes it; it never changes. Edit the Model instead."""

    cel: ClassVar[tuple[CELRule, ...]] = (
        CELRule(
            "size(self.metadata.name) <= 63 && !self.metadata.name.contains('.')",
            "metadata.name must be of at most 63 characters, without dots",
        ),
    )

    kind: Literal["ModelVersion"]
    spec: ModelVersionSpec
    status: ModelVersionStatus | None = None
