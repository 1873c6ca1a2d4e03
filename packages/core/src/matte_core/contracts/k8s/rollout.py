"""Rollout: how a new version takes over (in a Model's spec), and how far it is (in its status)."""

from __future__ import annotations

from enum import StrEnum
from typing import ClassVar, Literal

from pydantic import Field, model_validator

from matte_core.contracts.evidence import Agreement
from matte_core.contracts.k8s.common import KubeContract, SemVer, Time, list_map
from matte_core.contracts.k8s.rules import CELRule

#: checks that a status remembers
HISTORY_MAX = 20
TEXT_MAX = 300
_NAME = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"


class RolloutStep(KubeContract):
    """A share of the traffic, and how long it must go well."""

    weight: int = Field(ge=1, le=99, description="per cent for the new version; 100 is the promotion after the steps")
    duration_seconds: int = Field(300, ge=0, le=604800, description="the step lasts so long at least")
    min_samples: int = Field(100, ge=0, le=1_000_000, description="and until the new version gave so many answers")


class RateCheck(KubeContract):
    """A share of the answers that must not grow: judged against stable at the same time."""

    max_increase: float = Field(0.01, ge=0, le=1, description="what it may grow by: 0.01 is one answer in a hundred")


class LatencyCheck(KubeContract):
    """95th percentile of the seconds per job, against stable at the same time."""

    max_ratio: float = Field(1.5, ge=1, le=100, description="how many times slower it may be")
    slack_seconds: float = Field(0.05, ge=0, le=60, description="and so much beyond that, whatever the ratio")


class AgreementCheck(KubeContract):
    """The new version's masks beside those of stable, on mirrored jobs and golden images."""

    mirror_percent: int = Field(5, ge=0, le=100, description="of stable's jobs, computed by the new version as well")
    min_iou: float = Field(0.8, ge=0, le=1, description="intersection over union below which two masks disagree")
    min_boundary: float = Field(0.7, ge=0, le=1, description="boundary F below which two masks disagree")
    max_alpha_difference: float = Field(0.08, ge=0, le=1, description="mean difference of alpha above which they do")
    max_disagreement: float = Field(0.05, ge=0, le=1, description="share of the pairs that may disagree")

    def rejects(self, agreement: Agreement) -> bool:
        """Whether two masks are too different; a NaN always is."""
        return not (
            agreement.iou >= self.min_iou
            and agreement.boundary >= self.min_boundary
            and agreement.alpha_difference <= self.max_alpha_difference
        )


class QueryCheck(KubeContract):
    """A Prometheus query of one's own. No answer, or one that is not a number, is inconclusive."""

    cel: ClassVar[tuple[CELRule, ...]] = (CELRule("has(self.min) || has(self.max)", "min or max must be set"),)

    name: str = Field(pattern=_NAME, max_length=40, description="of the metric, in the checks")
    query: str = Field(min_length=1, max_length=2048, description="PromQL that gives one number")
    min: float | None = Field(None, description="fails below")
    max: float | None = Field(None, description="fails above")

    @model_validator(mode="after")
    def _validate(self) -> QueryCheck:
        if self.min is None and self.max is None:
            raise ValueError(f"query {self.name}: min or max must be set")
        return self


class WebhookCheck(KubeContract):
    """A judge of one's own: POST, answered by {"verdict": "pass" | "fail" | "inconclusive", "message": …}."""

    name: str = Field(pattern=_NAME, max_length=40, description="of the metric, in the checks")
    url: str = Field(pattern=r"^https?://[^\s@]+$", max_length=2048, description="without password")
    timeout_seconds: int = Field(10, ge=1, le=60, description="no answer in time is inconclusive")


class RolloutAnalysis(KubeContract):
    """What a step is judged by."""

    interval_seconds: int = Field(15, ge=5, le=3600, description="between two checks")
    min_samples: int = Field(30, ge=1, le=100_000, description="of each version, before any verdict about them")
    confidence: float = Field(0.95, ge=0.8, le=0.9999, description="of a verdict; without it the check is inconclusive")
    failure_limit: int = Field(1, ge=1, le=100, description="so many failed checks in all roll the version back")
    inconclusive_limit: int = Field(
        8, ge=1, le=1000, description="so many inconclusive checks in a row, once a step's duration is over, pause it"
    )
    error_rate: RateCheck = RateCheck()
    latency: LatencyCheck = LatencyCheck()
    bad_masks: RateCheck = Field(RateCheck(max_increase=0.02), description="share of empty or full masks")
    agreement: AgreementCheck = AgreementCheck()
    queries: tuple[QueryCheck, ...] = Field(
        (), max_length=16, description="Prometheus queries of one's own", json_schema_extra=list_map("name")
    )
    webhooks: tuple[WebhookCheck, ...] = Field(
        (), max_length=16, description="judges of one's own", json_schema_extra=list_map("name")
    )
    skip: tuple[Literal["errors", "latency", "masks", "agreement"], ...] = Field(
        (), max_length=4, description="metrics that are not judged"
    )

    @model_validator(mode="after")
    def _unique_names(self) -> RolloutAnalysis:
        own = [query.name for query in self.queries] + [hook.name for hook in self.webhooks]
        names = ["errors", "latency", "masks", "agreement", *own]
        if len(set(names)) != len(names):
            raise ValueError(
                "the names of queries and webhooks must differ, and none may be errors, latency, masks or agreement"
            )
        return self


class GoldenImages(KubeContract):
    """Photographs, built in, that a version answers before it gets any traffic."""

    max_disagreements: int = Field(0, ge=0, le=1000, description="pictures whose mask may differ from stable's")


class RolloutLimits(KubeContract):
    """How much a rollout may take; a phase that lasts longer ends it."""

    surge: int = Field(
        1,
        ge=1,
        le=1000,
        description="replicas beyond the full size, of both together; above 100, one in a hundred more",
    )
    verify_seconds: int = Field(3600, ge=10, le=86400, description="to download and check the weights")
    start_seconds: int = Field(900, ge=10, le=86400, description="until the first replica answers")
    warm_seconds: int = Field(600, ge=10, le=86400, description="until a replica is warm")
    golden_seconds: int = Field(600, ge=10, le=86400, description="to answer the golden images as stable does")
    shift_seconds: int = Field(
        900, ge=10, le=86400, description="without progress towards a step's weight; then it pauses"
    )
    confirm_seconds: int = Field(60, ge=0, le=86400, description="all traffic on the new version, stable still there")
    promote_seconds: int = Field(1800, ge=10, le=86400, description="without progress towards all traffic")
    rollback_seconds: int = Field(
        1800,
        ge=10,
        le=86400,
        description="without progress towards stable; then it counts as failed, and goes on trying",
    )


class RolloutRequest(KubeContract):
    """Something asked for once; a new ``id`` asks again."""

    action: Literal["promote", "abort", "retry"] = Field(
        description="promote: skip what is left of the steps; abort: roll back; retry: a rolled-back version again,"
        " or a paused step again"
    )
    version: SemVer = Field(description="the version it is about; it does nothing to others")
    id: str = Field("1", pattern=r"^[A-Za-z0-9._:-]+$", max_length=63, description="a new one asks again")

    @property
    def token(self) -> str:
        """What a status records as ``handled_request`` once the request was acted on."""
        return f"{self.action} {self.version} {self.id}"


def _steps(*weights: int) -> tuple[RolloutStep, ...]:
    return tuple(RolloutStep(weight=weight) for weight in weights)


class RolloutSpec(KubeContract):
    """How a new version takes over. Changing ``version`` starts it, setting it back is the rollback."""

    cel: ClassVar[tuple[CELRule, ...]] = (
        CELRule(
            "!has(self.steps) || self.steps.map(s, s.weight).isSorted()",
            "the steps' weights must grow",
            field_path=".steps",
        ),
    )

    steps: tuple[RolloutStep, ...] = Field(
        _steps(5, 25, 50), max_length=20, description="none: promote at once", json_schema_extra=list_map("weight")
    )
    analysis: RolloutAnalysis = RolloutAnalysis()
    golden: GoldenImages = GoldenImages()
    limits: RolloutLimits = RolloutLimits()
    paused: bool = Field(
        default=False, description="hold the weights; a version that fails is rolled back all the same"
    )
    request: RolloutRequest | None = Field(None, description="promote, abort or retry")

    @model_validator(mode="after")
    def _increasing_weights(self) -> RolloutSpec:
        weights = [step.weight for step in self.steps]
        if weights != sorted(set(weights)):
            raise ValueError("the steps' weights must grow")
        return self


class Phase(StrEnum):
    """How far a rollout is."""

    PENDING = "Pending"
    VERIFYING = "Verifying"
    STARTING = "Starting"
    WARMING = "Warming"
    GOLDEN = "Golden"
    STEPPING = "Stepping"
    PAUSED = "Paused"
    PROMOTING = "Promoting"
    SUCCEEDED = "Succeeded"
    ROLLING_BACK = "RollingBack"
    ROLLED_BACK = "RolledBack"
    FAILED = "Failed"


class Cause(StrEnum):
    """Why a rollout paused, or went back."""

    NONE = "None"
    PAUSED = "PausedBySpec"
    INCONCLUSIVE = "Inconclusive"
    SHIFT_TIMEOUT = "WeightNotReached"
    VERIFICATION = "VerificationFailed"
    PREFLIGHT = "NoCapacity"
    START = "StartFailed"
    WARM = "WarmFailed"
    GOLDEN = "GoldenFailed"
    ANALYSIS = "AnalysisFailed"
    TIMEOUT = "TimedOut"
    ABORTED = "Aborted"
    REVERTED = "Reverted"
    SUPERSEDED = "Superseded"


class Verdict(StrEnum):
    """What a check says."""

    PASS = "pass"  # noqa: S105 -- a verdict
    FAIL = "fail"
    INCONCLUSIVE = "inconclusive"


class MetricVerdict(KubeContract):
    """One metric's verdict, with its numbers."""

    metric: str = Field(max_length=64)
    verdict: Verdict
    value: float | None = Field(None, description="of the new version")
    stable: float | None = Field(None, description="of stable, where it is compared")
    samples: int = Field(0, ge=0, description="of the new version")
    message: str = Field("", max_length=TEXT_MAX)


class Check(KubeContract):
    """All metrics at one time."""

    time: Time
    phase: Phase
    weight: int = Field(ge=0, le=100)
    verdict: Verdict
    metrics: tuple[MetricVerdict, ...] = Field((), max_length=40, json_schema_extra=list_map("metric"))


class RolloutStatus(KubeContract):
    """How far it is: the operator's only memory of a rollout."""

    phase: Phase = Phase.PENDING
    cause: Cause = Cause.NONE
    message: str = Field("", max_length=TEXT_MAX)
    stable: str | None = Field(None, description="version that serves, or served before")
    stable_replicas: int = Field(0, ge=0, description="its full size")
    canary: str | None = Field(None, description="version that is on its way, or was rolled back")
    canary_replicas: int = Field(0, ge=0, description="its full size")
    previous: str | None = Field(None, description="stable before the last success: the way back to it has no steps")
    observed_spec_hash: str = Field("", max_length=64, description="of the spec that this attempt is about")
    attempt: int = Field(0, ge=0, description="counts the starts of rollouts")
    handled_request: str = Field("", max_length=200)
    forced: bool = Field(default=False, description="promoted by request: the analysis is over")
    weight: int = Field(0, ge=0, le=100, description="per cent that the new version has by decision")
    reached: int = Field(0, ge=0, le=100, description="the furthest that weight has come in the phase's direction")
    progressed_at: Time | None = Field(None, description="when it came so far")
    exposed: bool = Field(default=False, description="the new version has had traffic")
    step: int = Field(0, ge=0, description="index into the steps")
    phase_started_at: Time | None = None
    step_started_at: Time | None = Field(None, description="when the step's weight was reached: samples count since")
    settled_at: Time | None = Field(None, description="when all traffic was on the new version")
    checked_at: Time | None = None
    failures: int = Field(0, ge=0)
    inconclusives: int = Field(0, ge=0, description="in a row")
    checks: tuple[Check, ...] = Field(
        (), max_length=HISTORY_MAX, json_schema_extra={"x-kubernetes-list-type": "atomic"}
    )
