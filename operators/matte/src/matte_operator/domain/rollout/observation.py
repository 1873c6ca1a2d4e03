"""What a rollout is decided from: the desired state and the observed one."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from matte_core.contracts.evidence import Agreement
from matte_core.contracts.k8s.model import MUTABLE_FIELDS, VersionParameters
from matte_core.contracts.k8s.rollout import RolloutSpec, Verdict


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
    """A gate's state, and why."""

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
    """The gates of one attempt to roll out one version."""

    version: str
    attempt: int
    verified: GateResult = GateResult()
    preflight: GateResult = GateResult()
    warmed: GateResult = GateResult()
    golden: GoldenResults = GoldenResults()


@dataclass(frozen=True, slots=True)
class VersionState:
    """A version's replicas and traffic.

    Attributes:
        allocated: replicas that hold, or wait for, their resources, those that start or end included.
        ready: replicas that answer.
        weight: percent that the routers give it, the highest where they differ; None where none answers.
        failure: why it cannot run without help (crash loop, out of memory); '' where nothing is known.
    """

    allocated: int = 0
    ready: int = 0
    weight: int | None = None
    failure: str = ""


@dataclass(frozen=True, slots=True)
class AnswerStats:
    """A version's answers in a window, without those that a rule sent to it.

    Attributes:
        total: answers, including errors that are the version's fault.
        errors: of those, failed by the version.
        bad_masks: of those, empty or full.
        seconds: a sample of at most 2000, drawn evenly, of seconds from the router's choice to the answer.
    """

    total: int = 0
    errors: int = 0
    bad_masks: int = 0
    seconds: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class ExternalResult:
    """The answer of a query (``value``) or of a webhook (``verdict``); without one, ``message`` says why."""

    value: float | None = None
    verdict: Verdict | None = None
    message: str = ""


@dataclass(frozen=True, slots=True)
class Measurements:
    """What was measured since ``since``, which is the status' ``step_started_at``."""

    since: str
    stable: AnswerStats = AnswerStats()
    canary: AnswerStats = AnswerStats()
    pairs: tuple[Agreement, ...] = ()
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
