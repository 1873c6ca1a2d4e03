"""``matte traffic drive`` as a person runs it, beside a test."""

from __future__ import annotations

import contextlib
import json
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from e2e.traffic import picture

#: what is in flight may end
END_SECONDS = 60


class Driven:
    """A run. ``report`` is what it says at its end, as --json has it; {} before."""

    def __init__(self, process: subprocess.Popen[str], file: Path) -> None:
        self._process = process
        self._file = file
        self.report: dict[str, Any] = {}

    def wait(self, seconds: float) -> None:
        """Until all is sent and answered.

        Raises:
            AssertionError: it failed without a report.
        """
        try:
            said = self._process.communicate(timeout=seconds)[0]
        except subprocess.TimeoutExpired:
            self._process.send_signal(signal.SIGINT)
            said = self._process.communicate(timeout=END_SECONDS)[0]
        assert self._file.exists(), said
        self.report = json.loads(self._file.read_text())

    def end(self) -> None:
        """No more pictures."""
        if not self.report:
            self._process.send_signal(signal.SIGINT)
            self.wait(END_SECONDS)

    def failures(self) -> list[str]:
        """Pictures that got no answer; a run without any answer is one, too."""
        lost = [f"{first['code']}: {first['detail']}" for first in self.report["first_failures"]]
        if self.report["abandoned"]:
            lost.append(f"{self.report['abandoned']} were given up")
        return lost if self.report["answered"] else [*lost, "nothing was answered"]

    def summary(self) -> str:
        """For the table of phases."""
        report = self.report
        slowest = max((latency["longest"] for latency in report["latencies"]), default=0.0)
        return f"{report['sent']} driven, {report['failed']} failed, slowest {slowest:.2f} s"


@contextlib.contextmanager
def driving(url: str, model: str, *arguments: str, side: int = 96, pictures: Sequence[Path] = ()) -> Iterator[Driven]:
    """Traffic while the block runs, or until the arguments end it: the pictures, or one of the suite's own."""
    parts = urlsplit(url)
    assert parts.hostname is not None
    address = str(socket.getaddrinfo(parts.hostname, parts.port or 80)[0][4][0])
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.json"
        if not pictures:
            pictures = [Path(folder) / "picture.png"]
            pictures[0].write_bytes(picture(side))
        what = [
            "traffic",
            "drive",
            *map(str, pictures),
            "--url",
            url,
            "--model",
            model,
            "--json",
            str(report),
            *arguments,
        ]
        command = [sys.executable, str(Path(__file__).with_name("drive.py")), parts.hostname, address, *what]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
            driven = Driven(process, report)
            try:
                yield driven
                driven.end()
            finally:
                process.kill()
