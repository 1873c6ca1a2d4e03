"""When each picture is sent: pure."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

_RATE = re.compile(r"(\d+(?:\.\d+)?)(?:/(s|min|h))?")
_DURATION = re.compile(r"(\d+(?:\.\d+)?)(s|m|min|h)?")
_SECONDS = {None: 1.0, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0}
DEFAULT_DURATION_SECONDS = 60.0


def rate(text: str) -> float:
    """Pictures per second: ``5``, ``5/s``, ``300/min``.

    Raises:
        ValueError: it is not a rate above 0.
    """
    found = _RATE.fullmatch(text.strip())
    value = float(found[1]) / _SECONDS[found[2]] if found else 0.0
    if value <= 0 or not math.isfinite(value):
        raise ValueError(f"{text!r} is no rate: write 5/s or 300/min")
    return value


def duration(text: str) -> float:
    """Seconds: ``60``, ``60s``, ``5m``, ``1h``.

    Raises:
        ValueError: it is not a duration above 0.
    """
    found = _DURATION.fullmatch(text.strip())
    value = float(found[1]) * _SECONDS[found[2]] if found else 0.0
    if value <= 0 or not math.isfinite(value):
        raise ValueError(f"{text!r} is no duration: write 60s, 5m or 1h")
    return value


@dataclass(frozen=True, slots=True)
class Plan:
    """What is sent. Without ``rate`` (per second) the next picture goes as soon as one before it is answered.

    It ends with ``requests`` pictures or after ``duration`` seconds, whichever is first; with neither named, after
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

        With a rate the times are fixed before the first picture is sent, so a server that gets slow is asked as often
        as before, and the time lost shows in the latencies ("coordinated omission", G. Tene, 2013, is avoided).
        """
        if self.requests is not None and number >= self.requests:
            return None
        at = now if self.rate is None else number / self.rate
        over = self.duration is not None and max(at, now) >= self.duration
        return None if over else at

    @property
    def total(self) -> int | None:
        """How many pictures that is, or None where only the server's speed says it."""
        if self.rate is None or self.duration is None:
            return self.requests
        timed = math.ceil(self.duration * self.rate - 1e-9)
        return timed if self.requests is None else min(self.requests, timed)
