"""What happened in a run, and the times in it during which the weights were certainly constant.

A frontend shows a table up to its catalog's age late, and routers change over within a second of each other; so the
edges of a window are moved inwards by ``settle`` seconds. Times are seconds since the start.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

#: a picture sent later than this (seconds) was held back here: the maximum was in flight
LATE_SECONDS = 0.1
#: without a sample for this long (seconds), weights may have changed and changed back
LONGEST_GAP_SECONDS = 3.0

Weights = Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Answer:
    """A picture that was answered. ``user`` is set where the server keeps users on their versions."""

    due: float
    sent: float
    answered: float
    version: str
    user: str | None = None

    @property
    def latency(self) -> float:
        """Seconds from when the picture was due."""
        return self.answered - self.due


@dataclass(frozen=True, slots=True)
class Failure:
    """A picture that got no result. ``code`` is the problem's, or what went wrong on the way to the server."""

    at: float
    code: str
    detail: str
    job: str | None = None


@dataclass(frozen=True, slots=True)
class Sample:
    """The weights that the server showed, in per cent by version."""

    asked: float
    answered: float
    weights: Weights


@dataclass(slots=True)
class Log:
    sent: int = 0
    answers: list[Answer] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)
    #: pictures that were sent again because the server asked for it, and the codes it gave
    retried: int = 0
    retries: Counter[str] = field(default_factory=Counter)
    late: int = 0
    latest: float = 0.0
    samples: list[Sample] = field(default_factory=list)
    #: requests for the weights that got no answer
    unseen: int = 0

    def send(self, due: float, now: float) -> None:
        self.sent += 1
        self.late += now - due > LATE_SECONDS
        self.latest = max(self.latest, now - due)

    @property
    def in_flight(self) -> int:
        return self.sent - len(self.answers) - len(self.failures)


@dataclass(frozen=True, slots=True)
class Window:
    """From ``start`` to ``end`` every router used ``weights``."""

    start: float
    end: float
    weights: Weights


def constant_runs(samples: Sequence[Sample]) -> list[list[Sample]]:
    """Consecutive samples with the same weights and no long gap between them."""
    runs = [list(samples[:1])] if samples else []
    for before, after in pairwise(samples):
        if after.weights != before.weights or after.asked - before.answered > LONGEST_GAP_SECONDS:
            runs.append([])
        runs[-1].append(after)
    return runs


def windows(samples: Sequence[Sample], settle: float) -> list[Window]:
    """The windows of constant weights, in order; those shorter than the settling times are left out.

    The first begins with its first sample: whatever changed shortly before it shows in the samples after it.
    """
    found = []
    for number, run in enumerate(constant_runs(samples)):
        start = run[0].answered + (settle if number else 0.0)
        end = run[-1].asked - settle
        if start < end:
            found.append(Window(start, end, run[0].weights))
    return found


def within(window: Window, answers: Sequence[Answer]) -> list[Answer]:
    """The answers that count in a window: chosen by when they were sent, never by who answered.

    A picture is given to a version some time between being sent and being answered. Were those left out that end
    after the window, a slow version would lose more of them than a fast one; so the last ones to be sent are left out
    whoever answers them, as many as the slowest of the window took.
    """
    sent = [answer for answer in answers if window.start <= answer.sent <= window.end]
    if all(answer.answered <= window.end for answer in sent):
        return sent
    slowest = max(answer.answered - answer.sent for answer in sent)
    return [answer for answer in sent if answer.sent <= window.end - slowest]


def quantile(ordered: Sequence[float], q: float) -> float | None:
    """The nearest-rank quantile of values in rising order; None where there are none."""
    return ordered[max(0, math.ceil(q * len(ordered)) - 1)] if ordered else None
