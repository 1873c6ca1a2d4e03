"""What became of the jobs, and how long a fault was felt: pure, over what the clients wrote down."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

#: a probe that takes longer than this was disturbed, seconds
DISTURBED = 5.0


@dataclass(slots=True)
class Job:
    """One picture that a client wants cut. Times are seconds of one clock.

    Attributes:
        way: how it was sent: ``poll``, ``predict``, ``events`` or ``gradio``.
        digest, again: of the result when it was answered, and when it was read once more at the end.
        resent_id: what the server named it when it was sent again under the same key at the end.
        finished_events: how many its event stream had at the end.
        failure: the last word on it, if that is not a result.
    """

    number: int
    way: str
    picture: int
    version: str
    sent: float
    key: str
    id: str = ""
    accepted: float | None = None
    answered: float | None = None
    digest: str = ""
    again: str = ""
    resent_id: str = ""
    finished_events: int | None = None
    failure: str = ""

    @property
    def name(self) -> str:
        """For people."""
        return f"job {self.number} ({self.way}, {self.id or 'no id'})"


@dataclass(slots=True)
class Probe:
    """One small picture that was sent to see whether there is an answer."""

    sent: float
    answered: float | None = None


@dataclass(frozen=True, slots=True)
class Recovery:
    """Seconds after a fault; None: not until the end.

    Attributes:
        first: until a job sent after the fault was answered.
        steady: until the last disturbed probe was answered; from then on nobody noticed anything.
        answered: until every job accepted before the fault was answered.
    """

    first: float | None
    steady: float | None
    answered: float | None

    def __str__(self) -> str:
        shown = (
            "never" if seconds is None else f"{seconds:.1f} s" for seconds in (self.first, self.steady, self.answered)
        )
        return "first answer {}, undisturbed after {}, all answered {}".format(*shown)


@dataclass(slots=True)
class Left:
    """What is there after the end: jobs in Redis that are queued or leased, processes that still run."""

    queued: int = 0
    leased: int = 0
    processes: list[str] = field(default_factory=list)


@dataclass(slots=True)
class Verdict:
    """One line for each thing that went wrong."""

    lost: list[str]
    changed: list[str]
    stuck: list[str]
    left: list[str]
    broken: list[str]

    @property
    def ok(self) -> bool:
        """Whether nothing went wrong."""
        return not (self.lost or self.changed or self.stuck or self.left or self.broken)


def recovery(fault: float, now: float, probes: Sequence[Probe], jobs: Sequence[Job]) -> Recovery:
    """How long a fault at a moment was felt, as it is known now."""
    later = [probe for probe in probes if probe.sent > fault]
    ends = [probe.answered for probe in later if probe.answered is not None]
    first = min(ends, default=None)
    disturbed = [p.answered for p in later if (p.answered or now) - p.sent > DISTURBED]
    before = [job.answered for job in jobs if job.accepted is not None and job.accepted <= fault]
    return Recovery(
        None if first is None else first - fault,
        _last([first, *disturbed], fault),
        _last(before, fault) if before else 0.0,
    )


def _last(moments: Sequence[float | None], fault: float) -> float | None:
    known = [moment for moment in moments if moment is not None]
    return max(0.0, max(known) - fault) if known and len(known) == len(moments) else None


def steady(since: float, now: float, probes: Sequence[Probe], *, n: int = 4) -> bool:
    """Whether the server is well: the last ``n`` probes sent after a moment were answered at once, and none waits."""
    later = [probe for probe in probes if probe.sent > since]
    if any(probe.answered is None and now - probe.sent > DISTURBED for probe in later):
        return False
    done = [probe for probe in later if probe.answered is not None][-n:]
    return len(done) == n and all((p.answered or now) - p.sent <= DISTURBED for p in done)


def judge(
    jobs: Sequence[Job], references: Mapping[tuple[int, str], str], left: Left, broken: Mapping[str, int]
) -> Verdict:
    """The verdict at the end.

    Args:
        jobs: all of them.
        references: digest of the right result by picture and version.
        left: what is left over.
        broken: answers that a server must never give, and how often it did.
    """
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
    right = {digest for (picture, version), digest in references.items() if _fits(job, picture, version)}
    found = []
    if job.digest not in right:
        found.append("the result is another picture")
    if job.again != job.digest:
        found.append("the result was not the same when it was read again")
    if job.way != "gradio" and job.resent_id != job.id:
        found.append(f"sent again under its key it was {job.resent_id or 'refused'}")
    if job.finished_events != 1:
        found.append(f"{job.finished_events} finished events")
    return found


def _fits(job: Job, picture: int, version: str) -> bool:
    return picture == job.picture and version == (job.version or version)
