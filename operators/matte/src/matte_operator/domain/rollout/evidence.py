"""From what routers and replicas report to what a rollout is decided from."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from matte_core.contracts.evidence import (
    AnswerSample,
    AppliedWeights,
    CheckReport,
    CheckState,
    MirroredPair,
    StartReport,
)
from matte_core.contracts.k8s.rollout import RolloutStatus

from matte_operator.domain.rollout.observe import (
    Answers,
    CanarySeen,
    ExternalSeen,
    Gate,
    GateSeen,
    GoldenAnswer,
    GoldenSeen,
    Measured,
)

#: seconds per job that a verdict is made from, at most
SECONDS_MAX = 2000


@dataclass(frozen=True, slots=True)
class ModelEvidence:
    """What was reported of a Model's versions.

    Attributes:
        applied: what the living routers of its Pool use.
        checks: by version.
        starts: by version, of replicas that live.
        replicas: that live, by version.
        since: the start of the window, as the status' ``step_started_at`` has it; '' where nothing is measured.
        answers: since then, by version.
        pairs: of the new version, since then.
        external: answers of queries and webhooks, by name.
    """

    applied: tuple[AppliedWeights, ...] = ()
    checks: Mapping[str, CheckReport] = field(default_factory=dict)
    starts: Mapping[str, tuple[StartReport, ...]] = field(default_factory=dict)
    replicas: Mapping[str, int] = field(default_factory=dict)
    since: str = ""
    answers: Mapping[str, tuple[AnswerSample, ...]] = field(default_factory=dict)
    pairs: tuple[MirroredPair, ...] = ()
    external: Mapping[str, ExternalSeen] = field(default_factory=dict)


def weight_of(model: str, version: str, applied: Iterable[AppliedWeights]) -> int | None:
    """The highest per cent that a router gives a version; None where no router can be asked."""
    weights = [router.weights.get(model, {}).get(version, 0) for router in applied]
    return max(weights, default=None)


def canary_seen(status: RolloutStatus, evidence: ModelEvidence, preflight: GateSeen) -> CanarySeen | None:
    """The gates of the attempt; None without one."""
    if status.canary is None:
        return None
    starts = evidence.starts.get(status.canary, ())
    return CanarySeen(
        status.canary,
        status.attempt,
        verified=_verified(evidence.checks.get(status.canary), status.attempt),
        preflight=preflight,
        warmed=GateSeen(Gate.PASSED if starts else Gate.WAITING, f"{len(starts)} replicas are warm"),
        # the way back to the version before is not judged by the one that is left
        golden=_golden(starts, "" if status.canary == status.previous else status.stable or ""),
    )


def measured(status: RolloutStatus, evidence: ModelEvidence) -> Measured | None:
    """What was measured in the window; None where it is not the step's."""
    if not evidence.since or status.step_started_at is None:
        return None
    return Measured(
        evidence.since,
        stable=_answers(evidence.answers.get(status.stable or "", ())),
        canary=_answers(evidence.answers.get(status.canary or "", ())),
        pairs=tuple(pair.agreement for pair in evidence.pairs),
        external=evidence.external,
    )


def told(report: CheckReport) -> str:
    """How far a check is, for people."""
    if report.state is CheckState.RUNNING and report.total:
        return f"{report.done / 1e6:.0f} of {report.total / 1e6:.0f} MB are here. {report.message}".strip()
    return report.message or report.state.value


def _verified(report: CheckReport | None, attempt: int) -> GateSeen:
    if report is None or report.attempt != attempt:
        return GateSeen(Gate.WAITING, "no router has begun to check it")
    gates = {CheckState.PASSED: Gate.PASSED, CheckState.FAILED: Gate.FAILED}
    reason = f"{report.reason}: " if report.reason else ""
    return GateSeen(gates.get(report.state, Gate.WAITING), reason + told(report))


def _golden(starts: Sequence[StartReport], stable: str) -> GoldenSeen:
    """By the replica that started last: it has seen the most masks of the others."""
    if not starts:
        return GoldenSeen()
    results = starts[-1].golden
    answers = [GoldenAnswer(r.name, r.error, r.bad_mask, r.agreements.get(stable)) for r in results]
    return GoldenSeen(len(results), tuple(answers), stable)


def _answers(found: Sequence[AnswerSample]) -> Answers:
    sound = [answer.seconds for answer in found if not answer.error]
    step = max(1, -(-len(sound) // SECONDS_MAX))
    return Answers(
        total=len(found),
        errors=sum(answer.error for answer in found),
        bad_masks=sum(answer.bad_mask for answer in found),
        seconds=tuple(sound[::step]),
    )
