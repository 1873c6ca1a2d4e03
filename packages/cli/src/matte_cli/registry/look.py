"""``matte models list``, ``verify`` and ``diff``."""

from __future__ import annotations

import itertools
from dataclasses import asdict

from matte_registry.diff import Diff, compare
from matte_registry.policy import VerificationPolicy
from matte_registry.registry import Registry
from rich.markup import escape
from rich.table import Table

from matte_cli.console import print_json, screen
from matte_cli.registry.common import address, progress, size, told

_SHOWN = 40


def list_versions(source: str, limit: int, *, as_json: bool) -> None:
    """One row per version."""
    with told():
        found = list(itertools.islice(Registry().versions(address(source)), limit))
    if as_json:
        print_json([version.model_dump() for version in found])
        return
    grid = Table(box=None, pad_edge=False, header_style="bold")
    for title in ("version", "size", "digest", "source"):
        grid.add_column(title, justify="right" if title == "size" else "left")
    for version in found:
        grid.add_row(escape(version.label or "–"), size(version.size), version.digest or "–", escape(version.source))
    screen().print(grid if found else "no versions there")


def verify(source: str, policy: VerificationPolicy, *, as_json: bool) -> None:
    """What was checked, and what was not asked for."""
    with progress("reading") as on_progress:
        found = Registry().verify(address(source), policy, on_progress)
    license = found.metadata.license if found.metadata else policy.license
    if as_json:
        print_json({"source": found.source, "digest": found.digest, "license": license, "signed": bool(policy.keys)})
        return
    lines = {
        "source": found.source,
        "digest": f"{found.digest} ({'as demanded' if policy.digest else 'none was demanded: --digest'})",
        "signature": "good" if policy.keys else "not checked (--key)",
        "license": f"{license or 'not stated'} ({'allowed' if policy.licenses else 'not checked: --allow-license'})",
    }
    for name, text in lines.items():
        screen().print(f"[green]✓[/] {name}: {escape(text)}")


def diff(old: str, new: str, *, values: bool, as_json: bool) -> None:
    """Files, tensors, and how far they moved."""
    with told():
        registry = Registry()
        found = compare(registry.remote(address(old)), registry.remote(address(new)), values=values)
    if as_json:
        print_json(asdict(found))
        return
    _show(found)


def _show(found: Diff) -> None:
    out = screen()
    if not found.files:
        out.print("the same")
        return
    for file in found.files:
        out.print(f"{file.path}: {size(file.old_size)} → {size(file.new_size)}", markup=False)
    for change in found.tensors[:_SHOWN]:
        moved = "" if change.largest is None else f"  moved by {change.relative:.2%}, at most {change.largest:.3g}"
        shape = change.new if change.old == change.new else f"{change.old or 'absent'} → {change.new or 'absent'}"
        out.print(f"  {change.name}: {shape}{moved}", markup=False)
    if len(found.tensors) > _SHOWN:
        out.print(f"  … and {len(found.tensors) - _SHOWN} more tensors")
    if found.largest is not None:
        out.print(f"{len(found.tensors)} of {found.compared} tensors differ; {found.largest.name} moved most")
