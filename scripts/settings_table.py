"""Writes docs/settings.md from the settings classes. ``--check`` exits with 1 if the file is out of date."""

from __future__ import annotations

import sys
from pathlib import Path

from matte_cli.settings import CliSettings
from matte_frontend.settings import FrontendSettings
from matte_inference.settings import InferenceSettings
from matte_registry.settings import RegistrySettings
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings

SETTINGS = Path(__file__).parents[1] / "docs/settings.md"
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


def rows() -> list[str]:
    variables: dict[str, tuple[FieldInfo, list[str]]] = {}
    for program, settings in PROGRAMS:
        for name, field in settings.model_fields.items():
            variables.setdefault(name, (field, []))[1].append(program)
    return [
        f"| `MATTE_{name.upper()}` | {_default(field)} | {field.description} | {', '.join(programs)} |"
        for name, (field, programs) in variables.items()
    ]


def _default(field: FieldInfo) -> str:
    return f"`{field.default}`" if field.default or field.default in (0, False) else ""


def page() -> str:
    return INTRODUCTION + "\n".join(rows()) + "\n"


def main() -> int:
    if "--check" in sys.argv:
        return int(SETTINGS.read_text(encoding="utf-8") != page())
    SETTINGS.write_text(page(), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
