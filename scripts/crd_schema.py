"""Converts the JSON schema of a contract to a structural schema, the subset that the API server accepts.

https://kubernetes.io/docs/tasks/extend-kubernetes/custom-resources/custom-resource-definitions/
#specifying-a-structural-schema
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel

Schema = dict[str, Any]

#: keywords with the same meaning in JSON Schema; all others are converted or refused
_COPIED = frozenset({
    "description", "enum", "format", "maxItems", "maxLength", "maxProperties", "maximum", "minItems", "minLength",
    "minProperties", "minimum", "pattern", "required", "type", "x-kubernetes-int-or-string",
    "x-kubernetes-list-map-keys", "x-kubernetes-list-type", "x-kubernetes-map-type",
    "x-kubernetes-preserve-unknown-fields", "x-kubernetes-validations",
})  # fmt: skip
_INT_OR_STRING = "x-kubernetes-int-or-string"
_OPAQUE = "x-kubernetes-preserve-unknown-fields"


def structural(contract: type[BaseModel]) -> Schema:
    """The structural schema of a contract; ValueError for what it cannot express."""
    schema = contract.model_json_schema()
    return _node(schema, schema.get("$defs", {}), contract.__name__)


def _node(schema: Mapping[str, Any], definitions: Mapping[str, Schema], path: str) -> Schema:
    found = _resolve(schema, definitions, path)
    node: Schema = {}
    for keyword, value in found.items():
        if keyword == "properties":
            node[keyword] = {name: _node(each, definitions, f"{path}.{name}") for name, each in value.items()}
        elif keyword == "items":
            node[keyword] = _node(value, definitions, f"{path}[]")
        elif keyword == "description":
            line = " ".join(value.replace("``", "`").split())
            node[keyword] = line[:1].upper() + line[1:]
        elif keyword in _COPIED or (keyword == "anyOf" and _INT_OR_STRING in found):
            node[keyword] = value
        elif keyword not in {"$defs", "title", "default", "const", "additionalProperties"}:
            raise ValueError(f"{path}: a structural schema has no {keyword}")
    # complete, although the fields have defaults, too: the API server validates a default as it is
    default = _without_empty(found.get("default"))
    return node | _values(found, definitions, path) | ({} if _is_empty(default) else {"default": default})


def _resolve(schema: Mapping[str, Any], definitions: Mapping[str, Schema], path: str) -> Schema:
    """Without ``$ref``, and without null as a type of optional fields, which are absent in Kubernetes."""
    own = {key: value for key, value in schema.items() if key not in {"$ref", "anyOf"}}
    if "$ref" in schema:
        return _resolve(definitions[schema["$ref"].removeprefix("#/$defs/")], definitions, path) | own
    if "anyOf" not in schema or _INT_OR_STRING in schema:
        return dict(schema)
    choices = [choice for choice in schema["anyOf"] if choice.get("type") != "null"]
    if len(choices) != 1:
        raise ValueError(f"{path}: a structural schema has one type, this has {len(choices)}")
    return _resolve(choices[0], definitions, path) | own


def _values(found: Schema, definitions: Mapping[str, Schema], path: str) -> Schema:
    """``additionalProperties`` of a map. Closed objects have none: the API server prunes unknown fields."""
    if "const" in found:
        return {"enum": [found["const"]]}
    values = found.get("additionalProperties", False)
    if values is False or found.get(_OPAQUE):
        return {}
    if values is True:
        raise ValueError(f"{path}: an object with any fields must say {_OPAQUE}")
    return {"additionalProperties": _node(values, definitions, f"{path}.*")}


def _without_empty(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    filled = {key: _without_empty(each) for key, each in value.items()}
    return {key: each for key, each in filled.items() if not _is_empty(each)}


def _is_empty(value: Any) -> bool:
    return value is None or value in ("", [], (), {})
