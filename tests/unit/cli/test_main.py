from __future__ import annotations

import fcntl
import http.server
import json
import os
import pty
import signal
import socket
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from matte_cli.console import server
from matte_cli.cut import media_type, parameters_of, read_picture
from matte_cli.main import app
from matte_cli.outputs import write
from matte_core.contracts.options import Options
from matte_core.errors import Problem
from typer.testing import CliRunner

COMMANDS = [
    *(["serve"], ["cut"], ["models"], ["doctor"], ["jobs"]),
    *(["jobs", name] for name in ("list", "dead", "show", "result", "cancel", "delete", "requeue")),
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
        (["-", "--bg-color", "blub"], "--bg-color: not a color"),
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


def matte(*arguments: str, **more: Any) -> subprocess.Popen[bytes]:
    """The command in a process of its own."""
    streams: dict[str, Any] = {
        "stdin": subprocess.DEVNULL,
        "stdout": subprocess.PIPE,
        "stderr": subprocess.PIPE,
        **more,
    }

    def as_at_a_terminal() -> None:
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # a shell ignores it for what runs in the background

    command = [sys.executable, "-m", "matte_cli", *arguments]
    return subprocess.Popen(command, **streams, text=False, preexec_fn=as_at_a_terminal)  # noqa: PLW1509 - it only sets a signal


@pytest.fixture
def results(tmp_path: Path) -> tuple[Path, Path]:
    """A picture, and a result beside it."""
    picture, result = tmp_path / "a.jpg", tmp_path / "a-cutout.png"
    picture.write_bytes(b"x")
    result.write_bytes(b"precious")
    return picture, result


def test_results_that_are_there_are_not_replaced_silently(results: tuple[Path, Path], nowhere: str) -> None:
    picture, result = results
    found = CliRunner().invoke(app, ["cut", str(picture), "--url", nowhere])
    assert found.exit_code == 2  # before anything is sent: no server is missed
    assert all(word in found.stderr for word in ("a-cutout.png is there already", "--overwrite", "--skip-existing"))
    skipped = CliRunner().invoke(app, ["cut", str(picture), "--skip-existing", "--url", nowhere])
    assert (skipped.exit_code, "there already" in skipped.stderr) == (0, True)
    asked = CliRunner().invoke(app, ["cut", str(picture), "--overwrite", "--url", nowhere])
    assert (asked.exit_code, "make run" in asked.stderr) == (1, True)
    fetched = CliRunner().invoke(app, ["jobs", "result", "x", "-o", str(result), "--url", nowhere])
    assert (fetched.exit_code, "--overwrite" in fetched.stderr) == (2, True)
    assert result.read_bytes() == b"precious"


def test_two_files_do_not_go_to_one_stream(results: tuple[Path, Path], nowhere: str) -> None:
    for out in ("-", "/dev/null"):
        found = CliRunner().invoke(app, ["cut", str(results[0]), "-o", out, "--output", "both", "--url", nowhere])
        assert (found.exit_code, "two files" in found.stderr) == (2, True)


@pytest.mark.parametrize(
    ("stream", "arguments", "words"),
    [
        ("stdin", ["cut", "-", "-o", "cut.png"], b"matte cut - < photo.jpg"),
        ("stdout", ["cut", "PICTURE", "-o", "-"], b"not for the terminal: name a file with -o"),
        ("stdout", ["jobs", "result", "x"], b"not for the terminal: name a file with -o"),
    ],
)
def test_a_terminal_neither_sends_nor_shows_pictures(
    stream: str, arguments: list[str], words: bytes, results: tuple[Path, Path], nowhere: str
) -> None:
    parent, child = pty.openpty()
    try:
        command = [str(results[0]) if word == "PICTURE" else word for word in arguments]
        process = matte(*command, "--url", nowhere, **{stream: child})
        said = process.communicate(timeout=30)[1]
    finally:
        os.close(parent)
        os.close(child)
    assert process.returncode == 2
    assert words in b" ".join(said.split())


@pytest.fixture
def limits() -> Iterator[str]:
    """A server that tells its limits, and nothing else; it says ``asked`` when it did."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.end_headers()
            self.wfile.write(b"{}")

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield f"127.0.0.1:{running.server_address[1]}"
        running.shutdown()


def unread(pipe: int) -> int:
    """Bytes that lie in a pipe."""
    return int.from_bytes(fcntl.ioctl(pipe, termios.FIONREAD, bytes(4)), sys.byteorder)


def test_one_ctrl_c_ends_a_command_that_reads_a_silent_pipe(limits: str, tmp_path: Path) -> None:
    source, feed = os.pipe()
    process = matte("cut", "-", "-o", str(tmp_path / "cut.png"), "--url", limits, stdin=source)
    try:
        os.write(feed, b"x")
        while unread(feed):  # until it waits for more
            assert process.poll() is None
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        said = process.communicate(timeout=30)[1]
    finally:
        process.kill()
        os.close(source)
        os.close(feed)
    assert process.returncode == 130
    assert b"Traceback" not in said


def test_an_address_needs_no_scheme() -> None:
    assert server("127.0.0.1:7860") == "http://127.0.0.1:7860"
    assert server("https://matte.example/x") == "https://matte.example/x"


def test_devices_and_pipes_are_written_as_they_are(tmp_path: Path) -> None:
    write(Path("/dev/null"), b"picture")
    pipe = tmp_path / "pipe.png"
    os.mkfifo(pipe)
    reader = threading.Thread(target=lambda: read.append(pipe.read_bytes()))
    read: list[bytes] = []
    reader.start()
    write(pipe, b"picture")
    reader.join(30)
    assert read == [b"picture"]
    with pytest.raises(OSError, match=r"^/proc/x\.png cannot be written: No such file or directory$"):
        write(Path("/proc/x.png"), b"picture")
