"""Command of the scripts that generate files of the repository."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).parents[1]


def outdated(files: Mapping[Path, str]) -> list[Path]:
    """The files whose content differs."""
    return [path for path, text in files.items() if not path.exists() or path.read_text(encoding="utf-8") != text]


def main(files: Mapping[Path, str], target: str) -> int:
    """Writes the files; with ``--check``, only names outdated ones and the make target. Returns the exit status."""
    found = outdated(files)
    if "--check" in sys.argv:
        for path in found:
            print(f"{path.relative_to(ROOT)} is out of date: make {target}", file=sys.stderr)
        return int(bool(found))
    for path in found:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(files[path], encoding="utf-8")
    return 0
