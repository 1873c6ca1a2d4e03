"""What holds for the files of the repository themselves."""

from __future__ import annotations

import json
import re
import runpy
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MEMBERS = sorted(
    path.parent
    for pattern in ("packages", "services", "operators")
    for path in ROOT.glob(f"{pattern}/*/pyproject.toml")
)
#: folders of one person's machine
FORBIDDEN = re.compile(r"/(root|home)/[a-z.]+/|/Users/")
TEXT = frozenset(
    {".css", ".html", ".in", ".js", ".json", ".lua", ".md", ".py", ".sh", ".toml", ".txt", ".yaml", ".yml", ""}
)


def own_files() -> Iterator[Path]:
    """What is or would be committed."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        check=True,
    )
    yield from (ROOT / name for name in listed.stdout.decode().split("\0") if name and (ROOT / name).is_file())


def requirements(lock: str) -> dict[str, str]:
    text = (ROOT / "locks" / lock).read_text()
    return {m[1]: m[2] for m in re.finditer(r"^([a-zA-Z0-9][\w.-]*)==([^ ;\\]+)", text, re.MULTILINE)}


def test_no_file_names_somebodys_folder() -> None:
    found = [
        f"{path.relative_to(ROOT)}: {match[0]}"
        for path in own_files()
        if path.suffix in TEXT and path != Path(__file__)
        for match in [FORBIDDEN.search(path.read_text(encoding="utf-8", errors="replace"))]
        if match
    ]
    assert found == []


@pytest.mark.parametrize("lock", ["locks/all.txt", "locks/run.txt", "locks/torch.txt"])
def test_no_lock_says_where_packages_come_from(lock: str) -> None:
    assert "://" not in (ROOT / lock).read_text()


def test_no_lock_of_node_says_where_packages_come_from() -> None:
    """Addresses of those whom a package asks to be funded may be there."""
    packages = json.loads((ROOT / "tests/node/package-lock.json").read_text())["packages"]
    assert [name for name, package in packages.items() if "resolved" in package] == []
    assert {key for package in packages.values() for key in package if "://" in str(package[key])} <= {"funding"}


def test_only_settings_read_the_environment() -> None:
    reads = re.compile(r"os\.environ\b(?!\.setdefault)|os\.getenv")
    found = [
        str(path.relative_to(ROOT))
        for path in own_files()
        if path.suffix == ".py"
        and "src" in path.parts
        and path.name != "settings.py"
        and reads.search(path.read_text())
    ]
    assert found == []


def test_every_requirement_is_locked() -> None:
    locked = requirements("all.txt")
    members = {tomllib.loads((member / "pyproject.toml").read_text())["project"]["name"] for member in MEMBERS}
    for member in MEMBERS:
        project = tomllib.loads((member / "pyproject.toml").read_text())["project"]
        wanted = [
            *project["dependencies"],
            *(r for extra in project.get("optional-dependencies", {}).values() for r in extra),
        ]
        names = {re.split(r"[\[<>=~! ;]", requirement)[0].lower() for requirement in wanted}
        assert names - members <= locked.keys(), project["name"]


@pytest.mark.parametrize("member", MEMBERS, ids=lambda member: member.name)
def test_every_member_declares_the_members_it_imports(member: Path) -> None:
    project = tomllib.loads((member / "pyproject.toml").read_text())["project"]
    extras = [r for extra in project.get("optional-dependencies", {}).values() for r in extra]
    imported = {
        match[1].replace("_", "-")
        for path in (member / "src").rglob("*.py")
        for match in re.finditer(r"^ *(?:from|import) (matte_\w+)", path.read_text(), re.MULTILINE)
    }
    declared = {name.partition("[")[0] for name in project["dependencies"] if name.startswith("matte-")}
    assert imported - {project["name"]} - set(extras) == declared - set(extras)


def test_locks_are_cuts_of_one_resolution() -> None:
    everything, run, torch = (requirements(f"{name}.txt") for name in ("all", "run", "torch"))
    assert run.items() <= torch.items()
    assert torch.items() <= everything.items()
    assert "torch" in torch
    assert "torch" not in run


@pytest.mark.parametrize("lock", ["all", "run", "torch"])
def test_locks_have_hashes(lock: str) -> None:
    text = (ROOT / "locks" / f"{lock}.txt").read_text()
    blocks = re.split(r"^(?=[a-zA-Z0-9])", text, flags=re.MULTILINE)[1:]
    assert all("--hash=sha256:" in block for block in blocks)


def test_every_setting_is_documented() -> None:
    script = runpy.run_path(str(ROOT / "scripts/settings_table.py"))
    assert script["page"]() == (ROOT / "docs/settings.md").read_text(), "make docs"
    assert script["page"]().count("| `MATTE_") > 20


def test_every_target_says_what_it_does() -> None:
    makefile = (ROOT / "Makefile").read_text()
    targets = set(re.findall(r"^\.PHONY: (\S+)$", makefile, re.MULTILINE)) - {"setup-all"}
    help_ = subprocess.run(
        ["env", "-u", "MAKEFLAGS", "-u", "MAKELEVEL", "make", "help"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert {line.split()[1].removesuffix("\x1b[0m") for line in help_.splitlines()} == targets
    assert {"run", "test", "check", "bench"} <= targets


def test_setup_refuses_what_it_does_not_know() -> None:
    for arguments, torch in ((["nothing"], "1"), (["torch"], "gpu please")):
        done = subprocess.run(
            [ROOT / "scripts/setup.sh", *arguments],
            env={"PATH": "/usr/bin:/bin", "TORCH": torch},
            capture_output=True,
            check=False,
        )
        assert done.returncode == 1
        assert b"set-up:" in done.stderr


def test_relative_links_exist() -> None:
    broken = [
        f"{path.relative_to(ROOT)}: {link}"
        for path in own_files()
        if path.suffix == ".md"
        for link in re.findall(r"\]\((?!https?:)([^)#]+)[^)]*\)", path.read_text())
        if not (path.parent / link).exists()
    ]
    assert broken == []


def test_files_that_the_architecture_names_exist() -> None:
    """A path is relative to the repository, or to a folder that the page named before it."""
    folders, missing = [ROOT], []
    for name in re.findall(r"`([\w./-]+?)`", (ROOT / "docs/architecture.md").read_text()):
        if (ROOT / name).is_dir():
            folders.append(ROOT / name)
        elif "/" in name or name.endswith((".py", ".lua")):
            bases = {base for folder in folders for base in (folder, *folder.parents)}
            if name not in {"settings.py", "__init__.py"} and not any(
                (base / name).exists() for base in bases if ROOT in (base, *base.parents)
            ):
                missing.append(name)
    assert missing == []
