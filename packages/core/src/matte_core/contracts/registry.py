"""Model versions at their sources: metadata, files, and why a version is refused."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, field_validator, model_validator

from matte_core.contracts.base import Contract
from matte_core.contracts.catalog import Digest, Version
from matte_core.contracts.family import HONORED_FIELDS, SIZE_MULTIPLE

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Triple = Annotated[tuple[float, float, float], Field(description="red, green, blue, of 0 … 1")]


class Reason(StrEnum):
    """Why a version cannot be used; becomes the ``reason`` of a Kubernetes condition."""

    SOURCE_INVALID = "SourceInvalid"
    SOURCE_NOT_FOUND = "SourceNotFound"
    WEIGHTS_MISSING = "WeightsMissing"
    ACCESS_DENIED = "AccessDenied"
    SOURCE_UNAVAILABLE = "SourceUnavailable"
    SOURCE_CHANGED = "SourceChanged"
    CLIENT_MISSING = "ClientMissing"
    FILE_REFUSED = "FileRefused"
    TOO_LARGE = "TooLarge"
    NO_WEIGHTS = "NoWeights"
    METADATA_INVALID = "MetadataInvalid"
    DIGEST_MISMATCH = "DigestMismatch"
    SIGNATURE_INVALID = "SignatureInvalid"
    LICENSE_REFUSED = "LicenseRefused"
    CACHE_FULL = "CacheFull"
    WEIGHTS_UNUSABLE = "WeightsUnusable"
    DEVICE_UNAVAILABLE = "DeviceUnavailable"


#: 255 may be written as a number
Scale = Annotated[Literal["255", "max"], BeforeValidator(lambda value: "255" if value == 255 else value)]


class Preprocessing(Contract):
    """How a picture becomes the network's input."""

    resize: Literal["stretch", "letterbox"] = Field(
        "stretch", description="letterbox keeps the aspect ratio and pads with black on the right and below"
    )
    filter: Literal["area", "lanczos"] = Field(
        "area", description="how the picture is resized; lanczos as in Pillow, which several published models expect"
    )
    scale: Scale = Field("255", description="pixel values are divided by 255, or by the picture's largest value")
    multiple: int | None = Field(
        None, ge=1, le=256, description="input sides are multiples of this, the longer one at most size; for networks"
        " with dynamic axes. By default the input is a square of size"
    )  # fmt: skip


class Postprocessing(Contract):
    """How the network's output becomes the alpha."""

    activation: Literal["sigmoid", "softmax", "argmax", "none"] = Field(
        "sigmoid", description="none: the output is already an alpha; softmax and argmax: over classes"
    )
    normalize: Literal["none", "min-max"] = Field(
        "none", description="min-max: the alpha is stretched to 0 … 1, unless the picture has no subject"
    )
    refine: Literal["none", "guided"] = Field("none", description="guided: guided filter along the picture's edges")


class Card(Contract):
    """Information for people; has no effect on results."""

    title: str | None = Field(None, max_length=128)
    description: str | None = Field(None, max_length=4096)
    authors: tuple[str, ...] = ()
    homepage: str | None = Field(None, pattern=r"^https?://\S+$", max_length=2048)
    training_data: str | None = Field(None, max_length=4096)
    limitations: str | None = Field(None, max_length=4096)
    metrics: dict[str, float] = Field({}, max_length=64, description="name with data set and unit, such as iou/p3m")


class ModelMetadata(Contract):
    """Content of ``matte.yaml`` in a version's folder; every field that is set must be one that the family honors."""

    family: str = Field(description="implementation that runs the model")
    version: Version | None = None
    license: str = Field(min_length=1, max_length=128, description="SPDX expression")
    size: int | None = Field(None, ge=16, le=8192, description="side of the network's square input in pixels")
    mean: Triple | None = None
    std: Triple | None = None
    weights: dict[str, Digest] = Field({}, description="digests of the weight files by path")
    parameters: dict[str, Any] = Field({}, max_length=64, description="of the family")
    preprocessing: Preprocessing = Preprocessing()
    postprocessing: Postprocessing = Postprocessing()
    card: Card = Card()

    @field_validator("family")
    @classmethod
    def _check_family(cls, family: str) -> str:
        if family not in HONORED_FIELDS:
            raise ValueError(f"{family[:63]!r} is no family with weights: name one of {', '.join(HONORED_FIELDS)}")
        return family

    @model_validator(mode="after")
    def _check_fields(self) -> Self:
        honored = HONORED_FIELDS[self.family]
        if unused := sorted(self._settings().keys() - honored):
            raise ValueError(
                f"the family {self.family} does not use {', '.join(unused)}: remove it from matte.yaml"
                f" (it uses {', '.join(sorted(honored))})"
            )
        if (self.mean is None) != (self.std is None):
            raise ValueError("mean and std belong together")
        multiple = SIZE_MULTIPLE.get(self.family, 1)
        if self.size is not None and self.size % multiple:
            raise ValueError(f"size must be a multiple of {multiple} for the family {self.family}: change {self.size}")
        return self

    @property
    def family_parameters(self) -> dict[str, Any]:
        """What the file sets, by the names of the family's parameters."""
        return {path.partition(".")[2] or path: value for path, value in self._settings().items()}

    def _settings(self) -> dict[str, Any]:
        """What the file sets, by path: ``size``, ``preprocessing.resize``, ``parameters.NAME``."""
        sections: dict[str, dict[str, Any]] = {
            "preprocessing": self.preprocessing.model_dump(exclude_unset=True),
            "postprocessing": self.postprocessing.model_dump(exclude_unset=True),
            "parameters": self.parameters,
        }
        network = {name: getattr(self, name) for name in ("size", "mean", "std") if getattr(self, name) is not None}
        return network | {
            f"{part}.{name}": value for part, fields in sections.items() for name, value in fields.items()
        }


class RemoteFile(Contract):
    path: str
    size: int = Field(ge=0, description="bytes")
    sha256: Sha256 | None = Field(None, description="as reported by the source; verified after the download")
    tag: str = Field("", description="changes with the content: an ETag or git blob id")


class Listing(Contract):
    """Files of a version at a source."""

    source: str = Field(description="pinned to a commit or digest where the source supports it")
    files: tuple[RemoteFile, ...]
    excluded: dict[str, str] = Field({}, description="files that are ignored, with the reason")

    @property
    def size(self) -> int:
        """Total bytes."""
        return sum(file.size for file in self.files)

    def file(self, path: str) -> RemoteFile | None:
        return next((file for file in self.files if file.path == path), None)


class StoredVersion(Contract):
    """A version in the listing of a registry."""

    source: str
    digest: Digest | None = Field(None, description="None: not computed when the version was pushed")
    size: int | None = Field(None, description="bytes")
    label: str | None = Field(None, description="the version, tag or branch")
