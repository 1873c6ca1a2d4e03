"""The chart's ``values.yaml`` and ``values.schema.json``, from their contract."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel

from generators.values_contract import ChartValues, Section

_WIDTH = 118
_HEADER = "# The values of the chart matte. Written by `make chart` from scripts/generators/values_contract.py.\n"


def schema_json() -> str:
    """``values.schema.json``: JSON schema 2020-12, closed, as helm reads it."""
    schema = _slim(ChartValues.model_json_schema(by_alias=True))
    return json.dumps({"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}, indent=2) + "\n"


def defaults_yaml() -> str:
    """``values.yaml``: every value with its default, below a comment that says what it is.

    Raises:
        ValueError: a value has no description.
    """
    return _HEADER + "\n".join(_section(ChartValues(), 0)) + "\n"


def _section(section: BaseModel, depth: int) -> Iterator[str]:
    pad = "  " * depth
    for name, field in type(section).model_fields.items():
        if depth == 0:
            yield ""
        if not field.description:
            raise ValueError(f"{type(section).__name__}.{name} has no description")
        for line in textwrap.wrap(field.description, _WIDTH - len(pad) - 2, break_on_hyphens=False):
            yield f"{pad}# {line}"
        key, value = field.alias or name, getattr(section, name)
        if isinstance(value, Section):
            yield f"{pad}{key}:"
            yield from _section(value, depth + 1)
        else:
            yield from _plain(key, _dumped(value), pad)


def _plain(key: str, value: object, pad: str) -> Iterator[str]:
    """Block style for mappings, flow style for all else; JSON is YAML."""
    if isinstance(value, dict) and value:
        yield f"{pad}{key}:"
        for inner, item in value.items():
            yield from _plain(inner, item, pad + "  ")
    else:
        yield f"{pad}{key}: {json.dumps(value, ensure_ascii=False)}"


def _dumped(value: object) -> object:
    """As JSON: only what was said, so that what is not keeps the default of whoever reads it."""
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json", by_alias=True, exclude_unset=True)
    if isinstance(value, dict):
        return {key: _dumped(item) for key, item in value.items()}
    return list(value) if isinstance(value, tuple) else value


def _slim(node: Any) -> Any:
    """Without titles, which only repeat the names, and without what the API server alone reads.

    A property may be called title: its value is a schema, not text.
    """
    if isinstance(node, list):
        return [_slim(item) for item in node]
    if not isinstance(node, dict):
        return node
    return {
        key: _slim(item)
        for key, item in node.items()
        if not (key == "title" and isinstance(item, str)) and not key.startswith("x-kubernetes-")
    }
