"""Writes values.yaml and values.schema.json of the chart from their contract: python scripts/values.py

``--check`` writes nothing and fails where they differ. Every value has a comment: one without a description in the
contract is refused while the file is made.
"""

from __future__ import annotations

import sys
from pathlib import Path

import yaml
from generators.values import defaults_yaml, schema_json
from generators.values_contract import ChartValues

CHART = Path(__file__).parents[1] / "charts" / "matte"


def rendered() -> dict[str, str]:
    """The files by name.

    Raises:
        ValueError: a value has no description, or the file would not say the contract's defaults.
    """
    text = defaults_yaml()
    if ChartValues.model_validate(yaml.safe_load(text)) != ChartValues():
        raise ValueError("values.yaml would say something else than the defaults of the contract")
    return {"values.yaml": text, "values.schema.json": schema_json()}


def main() -> int:
    """Writes, or with ``--check`` compares."""
    files = rendered()
    if "--check" not in sys.argv:
        for name, text in files.items():
            (CHART / name).write_text(text, encoding="utf-8")
        return 0
    old = [name for name, text in files.items() if not _is(CHART / name, text)]
    for name in old:
        print(f"charts/matte/{name} differs from the contract: make chart", file=sys.stderr)
    return int(bool(old))


def _is(path: Path, text: str) -> bool:
    return path.exists() and path.read_text(encoding="utf-8") == text


if __name__ == "__main__":
    sys.exit(main())
