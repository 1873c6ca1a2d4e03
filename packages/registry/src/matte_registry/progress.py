"""How far a transfer is."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Progress:
    done: int
    total: int

    @property
    def fraction(self) -> float:
        return self.done / self.total if self.total else 1.0


#: called from the threads that transfer, one call at a time, once per piece: it must be quick
OnProgress = Callable[[Progress], None]


def ignore(_: Progress) -> None: ...


class Tally:
    """Counts bytes of several threads."""

    def __init__(self, total: int, report: OnProgress, done: int = 0) -> None:
        self._done, self._total, self._report = done, total, report
        self._lock = threading.Lock()

    def add(self, count: int) -> None:
        """Counts ``count`` bytes more; fewer than none where a part is tried again."""
        with self._lock:
            self._done += count
            self._report(Progress(self._done, self._total))
