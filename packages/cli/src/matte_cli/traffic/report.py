"""The report of a run, from its log: the data classes are its JSON."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from matte_core.domain.statistics import wilson_interval

from matte_cli.traffic.log import Answer, Failure, Log, Weights, Window, constant_runs, quantile, windows, within

#: of the intervals
CONFIDENCE = 0.99

FIRST_FAILURES = 5


@dataclass(frozen=True, slots=True)
class Latency:
    """How long one version took, in seconds from when a picture was due. Retries and waiting here count."""

    version: str
    answered: int
    share: float
    p50: float | None
    p95: float | None
    p99: float | None
    longest: float


@dataclass(frozen=True, slots=True)
class Share:
    """What one version got in a window. ``within``: the asked share lies in the interval [low, high]."""

    version: str
    asked: float
    seen: int
    share: float
    low: float
    high: float
    within: bool


@dataclass(frozen=True, slots=True)
class Split:
    """A window of constant weights. ``unsteady`` users saw more than one version in it."""

    start: float
    end: float
    weights: Weights
    unit: str
    counted: int
    shares: tuple[Share, ...]
    unsteady: int = 0


@dataclass(frozen=True, slots=True)
class Move:
    """From one window to the next: of the users seen in both, how many changed version; ``must`` of them had to."""

    at: float
    users: int
    changed: int
    must: float


@dataclass(frozen=True, slots=True)
class Change:
    """The weights as the server showed them from then on."""

    at: float
    weights: Weights


@dataclass(frozen=True, slots=True)
class RunSettings:
    """``key_header`` is None where the server keeps no user on a version."""

    url: str
    model: str
    started_at: str
    rate: float | None
    planned: int | None
    concurrency: int
    users: int | None
    key_header: str | None
    settle: float


@dataclass(frozen=True, slots=True)
class Report:
    """A run. Times are seconds since the start; ``abandoned`` were in flight when the run was cut off."""

    asked: RunSettings
    seconds: float
    passed: bool
    interrupted: bool
    sent: int
    answered: int
    failed: int
    abandoned: int
    unsent: int
    failures: Mapping[str, int]
    first_failures: tuple[Failure, ...]
    retried: int
    retries: Mapping[str, int]
    sent_late: int
    latest_seconds: float
    latencies: tuple[Latency, ...]
    confidence: float
    splits: tuple[Split, ...]
    outside_windows: int
    moves: tuple[Move, ...]
    weights: tuple[Change, ...]
    weights_unseen: int


def report(asked: RunSettings, log: Log, seconds: float, *, interrupted: bool) -> Report:
    """A run passes when something was answered and nothing failed."""
    counted = [(window, within(window, log.answers)) for window in windows(log.samples, asked.settle)]
    return Report(
        asked=asked,
        seconds=seconds,
        passed=bool(log.answers) and not log.failures,
        interrupted=interrupted,
        sent=log.sent,
        answered=len(log.answers),
        failed=len(log.failures),
        abandoned=log.in_flight,
        unsent=max(0, (asked.planned or 0) - log.sent),
        failures=dict(Counter(failure.code for failure in log.failures)),
        first_failures=tuple(log.failures[:FIRST_FAILURES]),
        retried=log.retried,
        retries=dict(log.retries),
        sent_late=log.late,
        latest_seconds=log.latest,
        latencies=_latencies(log.answers),
        confidence=CONFIDENCE,
        splits=tuple(_split(window, answers) for window, answers in counted if answers),
        outside_windows=len(log.answers) - sum(len(answers) for _, answers in counted),
        moves=_moves(counted),
        weights=tuple(Change(run[0].answered, dict(run[0].weights)) for run in constant_runs(log.samples)),
        weights_unseen=log.unseen,
    )


def _latencies(answers: Sequence[Answer]) -> tuple[Latency, ...]:
    by_version: dict[str, list[float]] = {}
    for answer in sorted(answers, key=lambda answer: answer.latency):
        by_version.setdefault(answer.version, []).append(answer.latency)
    found = []
    for version, taken in sorted(by_version.items()):
        p50, p95, p99 = (quantile(taken, q) for q in (0.5, 0.95, 0.99))
        found.append(Latency(version, len(taken), len(taken) / len(answers), p50, p95, p99, taken[-1]))
    return tuple(found)


def _split(window: Window, answers: Sequence[Answer]) -> Split:
    """The shares in a window. ``answers`` are those that count in it; there is at least one.

    Where users stay on their versions, a user's pictures are one draw, not many: then users are counted, each by the
    first answer, and the interval is as wide as that makes it.
    """
    by_user = _versions_by_user(answers)
    drawn = [versions[0] for versions in by_user.values()] or [answer.version for answer in answers]
    counts, shares = Counter(drawn), []
    for version in [*window.weights, *sorted(counts.keys() - window.weights.keys())]:
        interval = wilson_interval(counts[version], len(drawn), CONFIDENCE)
        asked = window.weights.get(version, 0) / 100
        shares.append(
            Share(version, asked, counts[version], interval.estimate, interval.lower, interval.upper, asked in interval)
        )
    return Split(
        start=window.start,
        end=window.end,
        weights=dict(window.weights),
        unit="users" if by_user else "requests",
        counted=len(drawn),
        shares=tuple(shares),
        unsteady=sum(len(set(versions)) > 1 for versions in by_user.values()),
    )


def _versions_by_user(answers: Sequence[Answer]) -> dict[str, list[str]]:
    """The versions that each user got, in the order of sending; empty where users are not named."""
    found: dict[str, list[str]] = {}
    for answer in sorted(answers, key=lambda answer: answer.sent):
        if answer.user is not None:
            found.setdefault(answer.user, []).append(answer.version)
    return found


def _moves(counted: Sequence[tuple[Window, Sequence[Answer]]]) -> tuple[Move, ...]:
    found = []
    for (before, earlier), (after, later) in pairwise(counted):
        old, new = _versions_by_user(earlier), _versions_by_user(later)
        both = old.keys() & new.keys()
        if both:
            changed = sum(old[user][-1] != new[user][0] for user in both)
            found.append(Move(after.start, len(both), changed, must_move(before.weights, after.weights)))
    return tuple(found)


def must_move(old: Weights, new: Weights) -> float:
    """The least share of users that has to change version: what the shrinking versions lose."""
    return sum(max(0, weight - new.get(version, 0)) for version, weight in old.items()) / 100
