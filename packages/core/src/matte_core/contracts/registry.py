"""The registry: what a version's folder says of itself, what a source holds, and why one is refused."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from matte_core.contracts.base import Contract
from matte_core.contracts.catalog import Digest, Version
from matte_core.contracts.family import HONORED_FIELDS, SIZE_MULTIPLE

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Triple = Annotated[tuple[float, float, float], Field(description="red, green, blue, of 0 … 1")]


class Reason(StrEnum):
    """Why a version cannot be had; a condition's ``reason`` in Kubernetes."""

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


class Preprocessing(Contract):
    """From a picture to the network's input."""

    resize: Literal["stretch", "letterbox"] = Field(
        "stretch", description="letterbox keeps the aspect; the rest, right of and below the picture, is black"
    )


class Postprocessing(Contract):
    """From the network's output to the alpha."""

    activation: Literal["sigmoid", "none"] = Field("sigmoid", description="none: the output is an alpha already")
    refine: Literal["none", "guided"] = Field("none", description="guided: fitted to the picture's edges")


class Card(Contract):
    """For people: nothing here changes an answer."""

    title: str | None = Field(None, max_length=128)
    description: str | None = Field(None, max_length=4096)
    authors: tuple[str, ...] = ()
    homepage: str | None = Field(None, pattern=r"^https?://\S+$", max_length=2048)
    training_data: str | None = Field(None, max_length=4096)
    limitations: str | None = Field(None, max_length=4096)
    metrics: dict[str, float] = Field({}, max_length=64, description="name with data set and unit, such as iou/p3m")


class ModelMetadata(Contract):
    """``matte.yaml``: what a version's folder says of itself.

    Raises:
        ValueError: a field is set that the family does not honor (see ``HONORED_FIELDS``); the message names the
            field, the family and the fix.
    """

    family: str = Field(description="how the model is run")
    version: Version | None = None
    license: str = Field(min_length=1, max_length=128, description="SPDX expression")
    size: int | None = Field(None, ge=16, le=8192, description="side of the network's input, pixels")
    mean: Triple | None = None
    std: Triple | None = None
    weights: dict[str, Digest] = Field({}, description="the digest of each file of weights")
    parameters: dict[str, Any] = Field({}, max_length=64, description="the family's own")
    preprocessing: Preprocessing = Preprocessing()
    postprocessing: Postprocessing = Postprocessing()
    card: Card = Card()

    @field_validator("family")
    @classmethod
    def _has_weights(cls, family: str) -> str:
        if family not in HONORED_FIELDS:
            raise ValueError(f"{family[:63]!r} is no family with weights: name one of {', '.join(HONORED_FIELDS)}")
        return family

    @model_validator(mode="after")
    def _honored(self) -> Self:
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
    """A file at a source."""

    path: str
    size: int = Field(ge=0, description="bytes")
    sha256: Sha256 | None = Field(None, description="as the source knows it; checked after the download")
    tag: str = Field("", description="changes with the content, as far as the source knows: an ETag, a git blob")


class Listing(Contract):
    """What a source holds of a version, at one moment."""

    source: str = Field(description="pinned where the source can pin: a commit, a manifest's digest")
    files: tuple[RemoteFile, ...]
    excluded: dict[str, str] = Field({}, description="files that are not taken, with the reason")

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(file.size for file in self.files)

    def file(self, path: str) -> RemoteFile | None:
        """A file by its path, or None."""
        return next((file for file in self.files if file.path == path), None)


class StoredVersion(Contract):
    """A version as a registry lists it."""

    source: str
    digest: Digest | None = Field(None, description="None: nobody computed it when it was pushed")
    size: int | None = Field(None, description="bytes")
    label: str | None = Field(None, description="the version, tag or branch")
