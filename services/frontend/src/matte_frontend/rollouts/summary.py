"""A rollout's evidence in numbers. Pure."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import fmean

from matte_core.contracts.base import Contract
from matte_core.contracts.catalog import Route
from matte_core.contracts.evidence import Agreement, AnswerSample, MaskComparison, MirroredPair, StartReport
from pydantic import Field

#: a job's id gives access to its picture, so none is shown whole
_JOB = re.compile(r"([0-9a-f]{8})[0-9a-f]{24}")


@dataclass(frozen=True, slots=True)
class Evidence:
    """Everything recorded about a version, and stable's answers since the version's first one."""

    starts: Sequence[StartReport] = ()
    answers: Sequence[AnswerSample] = ()
    stable_answers: Sequence[AnswerSample] = ()
    pairs: Sequence[MirroredPair] = ()
    shown: Sequence[MaskComparison] = ()

    @property
    def is_empty(self) -> bool:
        return not (self.starts or self.answers or self.pairs or self.shown)


class Answers(Contract):
    """A version's answers to unpinned jobs. Seconds are its own work; None: no answer without an error."""

    total: int = Field(description="errors included")
    errors: int
    bad_masks: int = Field(description="empty or full ones")
    p50_seconds: float | None
    p95_seconds: float | None

    @classmethod
    def count(cls, answers: Sequence[AnswerSample]) -> Answers:
        good = sorted(answer.seconds for answer in answers if not answer.error)
        return cls(
            total=len(answers), errors=len(answers) - len(good), bad_masks=sum(answer.bad_mask for answer in answers),
            p50_seconds=_percentile(good, 0.5), p95_seconds=_percentile(good, 0.95),
        )  # fmt: skip


class Difference(Contract):
    """A picture whose masks differ, without the picture."""

    at: float
    name: str
    stable: str
    agreement: Agreement


class RolloutReport(Contract):
    """The body of ``GET /v1/rollouts/{model}/{version}``. The verdict is the operator's, in the Model's status."""

    model: str
    version: str
    stable: str | None = Field(description="what it is compared with")
    starts: tuple[StartReport, ...] = Field(description="replicas that loaded it and answered the golden images")
    answers: Answers
    stable_answers: Answers = Field(description="since the version's first answer")
    pairs: int = Field(description="mirrored jobs that both computed")
    agreement: Agreement | None = Field(description="mean over the pairs; None without one")
    shown: tuple[Difference, ...] = Field(description="the newest whose masks differ, oldest first")


def summarize(model: str, version: str, stable: str | None, evidence: Evidence) -> RolloutReport:
    return RolloutReport(
        model=model, version=version, stable=stable, starts=tuple(evidence.starts),
        answers=Answers.count(evidence.answers), stable_answers=Answers.count(evidence.stable_answers),
        pairs=len(evidence.pairs), agreement=_mean([pair.agreement for pair in evidence.pairs]),
        shown=tuple(
            Difference(at=shown.at, name=shorten_job_ids(shown.name), stable=shown.stable, agreement=shown.agreement)
            for shown in evidence.shown
        ),
    )  # fmt: skip


def compared_with(version: str, route: Route, shown: Iterable[MaskComparison]) -> str | None:
    """The version it was last compared with, else the one with the most traffic; None where it is alone."""
    stables = [entry.stable for entry in shown]
    others = sorted((arm for arm in route.arms if arm.version != version), key=lambda arm: arm.weight)
    return stables[-1] if stables else others[-1].version if others else None


def shorten_job_ids(name: str) -> str:
    """A picture's name with only the first digits of a job's id."""
    return _JOB.sub(r"\1…", name)


def _mean(agreements: Sequence[Agreement]) -> Agreement | None:
    if not agreements:
        return None
    return Agreement(
        iou=fmean(each.iou for each in agreements),
        boundary=fmean(each.boundary for each in agreements),
        alpha_difference=fmean(each.alpha_difference for each in agreements),
    )


def _percentile(ordered: Sequence[float], q: float) -> float | None:
    return ordered[math.ceil(q * len(ordered)) - 1] if ordered else None
