"""Writes the table of settings into the README: python scripts/settings_table.py (--check: only says if it is old)."""

from __future__ import annotations

import sys
from pathlib import Path

from matte_cli.settings import CliSettings
from matte_frontend.settings import FrontendSettings
from matte_inference.settings import InferenceSettings
from matte_jobs.settings import StoreSettings
from matte_registry.settings import RegistrySettings
from pydantic_settings import BaseSettings

README = Path(__file__).parents[1] / "README.md"
BEGIN, END = "<!-- settings: made by make docs -->", "<!-- end of settings -->"
#: the first program that a setting is listed under
PROGRAMS: dict[str, type[BaseSettings]] = {
    "store": StoreSettings,
    "frontend": FrontendSettings,
    "inference": InferenceSettings,
    "registry": RegistrySettings,
    "command": CliSettings,
}
#: who reads what is a library's
READERS = {"store": "frontend, inference", "registry": "inference, command"}


def rows() -> list[str]:
    """One row per setting; who reads it is every program that has it."""
    readers: dict[str, list[str]] = {}
    for program, settings in PROGRAMS.items():
        for name in settings.model_fields:
            readers.setdefault(name, []).append(program)
    return [_row(name, programs) for name, programs in readers.items()]


def _row(name: str, programs: list[str]) -> str:
    field = PROGRAMS[programs[0]].model_fields[name]
    default = "" if field.default in (None, "") else f"`{field.default}`"
    whose = READERS.get(programs[0], ", ".join(programs))
    return f"| `MATTE_{name.upper()}` | {default} | {field.description} | {whose} |"


def table() -> str:
    """The table with its markers."""
    return "\n".join([BEGIN, "| variable | default | meaning | read by |", "|---|---|---|---|", *rows(), END])


def renewed(text: str) -> str:
    """The README with the table of now."""
    head, _, rest = text.partition(BEGIN)
    _, _, foot = rest.partition(END)
    return head + table() + foot


def main() -> int:
    """Writes, or with ``--check`` compares."""
    text = README.read_text(encoding="utf-8")
    if "--check" in sys.argv:
        return int(renewed(text) != text)
    README.write_text(renewed(text), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
