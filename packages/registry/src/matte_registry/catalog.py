"""The catalog of known models: what they are, under which license, and where their weights can be had.

One YAML file per model, in ``models/``. A version is a folder with :data:`WEIGHTS_FILE`, fetched from the first of its
places that has it, and with ``matte.yaml`` and a model card, both written from its entry. So the digest of the folder
is known before anything is fetched.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Annotated, Any, Self

import yaml
from matte_core.contracts.base import Contract
from matte_core.contracts.family import Family
from matte_core.contracts.registry import (
    ModelMetadata,
    Postprocessing,
    Preprocessing,
    Reason,
    RemoteFile,
    Sha256,
    Triple,
)
from matte_core.domain.license import license_refusal
from pydantic import Field, StringConstraints, model_validator

from matte_registry.errors import RegistryError
from matte_registry.manifest import METADATA_FILE, folder_digest
from matte_registry.source_url import Scheme, Source, parse_source

WEIGHTS_FILE = "model.onnx"
CARD_FILE = "MODEL_CARD.md"

Text = Annotated[str, StringConstraints(min_length=1, max_length=4096, strip_whitespace=True)]


class Constants(Contract):
    """What ``matte.yaml`` says of a model's input and output."""

    size: int
    mean: Triple
    std: Triple
    preprocessing: Preprocessing = Preprocessing()
    postprocessing: Postprocessing = Postprocessing()
    parameters: dict[str, Any] = {}


class CatalogVersion(Contract):
    """One file of weights. Its content is what ``sha256`` says, wherever it comes from.

    ``license``, ``homepage`` and ``constants`` are those of the model, unless a version has its own.
    """

    version: str = Field(pattern=r"^\d+\.\d+\.\d+$")
    summary: Text
    provenance: Text = Field(description="where the file comes from, and who converted it")
    size: int = Field(gt=0, description="bytes")
    sha256: Sha256
    verified: bool = Field(
        description="whether we computed the hash from a download; else it is the one that several publishers name"
    )
    places: tuple[str, ...] = Field(min_length=1, description="npm:// or https://, the first that works is taken")
    license: Text | None = None
    homepage: str | None = Field(None, pattern=r"^https://\S+$")
    constants: Constants | None = None

    @model_validator(mode="after")
    def _check(self) -> Self:
        for place in self.places:
            if place_of(place, self.sha256).scheme not in {Scheme.NPM, Scheme.HTTPS}:
                raise ValueError(f"{place} is neither npm:// nor https://")
        return self


class CatalogModel(Contract):
    name: str = Field(pattern=r"^[a-z0-9][a-z0-9-]*$")
    title: Text
    description: Text
    aliases: tuple[str, ...] = ()
    license: Text = Field(description="SPDX expression, LicenseRef-…, or NOASSERTION where none was published")
    non_commercial: bool = Field(default=False, description="refused unless the license is allowed by name")
    authors: tuple[Text, ...] = Field(min_length=1)
    homepage: str = Field(pattern=r"^https://\S+$")
    training_data: Text
    limitations: Text
    default: str = Field(description="the version that the name alone means")
    constants: Constants
    versions: tuple[CatalogVersion, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _check(self) -> Self:
        known = [version.version for version in self.versions]
        if len(set(known)) < len(known) or self.default not in known:
            raise ValueError("versions must differ, and default must be one of them")
        for version in self.versions:
            self.metadata(version)
        return self

    def version(self, number: str | None) -> CatalogVersion | None:
        wanted = number or self.default
        return next((version for version in self.versions if version.version == wanted), None)

    def metadata(self, version: CatalogVersion) -> ModelMetadata:
        """Content of ``matte.yaml``. It has no card: a better description must not change the digest."""
        constants = (version.constants or self.constants).model_dump(exclude_unset=True)
        constants["parameters"] = {"file": WEIGHTS_FILE} | constants.get("parameters", {})
        return ModelMetadata(
            family=Family.ONNX,
            version=version.version,
            license=self.license_of(version),
            weights={WEIGHTS_FILE: f"sha256:{version.sha256}"},
            **constants,
        )

    def license_of(self, version: CatalogVersion) -> str:
        return version.license or self.license


@cache
def known_models() -> Mapping[str, CatalogModel]:
    """The models by name, sorted."""
    entries = files("matte_registry").joinpath("models").iterdir()
    models = [
        CatalogModel.model_validate(yaml.safe_load(entry.read_text(encoding="utf-8")))
        for entry in entries
        if entry.name.endswith(".yaml")
    ]
    return {model.name: model for model in sorted(models, key=lambda model: model.name)}


def is_known(name: str) -> bool:
    """Whether a name, with or without ``@VERSION``, is one of the catalog's."""
    return _by_name(name.partition("@")[0]) is not None


def find(source: Source) -> tuple[CatalogModel, CatalogVersion]:
    """The entry that a ``catalog://`` source names. Raises RegistryError if there is none."""
    model = _by_name(source.path)
    if model is None:
        known = ", ".join(known_models())
        raise RegistryError(
            Reason.SOURCE_NOT_FOUND, f"the catalog has no model {source.path}: it has {known} (matte models catalog)"
        )
    version = model.version(source.version)
    if version is None:
        known = ", ".join(version.version for version in model.versions)
        raise RegistryError(
            Reason.SOURCE_NOT_FOUND, f"the catalog has no version {source.version} of {model.name}: it has {known}"
        )
    return model, version


def place_of(text: str, sha256: str) -> Source:
    """A place of an entry; the hash of an ``https://`` one is the entry's. Raises ValueError."""
    return parse_source(f"{text}#sha256={sha256}" if text.startswith("https://") else text)


def check_terms(source: Source, allowed: frozenset[str], license: str | None) -> None:
    """Raises RegistryError (LICENSE_REFUSED) for a non-commercial model whose license nobody allowed by name."""
    if source.scheme is not Scheme.CATALOG:
        return
    model, version = find(source)
    terms, named = model.license_of(version), allowed | ({license} if license else set())
    if model.non_commercial and (not named or license_refusal(terms, named)):
        raise RegistryError(
            Reason.LICENSE_REFUSED,
            f"{source}: {model.title} is for non-commercial use only ({terms}, see"
            f" {version.homepage or model.homepage}). If that fits your use, allow it by name: --allow-license {terms},"
            f" or license: {terms} in the Model or the configuration of matte serve",
        )


def written_files(model: CatalogModel, version: CatalogVersion) -> dict[str, bytes]:
    """The files of a version that are written from its entry, by path."""
    metadata = model.metadata(version).model_dump(mode="json", exclude_unset=True)
    return {
        METADATA_FILE: yaml.safe_dump(metadata, sort_keys=False, allow_unicode=True, width=120).encode(),
        CARD_FILE: model_card(model, version).encode(),
    }


def listed_files(model: CatalogModel, version: CatalogVersion) -> list[RemoteFile]:
    """All files of a version."""
    written = written_files(model, version)
    listed = [
        RemoteFile(path=path, size=len(data), sha256=hashlib.sha256(data).hexdigest()) for path, data in written.items()
    ]
    return [*listed, RemoteFile(path=WEIGHTS_FILE, size=version.size, sha256=version.sha256)]


def digest_of(model: CatalogModel, version: CatalogVersion) -> str:
    """The digest of a version's folder."""
    return folder_digest({file.path: file.sha256 for file in listed_files(model, version) if file.sha256})


def model_card(model: CatalogModel, version: CatalogVersion) -> str:
    terms = model.license_of(version) + (", non-commercial use only" if model.non_commercial else "")
    return f"""# {model.title}

{model.description}

- version: {version.version}, {version.summary}
- license: {terms}
- authors: {", ".join(model.authors)}
- homepage: {version.homepage or model.homepage}
- file: `{WEIGHTS_FILE}`, {version.size / 1e6:.1f} MB, SHA-256 `{version.sha256}`

## Provenance

{version.provenance}

## Training data

{model.training_data}

## Limitations

{model.limitations}
"""


def _by_name(name: str) -> CatalogModel | None:
    models = known_models()
    return models.get(name) or next((model for model in models.values() if name in model.aliases), None)
