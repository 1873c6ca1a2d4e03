"""Writes docs/settings.md from the settings classes: python scripts/settings_table.py [--check]"""

from __future__ import annotations

import sys

import generated
from matte_cli.settings import CliSettings
from matte_frontend.settings import FrontendSettings
from matte_inference.settings import InferenceSettings
from matte_registry.settings import RegistrySettings
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings

INTRODUCTION = """\
# Settings

Environment variables of the frontend, of inference (router and model versions) and of the `matte` command.
An option of the command takes precedence over its variable. Written by `make docs`.

| Variable | Default | Description | Read by |
|---|---|---|---|
"""
#: a variable that several programs read is described by the first
PROGRAMS: tuple[tuple[str, type[BaseSettings]], ...] = (
    ("frontend", FrontendSettings),
    ("inference", InferenceSettings),
    ("inference", RegistrySettings),
    ("command", RegistrySettings),
    ("command", CliSettings),
)


def page() -> str:
    variables: dict[str, tuple[FieldInfo, list[str]]] = {}
    for program, settings in PROGRAMS:
        for name, field in settings.model_fields.items():
            variables.setdefault(name, (field, []))[1].append(program)
    rows = []
    for name, (field, programs) in variables.items():
        shown = not field.is_required() and field.default_factory is None
        default = f"`{field.default}`" if shown and (field.default or field.default in (0, False)) else ""
        rows.append(f"| `MATTE_{name.upper()}` | {default} | {field.description} | {', '.join(programs)} |\n")
    return INTRODUCTION + "".join(rows)


if __name__ == "__main__":
    sys.exit(generated.main({generated.ROOT / "docs/settings.md": page()}, "docs"))
