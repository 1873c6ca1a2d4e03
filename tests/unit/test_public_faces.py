"""What one part may import from another is what that part's ``__init__`` names in ``__all__``."""

from __future__ import annotations

import ast
import importlib
import importlib.util
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PARTS = {
    path.name: path
    for pattern in ("packages", "services", "operators")
    for path in ROOT.glob(f"{pattern}/*/src/matte_*")
}


def imports(path: Path) -> Iterator[tuple[str, str]]:
    """(part, module right below it) for everything of ours that a file imports."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            below = node.module in PARTS
            names = [f"{node.module}.{alias.name}" if below else node.module for alias in node.names]
        for name in names:
            part, _, rest = name.partition(".")
            if part in PARTS:
                yield part, rest.partition(".")[0]


def used_from_outside() -> dict[str, dict[str, set[str]]]:
    """By part: what others import from it, and who."""
    found: dict[str, dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
    for own, folder in PARTS.items():
        for path in folder.rglob("*.py"):
            for part, module in imports(path):
                if part != own:
                    found[part][module].add(str(path.relative_to(ROOT)))
    return found


@pytest.mark.parametrize("part", sorted(PARTS))
def test_others_import_only_what_a_part_offers(part: str) -> None:
    offered = set(importlib.import_module(part).__all__)
    outside = {module: files for module, files in used_from_outside()[part].items() if module not in offered}
    assert outside == {}


@pytest.mark.parametrize("part", sorted(PARTS))
def test_what_a_part_offers_exists(part: str) -> None:
    module = importlib.import_module(part)
    assert sorted(module.__all__) == list(module.__all__)
    for name in module.__all__:
        assert hasattr(module, name) or importlib.util.find_spec(f"{part}.{name}"), name


@pytest.mark.parametrize("part", sorted(PARTS))
def test_every_folder_says_what_lives_there(part: str) -> None:
    silent = [
        str(path.relative_to(ROOT))
        for path in PARTS[part].rglob("__init__.py")
        if not (ast.get_docstring(ast.parse(path.read_text())) or "")
    ]
    assert silent == []
