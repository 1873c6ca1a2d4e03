"""The catalog's entries, and what follows from them without a download."""

from __future__ import annotations

from dataclasses import replace

import pytest
import yaml
from matte_core.contracts.registry import ModelMetadata, Reason
from matte_core.domain.license import license_refusal
from matte_inference.families import onnx
from matte_inference.families.base import validate
from matte_registry.catalog import (
    CatalogModel,
    CatalogVersion,
    check_terms,
    digest_of,
    find,
    is_known,
    known_models,
    listed_files,
    model_card,
    place_of,
    written_files,
)
from matte_registry.errors import RegistryError
from matte_registry.folder import parse_metadata
from matte_registry.registry import Registry, VerificationPolicy
from matte_registry.settings import RegistrySettings
from matte_registry.source_url import Scheme, parse_source
from pydantic import ValidationError

#: A Model may pin these: another description, title or place of an entry must not change them.
DIGESTS = {
    "catalog://isnet@1.0.0": "sha256:39095c5548264b07ecf723520929e69f5230215ec1bf60a0459170d1d1a0d4cf",
    "catalog://isnet@1.1.0": "sha256:90694ec32d0d71cd2f81fdaabcc42982c77137eb042f2b5e3435b6f3095ebd7c",
}
VERSIONS = [(model, version) for model in known_models().values() for version in model.versions]
NAMES = [f"{model.name}@{version.version}" for model, version in VERSIONS]
each_version = pytest.mark.parametrize(("model", "version"), VERSIONS, ids=NAMES)


def test_it_has_the_models_that_people_ask_for() -> None:
    names = (
        "isnet u2net u2netp u2net-human-seg silueta isnet-anime birefnet birefnet-lite birefnet-portrait ben2 modnet"
    )
    assert known_models().keys() == {*names.split(), "rmbg"}
    assert list(known_models()) == sorted(known_models())
    assert is_known("isnet@1.1.0")
    assert is_known("u2net_human_seg")
    assert not is_known("portrait")


def test_names_and_aliases_are_unique() -> None:
    names = [name for model in known_models().values() for name in (model.name, *model.aliases)]
    assert sorted(set(names)) == sorted(names)


@each_version
def test_an_entry_makes_a_folder_that_its_family_loads(model: CatalogModel, version: CatalogVersion) -> None:
    files = written_files(model, version)
    metadata = parse_metadata(files["matte.yaml"], "matte.yaml")
    assert metadata == model.metadata(version)
    assert metadata.weights == {"model.onnx": f"sha256:{version.sha256}"}
    parameters = validate(onnx.Parameters, metadata.family_parameters, model.name)
    assert parameters.file == "model.onnx"
    card = files["MODEL_CARD.md"].decode()
    for text in (model.title, model.training_data, model.limitations, version.provenance, version.sha256):
        assert text in card
    assert model.license_of(version) in card
    assert {file.path for file in listed_files(model, version)} == {"matte.yaml", "MODEL_CARD.md", "model.onnx"}


@each_version
def test_places_are_exact(model: CatalogModel, version: CatalogVersion) -> None:
    places = [place_of(place, version.sha256) for place in version.places]
    assert len(places) > 1, f"{model.name} has only one place"
    assert len(set(places)) == len(places)
    assert all(place.pinned for place in places)
    assert all(place.path.endswith(".onnx") for place in places if place.scheme is Scheme.HTTPS)


@each_version
def test_licenses_can_be_allowed(model: CatalogModel, version: CatalogVersion) -> None:
    terms = model.license_of(version)
    assert (license_refusal(terms, [terms]) is None) == (terms != "NOASSERTION")
    assert model.non_commercial == (terms.startswith(("CC-BY-NC", "LicenseRef-bria")))


def test_digests_do_not_change() -> None:
    for source, digest in DIGESTS.items():
        assert digest_of(*find(parse_source(source))) == digest


def test_words_do_not_change_a_digest() -> None:
    model, version = find(parse_source("catalog://isnet"))
    reworded = model.model_copy(update={"title": "Another", "limitations": "none", "homepage": "https://h.example/"})
    assert digest_of(reworded, version) == digest_of(model, version)
    assert model_card(reworded, version) != model_card(model, version)


def test_a_name_alone_is_the_default_version() -> None:
    assert find(parse_source("catalog://isnet"))[1].version == "1.0.0"
    assert find(parse_source("catalog://rmbg"))[1].version == "2.0.0"
    assert find(parse_source("catalog://isnet-general-use@1.1.0"))[0].name == "isnet"


@pytest.mark.parametrize(("source", "word"), [("catalog://cutter", "isnet"), ("catalog://isnet@9.0.0", "1.1.0")])
def test_what_it_does_not_have_is_refused_with_what_it_has(source: str, word: str) -> None:
    with pytest.raises(RegistryError, match=word) as caught:
        find(parse_source(source))
    assert caught.value.reason is Reason.SOURCE_NOT_FOUND


@pytest.mark.parametrize("name", ["rmbg@1.4.0", "rmbg"])
def test_non_commercial_models_are_refused_until_their_license_is_named(name: str, tmp_path) -> None:  # type: ignore[no-untyped-def]
    source = parse_source(f"catalog://{name}")
    terms = find(source)[0].license_of(find(source)[1])
    registry = Registry(RegistrySettings(cache_dir=tmp_path))
    for policy in (VerificationPolicy(), VerificationPolicy(licenses=["MIT"]), VerificationPolicy(license="MIT")):
        for use in (registry.ensure, registry.verify, registry.resolve):
            with pytest.raises(RegistryError, match=f"--allow-license {terms}") as caught:
                use(str(source), policy)
            assert caught.value.reason is Reason.LICENSE_REFUSED
        with pytest.raises(RegistryError, match=terms):
            registry.pull(str(source), tmp_path / "target", policy)
    check_terms(source, frozenset({terms, "MIT"}), None)
    check_terms(source, frozenset(), terms)


def test_other_models_need_no_permission_and_obey_the_list(tmp_path) -> None:  # type: ignore[no-untyped-def]
    check_terms(parse_source("catalog://isnet"), frozenset(), None)
    registry = Registry(RegistrySettings(cache_dir=tmp_path, npm_registry=None))
    with pytest.raises(RegistryError, match=r"Apache-2\.0 is not allowed"):
        registry.ensure("catalog://isnet", VerificationPolicy(licenses=["MIT"]))
    with pytest.raises(RegistryError, match="does not say its license"):
        registry.ensure("catalog://silueta", VerificationPolicy(licenses=["Apache-2.0"]))


ENTRY = {
    "name": "m", "title": "M", "description": "d", "license": "MIT", "authors": ["a"], "homepage": "https://h.example",
    "training_data": "t", "limitations": "l", "default": "1.0.0",
    "constants": {"size": 32, "mean": [0, 0, 0], "std": [1, 1, 1]},
    "versions": [
        {"version": "1.0.0", "summary": "s", "provenance": "p", "size": 1, "sha256": "a" * 64, "verified": False,
         "places": ["https://h.example/a.onnx"]}
    ],
}  # fmt: skip


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"default": "2.0.0"}, "default must be one"),
        ({"license": None}, "license"),
        ({"places": ["s3://bucket/a"]}, "neither npm"),
        ({"places": ["https://h.example/a.onnx?token=x"]}, "not of the shape"),
        ({"sha256": "12"}, "sha256"),
        ({"md5": "a" * 32}, "md5"),
        ({"postprocessing": {"activation": "tanh"}}, "activation"),
    ],
)
def test_a_wrong_entry_is_refused(change: dict[str, object], word: str) -> None:
    document = yaml.safe_load(yaml.safe_dump(ENTRY))
    CatalogModel.model_validate(document)
    for part in (document, document["versions"][0], document["constants"]):
        for name, value in change.items():
            if name in part or (name == "md5" and "sha256" in part) or (name == "postprocessing" and "size" in part):
                part[name] = value
    with pytest.raises(ValidationError, match=word):
        CatalogModel.model_validate(document)


def test_a_version_may_have_a_license_and_constants_of_its_own() -> None:
    model = known_models()["rmbg"]
    old, new = model.versions
    assert (model.license_of(old), model.license_of(new)) == ("LicenseRef-bria-rmbg-1.4", "CC-BY-NC-4.0")
    sheets: list[ModelMetadata] = [model.metadata(version) for version in (old, new)]
    assert [sheet.std for sheet in sheets] == [(1.0, 1.0, 1.0), (0.229, 0.224, 0.225)]


def test_a_source_reads_back() -> None:
    source = parse_source("catalog://isnet")
    assert str(replace(source, version="1.0.0")) == "catalog://isnet@1.0.0"
