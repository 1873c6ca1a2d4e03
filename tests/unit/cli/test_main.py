from __future__ import annotations

import json
import socket
from pathlib import Path

import pytest
from matte_cli.cut import media_type, parameters_of, read_picture, write
from matte_cli.main import app
from matte_core.contracts.options import Options
from matte_core.errors import Problem
from typer.testing import CliRunner

COMMANDS = [
    *(["serve"], ["cut"], ["models"], ["doctor"], ["jobs"]),
    *(["jobs", name] for name in ("dead", "show", "cancel", "requeue")),
]


@pytest.fixture
def nowhere() -> str:
    """An address where nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{probe.getsockname()[1]}"


@pytest.mark.parametrize("command", [[], *COMMANDS], ids=" ".join)
def test_help_everywhere(command: list[str]) -> None:
    found = CliRunner().invoke(app, [*command, "--help"])
    assert found.exit_code == 0
    assert "Usage:" in found.stdout


def test_version() -> None:
    found = CliRunner().invoke(app, ["--version"])
    assert found.exit_code == 0
    assert found.stdout.startswith("matte 0.")


@pytest.mark.parametrize("command", [["cut", "PICTURE"], ["models"], ["jobs"], ["jobs", "cancel", "x"]], ids=" ".join)
def test_no_server_is_said_with_what_to_do(command: list[str], nowhere: str, tmp_path: Path) -> None:
    picture = tmp_path / "a.jpg"
    picture.write_bytes(b"x")
    found = CliRunner().invoke(app, [*(str(picture) if w == "PICTURE" else w for w in command), "--url", nowhere])
    assert found.exit_code == 1
    assert "make run" in found.stderr
    assert "--url" in found.stderr


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["absent.jpg"], "no such file"),
        (["-", "-o", "cut.jpg"], "png or webp"),
        (["-", "--bg-color", "blub"], "--bg-color: not a colour"),
        (["-", "--crop-margin", "3px"], "--crop-margin needs --crop"),
    ],
)
def test_wrong_options_are_told_before_anything_is_sent(arguments: list[str], word: str, nowhere: str) -> None:
    found = CliRunner().invoke(app, ["cut", *arguments, "--url", nowhere])
    assert found.exit_code == 2
    assert word in found.stderr


def test_an_empty_folder_is_told(tmp_path: Path, nowhere: str) -> None:
    found = CliRunner().invoke(app, ["cut", str(tmp_path), "--url", nowhere])
    assert (found.exit_code, "no pictures" in found.stderr) == (2, True)


def test_doctor_speaks_json(nowhere: str, tmp_path: Path) -> None:
    found = CliRunner().invoke(app, ["doctor", "--json", "--url", nowhere, "--data-dir", str(tmp_path / "later")])
    checks = {check["name"]: check for check in json.loads(found.stdout)}
    assert checks["Python"]["ok"]
    assert not checks["server"]["ok"]
    assert found.exit_code == int(any(check["needed"] and not check["ok"] for check in checks.values()))


def test_only_what_differs_is_asked_for() -> None:
    assert parameters_of(Options(), None, None) == {}
    asked = parameters_of(Options(crop=True, bg_color="fff"), "unet", "1")
    assert asked == {"crop": "true", "bg_color": "ffffffff", "model": "unet", "version": "1"}


def test_media_types_by_name() -> None:
    assert [media_type(Path(name)) for name in ("a.JPG", "a.txt", "-")] == [
        "image/jpeg",
        "application/octet-stream",
        "application/octet-stream",
    ]


def test_results_are_whole_or_absent(tmp_path: Path) -> None:
    target = tmp_path / "deep" / "a.png"
    write(target, b"one")
    write(target, b"two")
    assert target.read_bytes() == b"two"
    assert list(target.parent.iterdir()) == [target]


def test_what_is_too_large_is_not_read(tmp_path: Path) -> None:
    picture = tmp_path / "a.jpg"
    picture.write_bytes(b"12345")
    assert read_picture(picture, 5) == b"12345"
    with pytest.raises(Problem, match="payload_too_large"):
        read_picture(picture, 4)
