"""Turns what routers and replicas report in Redis into observations of a rollout."""

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

from matte_operator.domain.rollout.observation import (
    AnswerStats,
    CanaryGates,
    ExternalResult,
    Gate,
    GateResult,
    GoldenAnswer,
    GoldenResults,
    Measurements,
)
from matte_operator.domain.version import check_progress

#: latency samples that a verdict uses at most
SAMPLES_MAX = 2000
_GATES = {CheckState.PASSED: Gate.PASSED, CheckState.FAILED: Gate.FAILED}


@dataclass(frozen=True, slots=True)
class ModelEvidence:
    """What was reported about a Model's versions.

    Attributes:
        applied: the routes that the living routers of its Pools use.
        checks: by version.
        starts: by version, of living replicas.
        replicas: number of living ones, by version.
        since: the start of the window, as the status' ``step_started_at``; '' where nothing is measured.
        answers: since then, by version.
        pairs: masks of the new version beside stable's, since then.
        external: answers of queries and webhooks, by name.
    """

    applied: tuple[AppliedWeights, ...] = ()
    checks: Mapping[str, CheckReport] = field(default_factory=dict)
    starts: Mapping[str, tuple[StartReport, ...]] = field(default_factory=dict)
    replicas: Mapping[str, int] = field(default_factory=dict)
    since: str = ""
    answers: Mapping[str, tuple[AnswerSample, ...]] = field(default_factory=dict)
    pairs: tuple[MirroredPair, ...] = ()
    external: Mapping[str, ExternalResult] = field(default_factory=dict)


def applied_weight(model: str, version: str, applied: Iterable[AppliedWeights]) -> int | None:
    """The highest percent that a router gives a version; None where no router answers."""
    return max((router.weights.get(model, {}).get(version, 0) for router in applied), default=None)


def canary_gates(status: RolloutStatus, evidence: ModelEvidence, preflight: GateResult) -> CanaryGates | None:
    """The gates of the attempt; None without one."""
    if status.canary is None:
        return None
    report = evidence.checks.get(status.canary)
    if report is None or report.attempt != status.attempt:
        verified = GateResult(Gate.WAITING, "no router has begun to check it")
    else:
        reason = f"{report.reason}: " if report.reason else ""
        verified = GateResult(_GATES.get(report.state, Gate.WAITING), reason + check_progress(report))
    starts = evidence.starts.get(status.canary, ())
    golden = GoldenResults()
    if starts:
        # a rollback to the previous version is not compared with the version that it replaces
        stable = "" if status.canary == status.previous else status.stable or ""
        # the replica that started last has seen the most masks of the others
        results = starts[-1].golden
        answers = [GoldenAnswer(r.name, r.error, r.bad_mask, r.agreements.get(stable)) for r in results]
        golden = GoldenResults(len(results), tuple(answers), stable)
    return CanaryGates(
        status.canary,
        status.attempt,
        verified=verified,
        preflight=preflight,
        warmed=GateResult(Gate.PASSED if starts else Gate.WAITING, f"{len(starts)} replicas are warm"),
        golden=golden,
    )


def measurements(status: RolloutStatus, evidence: ModelEvidence) -> Measurements | None:
    """What was measured in the window; None where there is none."""
    if not evidence.since or status.step_started_at is None:
        return None
    return Measurements(
        evidence.since,
        stable=_answer_stats(evidence.answers.get(status.stable or "", ())),
        canary=_answer_stats(evidence.answers.get(status.canary or "", ())),
        pairs=tuple(pair.agreement for pair in evidence.pairs),
        external=evidence.external,
    )


def _answer_stats(answers: Sequence[AnswerSample]) -> AnswerStats:
    seconds = [answer.seconds for answer in answers if not answer.error]
    step = max(1, -(-len(seconds) // SAMPLES_MAX))
    return AnswerStats(
        total=len(answers),
        errors=sum(answer.error for answer in answers),
        bad_masks=sum(answer.bad_mask for answer in answers),
        seconds=tuple(seconds[::step]),
    )
