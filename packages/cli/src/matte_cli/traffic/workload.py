"""What a run sends, and when."""

from __future__ import annotations

import math
import re
import struct
import zlib
from dataclasses import dataclass, field
from pathlib import Path

from matte_cli.client import Retry
from matte_cli.cut import media_type, read_picture

_RATE = re.compile(r"(\d+(?:\.\d+)?)(?:/(s|min|h))?")
_DURATION = re.compile(r"(\d+(?:\.\d+)?)(s|m|min|h)?")
_SECONDS = {None: 1.0, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0}
DEFAULT_DURATION_SECONDS = 60.0


def rate(text: str) -> float:
    """Pictures per second: ``5``, ``5/s``, ``300/min``. Raises ValueError if it is not a rate above 0."""
    match = _RATE.fullmatch(text.strip())
    value = float(match[1]) / _SECONDS[match[2]] if match else 0.0
    if value <= 0 or not math.isfinite(value):
        raise ValueError(f"{text!r} is no rate: write 5/s or 300/min")
    return value


def duration(text: str) -> float:
    """Seconds: ``60``, ``60s``, ``5m``, ``1h``. Raises ValueError if it is not a duration above 0."""
    match = _DURATION.fullmatch(text.strip())
    value = float(match[1]) * _SECONDS[match[2]] if match else 0.0
    if value <= 0 or not math.isfinite(value):
        raise ValueError(f"{text!r} is no duration: write 60s, 5m or 1h")
    return value


@dataclass(frozen=True, slots=True)
class Schedule:
    """When pictures are sent. Without ``rate`` (per second) each is sent as soon as an earlier one is answered.

    It ends with ``requests`` pictures or after ``duration`` seconds, whichever is first; with neither given, after
    a minute.
    """

    rate: float | None = None
    requests: int | None = None
    duration: float | None = None

    def __post_init__(self) -> None:
        if self.requests is None and self.duration is None:
            object.__setattr__(self, "duration", DEFAULT_DURATION_SECONDS)

    def due(self, number: int, now: float) -> float | None:
        """When picture ``number`` (from 0) is due, in seconds since the start; None: nothing more is sent.

        With a rate the times are fixed before the first picture is sent, so a server that slows down is asked as often
        as before, and the time lost shows in the latencies ("coordinated omission", G. Tene, 2013, is avoided).
        """
        if self.requests is not None and number >= self.requests:
            return None
        at = now if self.rate is None else number / self.rate
        over = self.duration is not None and max(at, now) >= self.duration
        return None if over else at

    @property
    def total(self) -> int | None:
        """How many pictures that is, or None where only the server's speed decides."""
        if self.rate is None or self.duration is None:
            return self.requests
        timed = math.ceil(self.duration * self.rate - 1e-9)
        return timed if self.requests is None else min(self.requests, timed)


@dataclass(frozen=True, slots=True)
class Body:
    data: bytes
    media_type: str


@dataclass(frozen=True, slots=True)
class Workload:
    """``key_header`` names the user of a picture, where there are ``users`` and the server routes by user."""

    model: str
    pictures: tuple[Body, ...]
    schedule: Schedule
    concurrency: int
    users: int | None = None
    key_header: str | None = None
    settle: float = 2.0
    retry: Retry = field(default_factory=Retry)

    def user(self, number: int) -> str | None:
        return f"drive-{number % self.users}" if self.users and self.key_header else None


def load_pictures(paths: list[Path], max_bytes: int) -> tuple[Body, ...]:
    """The files; without any, a generated picture. Raises OSError, or the Problem ``payload_too_large``."""
    bodies = tuple(Body(read_picture(path, max_bytes), media_type(path)) for path in paths)
    return bodies or (Body(disc(), "image/png"),)


def disc(side: int = 256) -> bytes:
    """A PNG (RGB, 8 bits, as https://www.w3.org/TR/png-3/ says): an orange disc before a gray gradient."""
    rows = bytearray()
    for y in range(side):
        gray = bytes([60 + 120 * y // side]) * 3
        half_squared = 0.09 * side * side - (y - side / 2) ** 2
        edge = side // 2 - (round(math.sqrt(half_squared)) if half_squared > 0 else 0)
        rows += b"\0" + gray * edge + bytes((230, 120, 30)) * (side - 2 * edge) + gray * edge

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
