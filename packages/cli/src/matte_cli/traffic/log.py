"""What happened in a run, as it happens."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from matte_cli.traffic.windows import Answer, Sample

#: a picture sent later than this (seconds) was held back here: as many as may be were in flight
LATE_SECONDS = 0.1


@dataclass(frozen=True, slots=True)
class Failure:
    """A picture that got no result. ``code`` is the problem's, or what went wrong on the way to the server."""

    at: float
    code: str
    detail: str
    job: str | None = None


@dataclass(slots=True)
class Log:
    """Times are seconds since the start."""

    sent: int = 0
    answers: list[Answer] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)
    #: pictures that were sent again because the server asked for it, and what it said each time
    retried: int = 0
    retries: Counter[str] = field(default_factory=Counter)
    late: int = 0
    latest: float = 0.0
    samples: list[Sample] = field(default_factory=list)
    #: questions for the weights that got no answer
    unseen: int = 0

    def send(self, due: float, now: float) -> None:
        """A picture is sent for the first time."""
        self.sent += 1
        self.late += now - due > LATE_SECONDS
        self.latest = max(self.latest, now - due)

    @property
    def in_flight(self) -> int:
        """Pictures that are neither answered nor failed."""
        return self.sent - len(self.answers) - len(self.failures)
