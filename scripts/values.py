"""Writes values.yaml and values.schema.json of charts/matte from their contract: python scripts/values.py [--check]"""

from __future__ import annotations

import json
import sys
import textwrap
from collections.abc import Iterator
from typing import Any

import generated
import yaml
from pydantic import BaseModel
from values_contract import ChartValues, Section

CHART = generated.ROOT / "charts/matte"
WIDTH = 118
HEADER = "# The values of the chart matte. Written by `make chart` from scripts/values_contract.py.\n"


def schema_json() -> str:
    """``values.schema.json``: JSON schema 2020-12 that refuses unknown values."""
    schema = _without_noise(ChartValues.model_json_schema(by_alias=True))
    return json.dumps({"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}, indent=2) + "\n"


def defaults_yaml() -> str:
    """``values.yaml``: every default with its description as a comment."""
    text = HEADER + "\n".join(_section(ChartValues(), 0)) + "\n"
    if ChartValues.model_validate(yaml.safe_load(text)) != ChartValues():
        raise ValueError("values.yaml would differ from the defaults of the contract")
    return text


def _section(section: BaseModel, depth: int) -> Iterator[str]:
    pad = "  " * depth
    for name, field in type(section).model_fields.items():
        if depth == 0:
            yield ""
        if not field.description:
            raise ValueError(f"{type(section).__name__}.{name} has no description")
        for line in textwrap.wrap(field.description, WIDTH - len(pad) - 2, break_on_hyphens=False):
            yield f"{pad}# {line}"
        key, value = field.alias or name, getattr(section, name)
        if isinstance(value, Section):
            yield f"{pad}{key}:"
            yield from _section(value, depth + 1)
        else:
            yield from _yaml_lines(key, _to_json(value), pad)


def _yaml_lines(key: str, value: object, pad: str) -> Iterator[str]:
    """Block style for mappings, JSON (which is YAML) for everything else."""
    if isinstance(value, dict) and value:
        yield f"{pad}{key}:"
        for inner, item in value.items():
            yield from _yaml_lines(inner, item, pad + "  ")
    else:
        yield f"{pad}{key}: {json.dumps(value, ensure_ascii=False)}"


def _to_json(value: object) -> object:
    """Only fields that are set; the others keep the reader's defaults."""
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json", by_alias=True, exclude_unset=True)
    if isinstance(value, dict):
        return {key: _to_json(item) for key, item in value.items()}
    return list(value) if isinstance(value, tuple) else value


def _without_noise(node: Any) -> Any:
    """Without titles, which repeat the names, and keywords of the API server. (A property may be called title.)"""
    if isinstance(node, list):
        return [_without_noise(item) for item in node]
    if not isinstance(node, dict):
        return node
    return {
        key: _without_noise(item)
        for key, item in node.items()
        if not (key == "title" and isinstance(item, str)) and not key.startswith("x-kubernetes-")
    }


if __name__ == "__main__":
    sys.exit(
        generated.main({CHART / "values.yaml": defaults_yaml(), CHART / "values.schema.json": schema_json()}, "chart")
    )
