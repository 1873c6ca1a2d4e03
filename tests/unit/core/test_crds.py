"""The CRDs: structural, as the files say, and of one mind with the contracts and the examples."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import generated
import jsonschema
import kubernetes_validate
import pytest
import yaml
from crd_cases import BAD, Bad, changed, valid
from crd_schema import structural
from crds import definitions, files, object_schema
from matte_core.contracts.k8s.model import Model, ModelVersion, immutable_fields
from matte_core.contracts.k8s.pool import Pool
from pydantic import BaseModel, Field, ValidationError

CONTRACTS: dict[str, Any] = {contract.__name__: contract for contract in (Pool, Model, ModelVersion)}
CRDS = definitions()
EXAMPLES = sorted((Path(__file__).parents[3] / "docs" / "examples").glob("*.yaml"))


def schemas(plural: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every node of a CRD's schema, with its path."""
    (version,) = CRDS[plural]["spec"]["versions"]
    waiting = [("", version["schema"]["openAPIV3Schema"])]
    while waiting:
        path, node = waiting.pop()
        yield path, node
        waiting += [(f"{path}.{name}", each) for name, each in node.get("properties", {}).items()]
        waiting += [(f"{path}.{key}", node[key]) for key in ("items", "additionalProperties") if key in node]


@pytest.mark.parametrize("plural", CRDS)
class TestDefinition:
    def test_is_a_crd_of_kubernetes(self, plural: str) -> None:
        kubernetes_validate.validate(CRDS[plural], "1.34", strict=True)

    def test_is_structural(self, plural: str) -> None:
        for path, node in schemas(plural):
            assert ("type" in node) != ("x-kubernetes-int-or-string" in node), path
            assert not {"$ref", "$defs", "allOf", "oneOf", "not", "title", "nullable"} & node.keys(), path
            assert "anyOf" not in node or "x-kubernetes-int-or-string" in node, path
            assert not ("properties" in node and "additionalProperties" in node), path
            assert (node.get("type") == "array") == ("items" in node), path

    def test_only_parameters_are_opaque(self, plural: str) -> None:
        opaque = {path for path, node in schemas(plural) if "x-kubernetes-preserve-unknown-fields" in node}
        assert opaque == (set() if plural == "pools" else {".spec.parameters"})

    def test_defaults_pass_their_own_schema(self, plural: str) -> None:
        found = [(node, node["default"]) for _, node in schemas(plural) if "default" in node]
        assert found
        for node, default in found:
            jsonschema.validate(default, node)

    def test_map_lists_have_the_keys_that_they_name(self, plural: str) -> None:
        lists = {path: node for path, node in schemas(plural) if node.get("x-kubernetes-list-type") == "map"}
        assert ".status.conditions" in lists
        for path, node in lists.items():
            assert set(node["x-kubernetes-list-map-keys"]) <= set(node["items"]["required"]), path

    def test_columns_read_fields_that_exist(self, plural: str) -> None:
        (version,) = CRDS[plural]["spec"]["versions"]
        paths = {path for path, _ in schemas(plural)} | {".metadata.creationTimestamp"}
        for column in version["additionalPrinterColumns"]:
            assert column["jsonPath"].partition("[?")[0] in paths

    def test_every_field_people_write_is_described(self, plural: str) -> None:
        bare = [path for path, node in schemas(plural) if path.startswith(".spec.") and "description" not in node]
        # entries of lists and maps are described where the list is
        assert [path for path in bare if not path.endswith((".items", ".additionalProperties"))] == []

    def test_rules_speak(self, plural: str) -> None:
        rules = [rule for _, node in schemas(plural) for rule in node.get("x-kubernetes-validations", ())]
        assert rules
        for rule in rules:
            assert rule["message"]
            assert "\n" not in rule["message"] + rule["rule"]


def test_files_are_up_to_date() -> None:
    assert generated.outdated(files()) == []


def test_each_field_of_a_version_is_kept() -> None:
    for plural, more in (("models", set()), ("modelversions", {"model", "version"})):
        spec = dict(schemas(plural))[".spec"]
        kept = {rule["fieldPath"][1:] for rule in spec["x-kubernetes-validations"] if "oldSelf" in rule["rule"]}
        assert kept == {*immutable_fields(), *more}
        own = {"version", "default", "fallback", "traffic", "mirror", "rules", "rollout"}
        free = {"replicas"} if more else {"replicas", *own}
        assert spec["properties"].keys() - kept == free


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_example_passes_contract_and_schema(path: Path) -> None:
    document = yaml.safe_load(path.read_text())
    contract = CONTRACTS[document["kind"]]
    contract.model_validate(document)
    jsonschema.validate(document, object_schema(contract))


def test_there_are_examples_of_each() -> None:
    assert {yaml.safe_load(path.read_text())["kind"] for path in EXAMPLES} == CONTRACTS.keys()


@pytest.mark.parametrize("kind", CONTRACTS)
def test_valid_object_passes(kind: str) -> None:
    CONTRACTS[kind].model_validate(valid(kind))
    jsonschema.validate(valid(kind), object_schema(CONTRACTS[kind]))


@pytest.mark.parametrize("bad", [bad for bad in BAD if bad.contract], ids=lambda bad: bad.name)
def test_contract_refuses(bad: Bad) -> None:
    with pytest.raises(ValidationError):
        CONTRACTS[bad.kind].model_validate(changed(valid(bad.kind), {"spec": bad.spec}))


def test_whole_numbers_are_quantities() -> None:
    pool = Pool.model_validate(changed(valid("Pool"), {"spec": {"workers": {"resources": {"cpu": 4}}}}))
    assert pool.spec.workers.resources.cpu == "4"


class TestSchema:
    def test_refuses_two_types(self) -> None:
        class Two(BaseModel):
            field: int | str

        with pytest.raises(ValueError, match=r"Two.field: a structural schema has one type, this has 2"):
            structural(Two)

    def test_refuses_what_has_another_meaning_there(self) -> None:
        class Open(BaseModel):
            field: int = Field(gt=0)

        with pytest.raises(ValueError, match=r"Open.field: a structural schema has no exclusiveMinimum"):
            structural(Open)

    def test_refuses_any_fields_unsaid(self) -> None:
        class Loose(BaseModel):
            field: dict[str, Any]

        with pytest.raises(ValueError, match="must say x-kubernetes-preserve-unknown-fields"):
            structural(Loose)
