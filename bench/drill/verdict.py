"""Judges the clients' records: pure functions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

#: a probe that takes longer was disturbed
DISTURBED_SECONDS = 5.0


@dataclass(slots=True)
class Job:
    """A client's record of a job. Times are seconds of one clock.

    ``reread_digest``, ``resent_id`` and ``finished_events`` are of the end: the result is read again, the picture is
    sent again with its idempotency key, and such events are counted.
    """

    number: int
    api: str
    picture: int
    version: str
    sent: float
    key: str
    id: str = ""
    accepted: float | None = None
    answered: float | None = None
    digest: str = ""
    reread_digest: str = ""
    resent_id: str = ""
    finished_events: int | None = None
    failure: str = ""

    @property
    def name(self) -> str:
        return f"job {self.number} ({self.api}, {self.id or 'no id'})"


@dataclass(slots=True)
class Probe:
    sent: float
    answered: float | None = None


@dataclass(frozen=True, slots=True)
class Recovery:
    """Seconds after a fault until …; None: not until the end."""

    first: float | None  # a probe sent after the fault was answered
    undisturbed: float | None  # the last disturbed probe was answered
    answered: float | None  # every job accepted before the fault was answered

    def __str__(self) -> str:
        times = (self.first, self.undisturbed, self.answered)
        texts = ("never" if seconds is None else f"{seconds:.1f} s" for seconds in times)
        return "first answer {}, undisturbed after {}, all answered {}".format(*texts)


@dataclass(slots=True)
class Leftovers:
    """What remains in Redis, and processes that still run."""

    queued: int = 0
    leased: int = 0
    processes: list[str] = field(default_factory=list)


@dataclass(slots=True)
class Verdict:
    """One line per violation."""

    lost: list[str]
    changed: list[str]
    stuck: list[str]
    left: list[str]
    broken: list[str]

    @property
    def ok(self) -> bool:
        return not (self.lost or self.changed or self.stuck or self.left or self.broken)


def measure_recovery(fault: float, now: float, probes: Sequence[Probe], jobs: Sequence[Job]) -> Recovery:
    """How long the fault at time ``fault`` was felt, as of ``now``."""
    later = [probe for probe in probes if probe.sent > fault]
    ends = [probe.answered for probe in later if probe.answered is not None]
    first = min(ends, default=None)
    disturbed = [p.answered for p in later if (p.answered or now) - p.sent > DISTURBED_SECONDS]
    before = [job.answered for job in jobs if job.accepted is not None and job.accepted <= fault]
    return Recovery(
        None if first is None else first - fault,
        _last([first, *disturbed], fault),
        _last(before, fault) if before else 0.0,
    )


def _last(moments: Sequence[float | None], fault: float) -> float | None:
    known = [moment for moment in moments if moment is not None]
    return max(0.0, max(known) - fault) if known and len(known) == len(moments) else None


def is_stable(since: float, now: float, probes: Sequence[Probe], *, n: int = 4) -> bool:
    """Whether the last ``n`` probes sent after ``since`` were answered promptly, and none is overdue."""
    later = [probe for probe in probes if probe.sent > since]
    if any(probe.answered is None and now - probe.sent > DISTURBED_SECONDS for probe in later):
        return False
    done = [probe for probe in later if probe.answered is not None][-n:]
    return len(done) == n and all((p.answered or now) - p.sent <= DISTURBED_SECONDS for p in done)


def judge(
    jobs: Sequence[Job], references: Mapping[tuple[int, str], str], left: Leftovers, broken: Mapping[str, int]
) -> Verdict:
    """``references``: digest of the right result by picture and version. ``broken``: counts of invalid answers."""
    verdict = Verdict([], [], [], list(left.processes), [f"{n} × {what}" for what, n in broken.items()])
    for job in jobs:
        if job.failure:
            verdict.lost.append(f"{job.name}: {job.failure}")
        elif job.answered is None:
            verdict.stuck.append(f"{job.name}: no answer")
        else:
            verdict.changed += [f"{job.name}: {what}" for what in _changes(job, references)]
    if left.queued or left.leased:
        verdict.stuck.append(f"in Redis: {left.queued} queued, {left.leased} leased")
    owners: dict[str, Job] = {}
    for job in jobs:
        if job.id and (other := owners.setdefault(job.id, job)) is not job:
            verdict.changed.append(f"{job.name} and {other.name} have one id")
    return verdict


def _changes(job: Job, references: Mapping[tuple[int, str], str]) -> list[str]:
    right = {
        digest
        for (picture, version), digest in references.items()
        if picture == job.picture and version == (job.version or version)
    }
    found = []
    if job.digest not in right:
        found.append("the result is another picture")
    if job.reread_digest != job.digest:
        found.append("the result was not the same when it was read again")
    if job.api != "gradio" and job.resent_id != job.id:
        found.append(f"sent again under its key it was {job.resent_id or 'refused'}")
    if job.finished_events != 1:
        found.append(f"{job.finished_events} finished events")
    return found
