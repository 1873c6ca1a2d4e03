"""Times during which the weights surely were constant: pure.

A frontend shows a table up to its catalog's age late, and routers change over within a second of each other; so the
edges of a window are moved inwards by ``settle`` seconds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

#: with no sample for so long (seconds), weights may have gone and come back unseen
LONGEST_GAP_SECONDS = 3.0

Weights = Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Sample:
    """The weights that the server showed, in per cent by version. Times are seconds since the start."""

    asked: float
    answered: float
    weights: Weights


@dataclass(frozen=True, slots=True)
class Window:
    """From ``start`` to ``end`` every router used ``weights``."""

    start: float
    end: float
    weights: Weights


@dataclass(frozen=True, slots=True)
class Answer:
    """A picture that was answered: when it was due, when it was sent (for the last time), by whom it was answered.

    ``user`` is named where the server keeps users on their versions.
    """

    due: float
    sent: float
    answered: float
    version: str
    user: str | None = None

    @property
    def latency(self) -> float:
        """Seconds that whoever came when the picture was due had to wait."""
        return self.answered - self.due


def runs(samples: Sequence[Sample]) -> list[list[Sample]]:
    """Samples in a row with the same weights and no long gap between them."""
    found = [list(samples[:1])] if samples else []
    for before, after in pairwise(samples):
        if after.weights != before.weights or after.asked - before.answered > LONGEST_GAP_SECONDS:
            found.append([])
        found[-1].append(after)
    return found


def windows(samples: Sequence[Sample], settle: float) -> list[Window]:
    """The windows of constant weights, in order; those too short to be sure of anything are left out.

    The first begins with its first sample: whatever changed shortly before it shows in the samples after it.
    """
    found = []
    for number, run in enumerate(runs(samples)):
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
