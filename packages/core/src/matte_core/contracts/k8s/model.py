"""Model: what people edit. ModelVersion: one version of it, made by the operator, immutable like a ReplicaSet."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, model_validator

from matte_core.contracts.family import FAMILIES_WITH_WEIGHTS, Family
from matte_core.contracts.k8s.common import NAME_RULE, Conditions, KubeContract, Name, Resource, SemVer, Time, list_map
from matte_core.contracts.k8s.rollout import RolloutSpec, RolloutStatus
from matte_core.contracts.k8s.rules import CELRule, immutable

#: the schemes that ``source`` takes; :mod:`matte_registry.source_url` reads the rest
SOURCE_PATTERN = r"^((file:///|(catalog|npm|s3|gs|hf|mlflow|oci|pvc)://)[^\s]*|https://[^\s#]+#sha256=[0-9a-f]{64})$"
DIGEST_PATTERN = r"^sha256:[0-9a-f]{64}$"
#: fields (as on the wire) that may change without a new ``version``, as in a ReplicaSet
MUTABLE_FIELDS = frozenset({"replicas"})


class ReplicaResources(KubeContract):
    """Resources that Ray reserves for one replica."""

    cel: ClassVar[tuple[CELRule, ...]] = (
        CELRule(
            "self.gpus < 1.0 || self.gpus == double(int(self.gpus))",
            "gpus must be a whole number, or a fraction below 1",
        ),
    )

    cpus: float = Field(0.5, ge=0, le=256, description="CPU cores that Ray reserves per replica")
    gpus: float = Field(
        0, ge=0, le=16, description="GPUs that Ray reserves per replica: a whole number, or a fraction below 1"
    )

    @model_validator(mode="after")
    def _whole_gpus(self) -> ReplicaResources:
        if self.gpus >= 1 and self.gpus != int(self.gpus):
            raise ValueError("gpus must be a whole number, or a fraction below 1")
        return self


class Batching(KubeContract):
    """How pictures are batched for the forward pass."""

    max_size: int = Field(8, ge=1, le=256, description="Maximum pictures per batch")
    wait_seconds: float = Field(0, ge=0, le=5, description="Seconds to wait for a batch to fill")


class GradioBackend(KubeContract):
    """Another Gradio app that serves the model."""

    cel: ClassVar[tuple[CELRule, ...]] = (
        CELRule(
            "isURL(self.url) && !self.url.contains('@')",
            "url must be http(s)://host[:port][/path], without user or password",
            field_path=".url",
        ),
    )

    url: str = Field(
        pattern=r"^https?://[^\s@]+$", max_length=2048, description="Root URL of the app, without user or password"
    )
    api_name: str = Field(
        "/remove_background",
        pattern=r"^/[A-Za-z0-9_/-]+$",
        max_length=253,
        description="Endpoint that takes a picture and returns one",
    )


class Remote(KubeContract):
    """A backend outside the Pool."""

    gradio: GradioBackend = Field(description="Another Gradio app")


class VersionParameters(KubeContract):
    """Parameters of a version. A change of any of them except ``replicas`` requires a new ``version``."""

    cel: ClassVar[tuple[CELRule, ...]] = (
        CELRule(
            "has(self.family) != has(self.remote)",
            "exactly one of family (a model that runs in the Pool) and remote (another app) must be set",
        ),
        CELRule(
            f"!has(self.family) || self.family != '{Family.GRADIO}'",
            "to use another Gradio app, set remote.gradio.url instead of family",
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

    pool: Name = Field("default", description="Pool that runs the model")
    family: Family | None = Field(None, description="Model family that runs the weights; unset for a remote model")
    source: str | None = Field(
        None,
        pattern=SOURCE_PATTERN,
        max_length=2048,
        description="Folder with the weights: file:///models/NAME, pvc://CLAIM/FOLDER, s3://BUCKET/FOLDER, "
        "gs://BUCKET/FOLDER, hf://ORG/REPO@REVISION, oci://REGISTRY/REPOSITORY:TAG, "
        "mlflow:///models/NAME/VERSION, npm://PACKAGE@VERSION/PATH, https://…#sha256=…; or a model that Matte knows: "
        "catalog://NAME@VERSION",
    )
    digest: str | None = Field(
        None,
        pattern=DIGEST_PATTERN,
        description="Required digest of the folder; unset: the digest it has when it is first seen",
    )
    public_keys: tuple[Annotated[str, Field(max_length=4096)], ...] = Field(
        (),
        max_length=8,
        description="Public keys in PEM, one of which must have signed the folder; empty: no signature is required",
    )
    remote: Remote | None = Field(
        None, description="Another Gradio app that serves the model, instead of family and source"
    )
    parameters: dict[str, Any] = Field(
        {},
        description="Parameters of the family",
        max_length=64,
        json_schema_extra={"x-kubernetes-preserve-unknown-fields": True},
    )
    license: str | None = Field(None, max_length=128, description="SPDX identifier of the license")
    replicas: int = Field(1, ge=1, le=1000, description="Number of replicas")
    slots: int = Field(2, ge=1, le=64, description="Maximum jobs that a replica holds at a time")
    threads: int = Field(1, ge=1, le=256, description="CPU threads per forward pass")
    resources: ReplicaResources = ReplicaResources()
    batching: Batching = Batching()

    @model_validator(mode="after")
    def _exactly_one_backend(self) -> VersionParameters:
        if (self.family is None) == (self.remote is None):
            raise ValueError("exactly one of family and remote must be set")
        if self.family is Family.GRADIO:
            raise ValueError("to use another Gradio app, set remote.gradio.url instead of family")
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
    """Traffic share of a version."""

    version: SemVer = Field(description="Existing version")
    weight: int = Field(ge=0, le=100, description="Share of the traffic in percent")


class TrafficRule(KubeContract):
    """A rule that sends matching jobs to one version. All of its criteria must match."""

    cel: ClassVar[tuple[CELRule, ...]] = (
        CELRule("has(self.header) || (has(self.tenants) && size(self.tenants) > 0)", "a rule needs tenants or header"),
        CELRule("!has(self.values) || size(self.values) == 0 || has(self.header)", "values need a header"),
    )

    version: SemVer = Field(
        description="Existing version that answers; the rule is skipped while that version has no route"
    )
    tenants: tuple[Annotated[str, Field(max_length=128)], ...] = Field(
        (), max_length=64, description="Tenants that the rule applies to; empty: all"
    )
    header: str | None = Field(None, pattern=r"^[A-Za-z0-9-]{1,64}$", description="Name of a request header")
    values: tuple[Annotated[str, Field(max_length=256)], ...] = Field(
        (),
        max_length=64,
        description="Values that match exactly, alone or in a comma-separated list; empty: the header is present",
    )

    @model_validator(mode="after")
    def _validate(self) -> TrafficRule:
        if not self.header and not self.tenants:
            raise ValueError("a rule needs tenants or header")
        if self.values and not self.header:
            raise ValueError("values need a header")
        return self


class TrafficMirror(KubeContract):
    """A version that also computes some of the jobs. Its masks are compared, and its answers are discarded."""

    version: SemVer = Field(description="A version listed in traffic; its weight may be 0")
    percent: int = Field(
        ge=1, le=100, description="Percentage of jobs to mirror, from the other version with the most traffic"
    )


class ModelSpec(VersionParameters):
    """Desired state of a Model.

    A new ``version`` takes over by ``rollout``, or as soon as it is ready, unless ``traffic`` sets explicit shares.
    """

    cel: ClassVar[tuple[CELRule, ...]] = (
        CELRule(
            "!has(self.traffic) || size(self.traffic) == 0 || self.traffic.map(t, t.weight).sum() == 100",
            "the weights must sum to 100",
            field_path=".traffic",
        ),
        CELRule(
            "!has(self.mirror) || (has(self.traffic) && self.traffic.exists(t, t.version == self.mirror.version))",
            "mirror.version must be listed in traffic (its weight may be 0); a rollout mirrors automatically",
            field_path=".mirror",
        ),
        CELRule(
            "!has(self.rollout) || !has(self.traffic) || size(self.traffic) == 0",
            "traffic and rollout are mutually exclusive: set explicit shares, or let new versions take over",
            field_path=".rollout",
        ),
        *immutable(
            immutable_fields(),
            "cannot change within a version: set spec.version to a new value at the same time",
            unless="self.version != oldSelf.version",
        ),
    )

    version: SemVer = Field(
        description="Version to serve. A new value creates a ModelVersion; an earlier value rolls back"
    )
    default: bool = Field(
        default=False, description="Serve the paths that name no model. Of several such Models the oldest does"
    )
    fallback: bool = Field(
        default=False,
        description="Serve the paths that name no model until the default Model has its first traffic, such as while "
        "its weights are downloaded; also if no Model is the default",
    )
    traffic: tuple[TrafficTarget, ...] = Field(
        (),
        max_length=16,
        description="Explicit traffic split between existing versions; empty: all traffic goes to the newest ready "
        "version",
        json_schema_extra=list_map("version"),
    )
    mirror: TrafficMirror | None = Field(
        None, description="With traffic: a version that also computes some of the jobs, for comparison"
    )
    rules: tuple[TrafficRule, ...] = Field(
        (),
        max_length=32,
        description="Rules that send jobs to one version regardless of the split; the first match wins",
        json_schema_extra={"x-kubernetes-list-type": "atomic"},
    )
    rollout: RolloutSpec | None = Field(None, description="How a new version takes over; unset: as soon as it is ready")

    @model_validator(mode="after")
    def _validate_traffic(self) -> ModelSpec:
        if self.traffic and self.rollout:
            raise ValueError("traffic and rollout are mutually exclusive")
        if self.mirror and self.mirror.version not in {target.version for target in self.traffic}:
            raise ValueError("mirror.version must be listed in traffic")
        versions = [target.version for target in self.traffic]
        if len(set(versions)) != len(versions):
            raise ValueError("traffic: a version is named twice")
        total = sum(target.weight for target in self.traffic)
        if self.traffic and total != 100:
            raise ValueError(f"traffic: the weights sum to {total}, they must sum to 100")
        return self


class ServedTraffic(KubeContract):
    """Current traffic share of a version."""

    version: str
    weight: int = Field(description="Share of the traffic in percent")
    ready: bool = Field(description="Whether the version can answer")


class ModelStatus(KubeContract):
    """Observed state of a Model. Conditions: ``Ready`` (a version answers), ``Progressing``, ``Stalled``."""

    observed_generation: int = Field(0, description="metadata.generation that this status describes")
    conditions: Conditions = ()
    ready_version: str | None = Field(None, description="Newest version that can answer")
    replicas: int = Field(0, description="Running replicas of spec.version")
    traffic: tuple[ServedTraffic, ...] = Field((), json_schema_extra=list_map("version"))
    rollout: RolloutStatus | None = Field(None, description="Progress of the rollout")


class Model(Resource):
    """A segmentation model: its family, weights, Pool and versions."""

    cel: ClassVar[tuple[CELRule, ...]] = (NAME_RULE,)

    kind: Literal["Model"]
    spec: ModelSpec
    status: ModelStatus | None = None


class ModelVersionSpec(VersionParameters):
    """Desired state of a ModelVersion, written by the operator. Immutable except for ``replicas``."""

    cel: ClassVar[tuple[CELRule, ...]] = immutable(
        ("model", "version", *immutable_fields()),
        "of a ModelVersion cannot change: set spec.version of its Model to a new value instead",
    )

    model: Name = Field(description="Model that the version belongs to")
    version: SemVer = Field(description="Version of the Model")


class DownloadStatus(KubeContract):
    """Progress of a download. It is written every few seconds at most."""

    done_bytes: int = Field(ge=0, description="Bytes that are there")
    total_bytes: int = Field(ge=0, description="Bytes of the version; 0: not known yet")
    percent: int = Field(0, ge=0, le=100, description="Share of the bytes that are there")
    last_update_time: Time = Field(description="Time when the numbers were observed")


class ModelVersionStatus(KubeContract):
    """Observed state of a ModelVersion. Conditions: ``Verified``, ``Ready``, ``Serving``."""

    observed_generation: int = Field(0, description="metadata.generation that this status describes")
    conditions: Conditions = ()
    application: str | None = Field(None, description="Name of the Serve application")
    digest: str | None = Field(None, description="Verified digest of the folder; every replica verifies it again")
    license: str | None = Field(None, description="License stated by the folder, or else by the Model")
    download: DownloadStatus | None = Field(
        None, description="Progress of the download of the weights, until the version is ready"
    )
    rollout: RolloutStatus | None = Field(None, description="Record of the rollout of this version")


class ModelVersion(Resource):
    """One version of a Model. It is created by the operator and immutable: edit the Model instead."""

    cel: ClassVar[tuple[CELRule, ...]] = (
        CELRule(
            "size(self.metadata.name) <= 63 && !self.metadata.name.contains('.')",
            "metadata.name must have at most 63 characters and no dots",
        ),
    )

    kind: Literal["ModelVersion"]
    spec: ModelVersionSpec
    status: ModelVersionStatus | None = None
