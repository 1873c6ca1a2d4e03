"""Writes the CRDs into charts/matte-crds from the contracts: python scripts/crds.py (--check: only says if old)."""

from __future__ import annotations

import sys
from pathlib import Path

import yaml
from generators.crds import definitions

TEMPLATES = Path(__file__).parents[1] / "charts" / "matte-crds" / "templates"
HEADER = "# Made by scripts/crds.py from matte_core.contracts.k8s (make crds): change the contracts, not this file.\n"


def files() -> dict[Path, str]:
    """What each file has to hold.

    Raises:
        ValueError: a text that helm would take for a template.
    """
    found = {}
    for plural, definition in definitions():
        text = HEADER + yaml.safe_dump(definition, sort_keys=False, width=120, allow_unicode=True)
        if "{{" in text:
            raise ValueError(f"{plural}: helm would take {{{{ for a template")
        found[TEMPLATES / f"{plural}.yaml"] = text
    return found


def stale() -> list[Path]:
    """The files that hold something else."""
    return [path for path, text in files().items() if not path.exists() or path.read_text(encoding="utf-8") != text]


def main() -> int:
    """Writes, or with ``--check`` compares."""
    old = stale()
    if "--check" in sys.argv:
        for path in old:
            print(f"{path.relative_to(TEMPLATES.parents[2])} differs from the contracts: make crds", file=sys.stderr)
        return int(bool(old))
    TEMPLATES.mkdir(parents=True, exist_ok=True)
    for path in old:
        path.write_text(files()[path], encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
