"""What each phase took, for the table at the end."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from dataclasses import dataclass, field


@dataclass
class Phase:
    """A part of the run. ``notes`` are what was seen in it."""

    name: str
    seconds: float = 0
    notes: list[str] = field(default_factory=list)


class Phases:
    """The phases of a run, in order."""

    def __init__(self) -> None:
        self.all: list[Phase] = []

    @contextlib.contextmanager
    def __call__(self, name: str) -> Iterator[Phase]:
        phase = Phase(name)
        self.all.append(phase)
        began = time.monotonic()
        try:
            yield phase
        finally:
            phase.seconds = time.monotonic() - began

    def table(self) -> list[str]:
        """One line per phase."""
        return [f"{phase.seconds:7.1f} s  {phase.name:<52} {'; '.join(phase.notes)}".rstrip() for phase in self.all]
