"""When pictures are sent, and the picture that is made."""

from __future__ import annotations

import io
import socket

import pytest
from matte_cli.main import app
from matte_cli.traffic.workload import Schedule, disc, duration, rate
from PIL import Image
from typer.testing import CliRunner


@pytest.mark.parametrize(("text", "per_second"), [("5/s", 5), ("5", 5), ("300/min", 5), ("18000/h", 5), ("0.5/s", 0.5)])
def test_rates(text: str, per_second: float) -> None:
    assert rate(text) == per_second


@pytest.mark.parametrize(("text", "seconds"), [("60", 60), ("60s", 60), ("1.5m", 90), ("2min", 120), ("1h", 3600)])
def test_durations(text: str, seconds: float) -> None:
    assert duration(text) == seconds


@pytest.mark.parametrize("text", ["", "0", "-1", "5/d", "five", "1e9", "nan", "inf", "9" * 400])
def test_what_is_neither(text: str) -> None:
    with pytest.raises(ValueError, match="write"):
        rate(text)
    with pytest.raises(ValueError, match="write"):
        duration(text)


def test_the_times_do_not_listen_to_the_server() -> None:
    schedule = Schedule(rate=4.0, duration=2.0)
    quick = [schedule.due(number, number / 4) for number in range(9)]
    slow = [schedule.due(number, 1.9) for number in range(9)]
    assert quick == slow == [0.0, 0.25, 0.5, 0.75, 1.0, 1.25, 1.5, 1.75, None]
    assert schedule.total == 8


def test_what_is_not_sent_in_time_is_not_sent() -> None:
    assert Schedule(rate=4.0, duration=2.0).due(3, 2.0) is None


def test_without_a_rate_pictures_are_due_at_once() -> None:
    schedule = Schedule(requests=2)
    assert [schedule.due(number, 7.5) for number in range(3)] == [7.5, 7.5, None]
    assert schedule.total == 2


@pytest.mark.parametrize(
    ("schedule", "total"),
    [
        (Schedule(rate=5.0), 300),
        (Schedule(rate=10.0, duration=0.3), 3),
        (Schedule(rate=10.0, duration=0.31), 4),
        (Schedule(rate=5.0, duration=2.0, requests=3), 3),
        (Schedule(rate=5.0, requests=1000), 1000),
        (Schedule(duration=5.0), None),
    ],
)
def test_totals_are_what_is_due(schedule: Schedule, total: int | None) -> None:
    assert schedule.total == total
    if total is not None:
        assert schedule.due(total - 1, 0.0) is not None
        assert schedule.due(total, 0.0) is None


def test_the_picture_is_one() -> None:
    picture = Image.open(io.BytesIO(disc()))
    picture.load()
    assert (picture.format, picture.mode, picture.size) == ("PNG", "RGB", (256, 256))
    assert picture.getpixel((128, 128)) == (230, 120, 30)
    assert picture.getpixel((5, 0)) == (60, 60, 60)
    assert picture.getpixel((250, 255)) == (179, 179, 179)


@pytest.mark.parametrize("command", [["traffic"], ["traffic", "drive"]], ids=" ".join)
def test_help(command: list[str]) -> None:
    found = CliRunner().invoke(app, [*command, "--help"])
    assert found.exit_code == 0
    assert "Usage:" in found.stdout


@pytest.mark.parametrize("arguments", [["--rate", "fast"], ["--duration", "0"], ["--requests", "0"], ["nowhere.jpg"]])
def test_mistakes_in_options(arguments: list[str]) -> None:
    found = CliRunner().invoke(app, ["traffic", "drive", *arguments])
    assert found.exit_code == 2
    assert "Invalid value" in found.output


def test_no_server_is_said() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{probe.getsockname()[1]}"
        found = CliRunner().invoke(app, ["traffic", "drive", "--url", url])
    assert found.exit_code == 1
    assert "no Matte server answers" in found.output
