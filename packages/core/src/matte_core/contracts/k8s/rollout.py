"""Rollout: how a new version takes over (in a Model's spec), and how far it is (in its status)."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from matte_core.contracts.evidence import Agreement
from matte_core.contracts.k8s.common import KubeContract, SemVer, Time, list_map
from matte_core.contracts.k8s.rules import CELRule

#: checks that a status remembers
HISTORY_MAX = 20
TEXT_MAX = 300
BUILT_IN_METRICS = frozenset({"errors", "latency", "masks", "foreground", "uncertainty", "agreement"})
_NAME = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"
Share = Annotated[float, Field(ge=0, le=1)]
Percent = Annotated[int, Field(ge=0, le=100)]
Timeout = Annotated[int, Field(ge=10, le=86400)]


class RolloutStep(KubeContract):
    """A share of the traffic, and how long the new version must hold it."""

    weight: int = Field(
        ge=1,
        le=99,
        description="Share of the traffic in percent for the new version; promotion to 100 follows the last step",
    )
    duration_seconds: int = Field(300, ge=0, le=604800, description="Minimum duration of the step in seconds")
    min_samples: int = Field(
        100, ge=0, le=1_000_000, description="Minimum answers from the new version before the step can end"
    )


class RateCheck(KubeContract):
    """A rate that must not exceed that of stable over the same period."""

    max_increase: Share = Field(0.01, description="Maximum increase over stable; 0.01 is one answer in a hundred")


class LatencyCheck(KubeContract):
    """95th percentile of the seconds per job, compared with stable over the same period."""

    max_ratio: float = Field(1.5, ge=1, le=100, description="Maximum ratio to the latency of stable")
    slack_seconds: float = Field(0.05, ge=0, le=60, description="Seconds allowed on top of the ratio")


class UncertaintyCheck(KubeContract):
    """Mean uncertainty of the masks, compared with stable: on mirrored jobs if enough of them were compared, else on
    the answers over the same period.
    """

    max_increase: Share = Field(
        0.05, description="Maximum increase over stable; 0.05 is 5% more of the subject expected to be wrong"
    )


class AgreementCheck(KubeContract):
    """Agreement between the masks of the new version and of stable, on mirrored jobs and golden images."""

    mirror_percent: Percent = Field(5, description="Percentage of stable's jobs that the new version also computes")
    min_iou: Share = Field(0.8, description="Intersection over union below which two masks disagree")
    min_boundary: Share = Field(0.7, description="Boundary F-score below which two masks disagree")
    max_alpha_difference: Share = Field(
        0.08, description="Mean absolute alpha difference above which two masks disagree"
    )
    max_disagreement: Share = Field(0.05, description="Maximum share of pairs that may disagree")

    def rejects(self, agreement: Agreement) -> bool:
        """A NaN is too different as well."""
        return not (
            agreement.iou >= self.min_iou
            and agreement.boundary >= self.min_boundary
            and agreement.alpha_difference <= self.max_alpha_difference
        )


class QueryCheck(KubeContract):
    """A Prometheus query. A missing or non-numeric result is inconclusive."""

    cel: ClassVar[tuple[CELRule, ...]] = (CELRule("has(self.min) || has(self.max)", "min or max must be set"),)

    name: str = Field(pattern=_NAME, max_length=40, description="Name of the metric in the checks")
    query: str = Field(min_length=1, max_length=2048, description="PromQL expression that yields one number")
    min: float | None = Field(None, description="Minimum passing value")
    max: float | None = Field(None, description="Maximum passing value")

    @model_validator(mode="after")
    def _validate(self) -> QueryCheck:
        if self.min is None and self.max is None:
            raise ValueError(f"query {self.name}: min or max must be set")
        return self


class WebhookCheck(KubeContract):
    """A webhook that returns {"verdict": "pass" | "fail" | "inconclusive", "message": …} to a POST."""

    name: str = Field(pattern=_NAME, max_length=40, description="Name of the metric in the checks")
    url: str = Field(
        pattern=r"^https?://[^\s@]+$", max_length=2048, description="URL to POST to, without user or password"
    )
    timeout_seconds: int = Field(
        10, ge=1, le=60, description="Timeout in seconds, after which the check is inconclusive"
    )


class RolloutAnalysis(KubeContract):
    """Analysis of the new version during a step."""

    interval_seconds: int = Field(15, ge=5, le=3600, description="Seconds between two checks")
    min_samples: int = Field(30, ge=1, le=100_000, description="Minimum samples of each version before a verdict")
    confidence: float = Field(
        0.95, ge=0.8, le=0.9999, description="Confidence level of a verdict; below it, the check is inconclusive"
    )
    failure_limit: int = Field(
        1, ge=1, le=100, description="Failed checks in total after which the version is rolled back"
    )
    inconclusive_limit: int = Field(
        8,
        ge=1,
        le=1000,
        description="Consecutive inconclusive checks, once the duration of the step is over, after which the rollout "
        "pauses",
    )
    error_rate: RateCheck = RateCheck()
    latency: LatencyCheck = LatencyCheck()
    bad_masks: RateCheck = Field(RateCheck(max_increase=0.02), description="Share of empty or full masks")
    foreground: RateCheck = Field(
        RateCheck(max_increase=0.02), description="Share of answers in which no subject was found"
    )
    uncertainty: UncertaintyCheck = UncertaintyCheck()
    agreement: AgreementCheck = AgreementCheck()
    queries: tuple[QueryCheck, ...] = Field(
        (), max_length=16, description="Prometheus queries", json_schema_extra=list_map("name")
    )
    webhooks: tuple[WebhookCheck, ...] = Field(
        (), max_length=16, description="Webhooks that return a verdict", json_schema_extra=list_map("name")
    )
    skip: tuple[Literal["errors", "latency", "masks", "foreground", "uncertainty", "agreement"], ...] = Field(
        (), max_length=6, description="Built-in metrics to ignore"
    )

    @model_validator(mode="after")
    def _unique_names(self) -> RolloutAnalysis:
        own = [query.name for query in self.queries] + [hook.name for hook in self.webhooks]
        if len(set(own)) != len(own) or not BUILT_IN_METRICS.isdisjoint(own):
            *first, last = sorted(BUILT_IN_METRICS)
            raise ValueError(
                f"the names of queries and webhooks must differ, and none may be {', '.join(first)} or {last}"
            )
        return self


class GoldenImages(KubeContract):
    """Built-in photographs that a version must answer before it receives traffic."""

    max_disagreements: int = Field(0, ge=0, le=1000, description="Maximum images whose mask may differ from stable's")


class RolloutLimits(KubeContract):
    """Limits of a rollout. A phase that exceeds its limit ends the rollout."""

    surge: int = Field(
        1,
        ge=1,
        le=1000,
        description="Maximum replicas above the full size, both versions together; above 100 replicas at least 1%",
    )
    verify_seconds: Timeout = Field(3600, description="Maximum seconds to download and verify the weights")
    start_seconds: Timeout = Field(900, description="Maximum seconds until the first replica answers")
    warm_seconds: Timeout = Field(600, description="Maximum seconds until a replica is warm")
    golden_seconds: Timeout = Field(600, description="Maximum seconds to pass the golden images")
    shift_seconds: Timeout = Field(
        900, description="Maximum seconds without progress towards the weight of a step; then the rollout pauses"
    )
    confirm_seconds: int = Field(
        60, ge=0, le=86400, description="Seconds to keep stable running after all traffic moved to the new version"
    )
    promote_seconds: Timeout = Field(1800, description="Maximum seconds without progress towards all traffic")
    rollback_seconds: Timeout = Field(
        1800, description="Maximum seconds without progress towards stable; then it counts as failed, and is retried"
    )


class RolloutRequest(KubeContract):
    """A one-time action on the rollout."""

    action: Literal["promote", "abort", "retry"] = Field(
        description="promote: skip the remaining steps; abort: roll back; retry: retry a rolled-back version or a "
        "paused step"
    )
    version: SemVer = Field(description="Version that the request is for; ignored for other versions")
    id: str = Field(
        "1",
        pattern=r"^[A-Za-z0-9._:-]+$",
        max_length=63,
        description="Identifier of the request; a new value repeats the action",
    )

    @property
    def token(self) -> str:
        """What a status records as ``handled_request`` once the request was acted on."""
        return f"{self.action} {self.version} {self.id}"

    def is_pending(self, version: str, status: RolloutStatus) -> bool:
        """Whether it is about ``version``, which the spec asks for, and was not acted on yet."""
        return self.version == version and self.token != status.handled_request


class RolloutSpec(KubeContract):
    """How a new version takes over. Changing ``version`` starts a rollout; setting it back rolls back."""

    cel: ClassVar[tuple[CELRule, ...]] = (
        CELRule(
            "!has(self.steps) || self.steps.map(s, s.weight).isSorted()",
            "the weights of the steps must increase",
            field_path=".steps",
        ),
    )

    steps: tuple[RolloutStep, ...] = Field(
        tuple(RolloutStep(weight=weight) for weight in (5, 25, 50)),
        max_length=20,
        description="Traffic steps; empty: promote at once",
        json_schema_extra=list_map("weight"),
    )
    analysis: RolloutAnalysis = RolloutAnalysis()
    golden: GoldenImages = GoldenImages()
    limits: RolloutLimits = RolloutLimits()
    paused: bool = Field(
        default=False, description="Hold the weights. A version that fails is rolled back nevertheless"
    )
    request: RolloutRequest | None = Field(None, description="One-time action: promote, abort or retry")

    @model_validator(mode="after")
    def _increasing_weights(self) -> RolloutSpec:
        weights = [step.weight for step in self.steps]
        if weights != sorted(set(weights)):
            raise ValueError("the weights of the steps must increase")
        return self


class Phase(StrEnum):
    """Phase of a rollout."""

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
    """Reason why a rollout paused or rolled back."""

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
    """Outcome of a check."""

    PASS = "pass"  # noqa: S105 -- a verdict
    FAIL = "fail"
    INCONCLUSIVE = "inconclusive"


class MetricVerdict(KubeContract):
    """Verdict on one metric."""

    metric: str = Field(max_length=64)
    verdict: Verdict
    value: float | None = Field(None, description="Value for the new version")
    stable: float | None = Field(None, description="Value for stable, if compared")
    samples: int = Field(0, ge=0, description="Samples of the new version")
    message: str = Field("", max_length=TEXT_MAX)


class Check(KubeContract):
    """Verdicts on all metrics at one point in time."""

    time: Time
    phase: Phase
    weight: Percent
    verdict: Verdict
    metrics: tuple[MetricVerdict, ...] = Field((), max_length=40, json_schema_extra=list_map("metric"))


class RolloutStatus(KubeContract):
    """Observed state of a rollout, and the operator's only record of it."""

    phase: Phase = Phase.PENDING
    cause: Cause = Cause.NONE
    message: str = Field("", max_length=TEXT_MAX)
    stable: str | None = Field(None, description="Version that serves or served before")
    stable_replicas: int = Field(0, ge=0, description="Full size of stable in replicas")
    canary: str | None = Field(None, description="Version that is being rolled out, or was rolled back")
    canary_replicas: int = Field(0, ge=0, description="Full size of the new version in replicas")
    previous: str | None = Field(
        None, description="Stable version before the last success; returning to it needs no steps"
    )
    observed_spec_hash: str = Field("", max_length=64, description="Hash of the spec that this attempt is for")
    attempt: int = Field(0, ge=0, description="Number of rollouts started so far")
    handled_request: str = Field("", max_length=200)
    forced: bool = Field(default=False, description="Promoted by request, without further analysis")
    weight: Percent = Field(0, description="Intended share of the new version in percent")
    reached: Percent = Field(
        0, description="Furthest share in percent that traffic has reached in the direction of this phase"
    )
    progressed_at: Time | None = Field(None, description="Time of the last progress of reached")
    exposed: bool = Field(default=False, description="Whether the new version has received traffic")
    step: int = Field(0, ge=0, description="Index of the current step")
    phase_started_at: Time | None = None
    step_started_at: Time | None = Field(
        None, description="Time when the weight of the step was reached; samples are counted from then on"
    )
    settled_at: Time | None = Field(None, description="Time when all traffic was on the new version")
    checked_at: Time | None = None
    failures: int = Field(0, ge=0)
    inconclusives: int = Field(0, ge=0, description="Consecutive inconclusive checks")
    checks: tuple[Check, ...] = Field(
        (), max_length=HISTORY_MAX, json_schema_extra={"x-kubernetes-list-type": "atomic"}
    )
