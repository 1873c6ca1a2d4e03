"""What a rollout is decided from: the desired state, and the observed one as routers and replicas report it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from matte_core.contracts.catalog import Download
from matte_core.contracts.evidence import (
    Agreement,
    AnswerSample,
    AppliedWeights,
    CheckReport,
    CheckState,
    MirroredPair,
    StartReport,
)
from matte_core.contracts.k8s.model import MUTABLE_FIELDS, VersionParameters
from matte_core.contracts.k8s.rollout import RolloutSpec, RolloutStatus, Verdict

from matte_operator.domain.version import check_progress

#: latency samples that a verdict uses at most
SAMPLES_MAX = 2000


@dataclass(frozen=True, slots=True)
class DesiredRollout:
    """What the Model asks for. ``hash``: see :func:`spec_hash`; ``replicas``: of the version at its full size."""

    version: str
    hash: str
    replicas: int
    rollout: RolloutSpec


class Gate(StrEnum):
    """The state of a check that a version must pass once."""

    WAITING = "waiting"
    PASSED = "passed"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class GateResult:
    gate: Gate = Gate.WAITING
    message: str = ""


@dataclass(frozen=True, slots=True)
class GoldenAnswer:
    """A golden image's answer. ``agreement`` is None without a stable version; ``error`` is '' where it answered."""

    name: str
    error: str = ""
    bad_mask: str = ""
    agreement: Agreement | None = None


@dataclass(frozen=True, slots=True)
class GoldenResults:
    """The golden images answered so far, how many there are, and the version to compare with; '' for none."""

    total: int = 0
    answers: tuple[GoldenAnswer, ...] = ()
    stable: str = ""


@dataclass(frozen=True, slots=True)
class CanaryGates:
    version: str
    attempt: int
    verified: GateResult = GateResult()
    preflight: GateResult = GateResult()
    warmed: GateResult = GateResult()
    golden: GoldenResults = GoldenResults()


@dataclass(frozen=True, slots=True)
class VersionState:
    #: replicas that hold, or wait for, their resources, those that start or end included
    allocated: int = 0
    #: replicas that answer
    ready: int = 0
    #: percent that the routers give it, the highest where they differ; None where none answers
    weight: int | None = None
    #: why it cannot run without help (crash loop, out of memory)
    failure: str = ""


@dataclass(frozen=True, slots=True)
class AnswerStats:
    """A version's answers in a window, without those that a rule sent to it.

    ``errors``: failed by the version; ``bad_masks``: empty or full; ``no_subjects``: empty; ``seconds``: from the
    router's choice to the answer, and ``uncertainties``, of the masks: even samples of at most ``SAMPLES_MAX``.
    """

    total: int = 0
    errors: int = 0
    bad_masks: int = 0
    seconds: tuple[float, ...] = ()
    no_subjects: int = 0
    uncertainties: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class ExternalResult:
    """The answer of a query (``value``) or of a webhook (``verdict``); without one, ``message`` says why."""

    value: float | None = None
    verdict: Verdict | None = None
    message: str = ""


@dataclass(frozen=True, slots=True)
class Measurements:
    """What was measured since ``since``, which is the status' ``step_started_at``. ``uncertainty_pairs``: of the new
    version's and of stable's mask of one picture.
    """

    since: str
    stable: AnswerStats = AnswerStats()
    canary: AnswerStats = AnswerStats()
    pairs: tuple[Agreement, ...] = ()
    uncertainty_pairs: tuple[tuple[float, float], ...] = ()
    external: Mapping[str, ExternalResult] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Observation:
    """The observed state. A version that is not in ``versions`` has no replicas and no traffic."""

    versions: Mapping[str, VersionState] = field(default_factory=dict)
    canary: CanaryGates | None = None
    measurements: Measurements | None = None

    def version(self, name: str | None) -> VersionState:
        return self.versions.get(name or "", VersionState(weight=0))


def spec_hash(version: str, parameters: VersionParameters) -> str:
    """Identifies what a rollout is about: the version and its immutable parameters, not the number of replicas."""
    names = VersionParameters.model_fields.keys() - MUTABLE_FIELDS
    body = parameters.model_dump(mode="json", include=set(names))
    text = json.dumps({"version": version, **body}, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


@dataclass(frozen=True, slots=True)
class ModelEvidence:
    """What living routers and replicas reported about a Model's versions; ``external`` by the name of the check.

    ``answers`` and ``pairs`` are since ``since``, the status' ``step_started_at``; '' where nothing is measured.
    """

    applied: tuple[AppliedWeights, ...] = ()
    checks: Mapping[str, CheckReport] = field(default_factory=dict)
    downloads: Mapping[str, Download] = field(default_factory=dict)
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
    if status.canary is None:
        return None
    report = evidence.checks.get(status.canary)
    if report is None or report.attempt != status.attempt:
        verified = GateResult(Gate.WAITING, "no router has begun to check it")
    else:
        reason = f"{report.reason}: " if report.reason else ""
        gate = {CheckState.PASSED: Gate.PASSED, CheckState.FAILED: Gate.FAILED}.get(report.state, Gate.WAITING)
        verified = GateResult(gate, reason + check_progress(report))
    starts = evidence.starts.get(status.canary, ())
    golden = GoldenResults()
    if starts:
        # a rollback to the previous version is not compared with the version that it replaces
        stable = "" if status.canary == status.previous else status.stable or ""
        # the replica that started last has seen the most masks of the others
        results = starts[-1].golden
        answers = [GoldenAnswer(r.name, r.error, r.bad_mask, r.agreements.get(stable)) for r in results]
        golden = GoldenResults(len(results), tuple(answers), stable)
    warmed = GateResult(Gate.PASSED if starts else Gate.WAITING, f"{len(starts)} replicas are warm")
    return CanaryGates(status.canary, status.attempt, verified, preflight, warmed, golden)


def measurements(status: RolloutStatus, evidence: ModelEvidence) -> Measurements | None:
    if not evidence.since or status.step_started_at is None:
        return None
    return Measurements(
        evidence.since,
        stable=_answer_stats(evidence.answers.get(status.stable or "", ())),
        canary=_answer_stats(evidence.answers.get(status.canary or "", ())),
        pairs=tuple(pair.agreement for pair in evidence.pairs),
        uncertainty_pairs=tuple(
            (pair.uncertainty, pair.stable_uncertainty)
            for pair in evidence.pairs
            if pair.uncertainty is not None and pair.stable_uncertainty is not None
        ),
        external=evidence.external,
    )


def _answer_stats(answers: Sequence[AnswerSample]) -> AnswerStats:
    seconds = [answer.seconds for answer in answers if not answer.error]
    # None: of a replica from before uncertainty was recorded
    uncertainties = [answer.uncertainty for answer in answers if answer.uncertainty is not None]
    return AnswerStats(
        total=len(answers),
        errors=sum(answer.error for answer in answers),
        bad_masks=sum(answer.bad_mask for answer in answers),
        seconds=_even_sample(seconds),
        no_subjects=sum(answer.no_subject for answer in answers),
        uncertainties=_even_sample(uncertainties),
    )


def _even_sample(values: Sequence[float]) -> tuple[float, ...]:
    step = max(1, -(-len(values) // SAMPLES_MAX))
    return tuple(values[::step])
