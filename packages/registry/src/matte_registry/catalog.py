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
from matte_registry.manifest import METADATA_FILE
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
    """One file of weights. Its content is what ``sha256`` says, wherever it comes from."""

    version: str = Field(pattern=r"^\d+\.\d+\.\d+$")
    summary: Text
    provenance: Text = Field(description="where the file comes from, and who converted it")
    size: int = Field(gt=0, description="bytes")
    sha256: Sha256 | None = None
    md5: str | None = Field(None, pattern=r"^[0-9a-f]{32}$", description="where nobody has published a SHA-256")
    verified: bool = Field(description="whether the hash was computed from a download, and not taken from a web page")
    places: tuple[str, ...] = Field(min_length=1, description="npm:// or https://, the first that works is taken")

    @model_validator(mode="after")
    def _check(self) -> Self:
        if (self.sha256 is None) == (self.md5 is None):
            raise ValueError("exactly one of sha256 and md5")
        for place in self.places:
            if place_of(place, self.sha256).scheme not in {Scheme.NPM, Scheme.HTTPS}:
                raise ValueError(f"{place} is neither npm:// nor https://")
        return self


class CatalogModel(Contract):
    name: str = Field(pattern=r"^[a-z0-9][a-z0-9-]*$")
    title: Text
    description: Text
    aliases: tuple[str, ...] = ()
    license: Text = Field(description="SPDX expression, or LicenseRef-…")
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
        weights = {WEIGHTS_FILE: f"sha256:{version.sha256}"} if version.sha256 else {}
        constants = self.constants.model_dump(exclude_unset=True)
        constants["parameters"] = {"file": WEIGHTS_FILE} | self.constants.parameters
        return ModelMetadata(
            family=Family.ONNX, version=version.version, license=self.license, weights=weights, **constants
        )


@cache
def known_models() -> Mapping[str, CatalogModel]:
    """The models by name, sorted."""
    entries = sorted((entry for entry in files("matte_registry").joinpath("models").iterdir()), key=lambda e: e.name)
    models = [
        CatalogModel.model_validate(yaml.safe_load(entry.read_text(encoding="utf-8")))
        for entry in entries
        if entry.name.endswith(".yaml")
    ]
    return {model.name: model for model in models}


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


def place_of(text: str, sha256: str | None) -> Source:
    """A place of an entry; the hash of an ``https://`` one is the entry's. Raises ValueError."""
    return parse_source(f"{text}#sha256={sha256 or '0' * 64}" if text.startswith("https://") else text)


def check_terms(source: Source, allowed: frozenset[str], license: str | None) -> None:
    """Raises RegistryError (LICENSE_REFUSED) for a non-commercial model whose license nobody allowed by name."""
    if source.scheme is not Scheme.CATALOG:
        return
    model, _ = find(source)
    named = allowed | ({license} if license else set())
    if model.non_commercial and (not named or license_refusal(model.license, named)):
        raise RegistryError(
            Reason.LICENSE_REFUSED,
            f"{source}: {model.title} is for non-commercial use only ({model.license}, {model.homepage}). If that fits"
            f" your use, allow it by name: --allow-license {model.license}, license: {model.license} of the version, or"
            " allowedLicenses of the Pool",
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
    return [*listed, RemoteFile(path=WEIGHTS_FILE, size=version.size, sha256=version.sha256, tag=version.md5 or "")]


def model_card(model: CatalogModel, version: CatalogVersion) -> str:
    terms = f"{model.license}, non-commercial use only" if model.non_commercial else model.license
    stated = f"SHA-256 `{version.sha256}`" if version.sha256 else f"MD5 `{version.md5}`"
    lines = [
        f"# {model.title}",
        model.description,
        f"- version: {version.version}, {version.summary}",
        f"- license: {terms}",
        f"- authors: {', '.join(model.authors)}",
        f"- homepage: {model.homepage}",
        f"- file: `{WEIGHTS_FILE}`, {version.size / 1e6:.1f} MB, {stated}",
        f"## Provenance\n\n{version.provenance}",
        f"## Training data\n\n{model.training_data}",
        f"## Limitations\n\n{model.limitations}",
    ]
    return "\n\n".join(lines).replace("\n\n- ", "\n- ").replace("\n- version", "\n\n- version", 1) + "\n"


def _by_name(name: str) -> CatalogModel | None:
    models = known_models()
    return models.get(name) or next((model for model in models.values() if name in model.aliases), None)
