"""A contract as a structural schema: what the API server takes of JSON Schema.

The rules: https://kubernetes.io/docs/tasks/extend-kubernetes/custom-resources/custom-resource-definitions/
#specifying-a-structural-schema
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel

Schema = dict[str, Any]

#: keywords that mean the same to both; every other one is dealt with here, or refused
_SAME = frozenset(
    {
        "description",
        "enum",
        "format",
        "maxItems",
        "maxLength",
        "maxProperties",
        "maximum",
        "minItems",
        "minLength",
        "minProperties",
        "minimum",
        "pattern",
        "required",
        "type",
        "x-kubernetes-int-or-string",
        "x-kubernetes-list-map-keys",
        "x-kubernetes-list-type",
        "x-kubernetes-map-type",
        "x-kubernetes-preserve-unknown-fields",
        "x-kubernetes-validations",
    }
)
_INT_OR_STRING = "x-kubernetes-int-or-string"
_OPAQUE = "x-kubernetes-preserve-unknown-fields"


def structural(contract: type[BaseModel]) -> Schema:
    """The contract's schema with every ``$ref`` in its place.

    Raises:
        ValueError: the contract says something that a structural schema cannot say.
    """
    schema = contract.model_json_schema()
    return _node(schema, schema.get("$defs", {}), contract.__name__)


def _node(schema: Mapping[str, Any], definitions: Mapping[str, Schema], path: str) -> Schema:
    found = _resolved(schema, definitions, path)
    node: Schema = {}
    for keyword, value in found.items():
        if keyword == "properties":
            node[keyword] = {name: _node(each, definitions, f"{path}.{name}") for name, each in value.items()}
        elif keyword == "items":
            node[keyword] = _node(value, definitions, f"{path}[]")
        elif keyword == "description":
            node[keyword] = _plain(value)
        elif keyword in _SAME or (keyword == "anyOf" and _INT_OR_STRING in found):
            node[keyword] = value
        elif keyword not in {"$defs", "title", "default", "const", "additionalProperties"}:
            raise ValueError(f"{path}: a structural schema has no {keyword}")
    return node | _values(found, definitions, path) | _default(found)


def _resolved(schema: Mapping[str, Any], definitions: Mapping[str, Schema], path: str) -> Schema:
    """Without ``$ref``, and without the null of an optional field: absent is what Kubernetes calls it."""
    own = {key: value for key, value in schema.items() if key not in {"$ref", "anyOf"}}
    if "$ref" in schema:
        return _resolved(definitions[schema["$ref"].removeprefix("#/$defs/")], definitions, path) | own
    if "anyOf" not in schema or _INT_OR_STRING in schema:
        return dict(schema)
    choices = [choice for choice in schema["anyOf"] if choice.get("type") != "null"]
    if len(choices) != 1:
        raise ValueError(f"{path}: a structural schema has one type, this has {len(choices)}")
    return _resolved(choices[0], definitions, path) | own


def _values(found: Schema, definitions: Mapping[str, Schema], path: str) -> Schema:
    """What fields a map may have. A closed object says nothing: the API server prunes what it does not know."""
    if "const" in found:
        return {"enum": [found["const"]]}
    values = found.get("additionalProperties", False)
    if values is False or found.get(_OPAQUE):
        return {}
    if values is True:
        raise ValueError(f"{path}: an object with any fields must say {_OPAQUE}")
    return {"additionalProperties": _node(values, definitions, f"{path}.*")}


def _default(found: Schema) -> Schema:
    """Whole, though the fields have defaults too: the API server holds it against the rules as it stands."""
    value = _filled(found.get("default"))
    return {} if _empty(value) else {"default": value}


def _filled(value: Any) -> Any:
    """Without what is absent by default."""
    if not isinstance(value, dict):
        return value
    filled = {key: _filled(each) for key, each in value.items()}
    return {key: each for key, each in filled.items() if not _empty(each)}


def _empty(value: Any) -> bool:
    return value is None or value in ("", [], (), {})


def _plain(text: str) -> str:
    """A docstring as ``kubectl explain`` shows it: one line, a capital first."""
    line = " ".join(text.replace("``", "`").split())
    return line[:1].upper() + line[1:]
