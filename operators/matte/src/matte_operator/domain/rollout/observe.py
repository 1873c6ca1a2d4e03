"""What a rollout is decided from: what is asked for, and what is seen."""

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
class Wanted:
    """What the Model asks for. ``hash``: see :func:`spec_hash`; ``replicas``: the full size."""

    version: str
    hash: str
    replicas: int
    rollout: RolloutSpec


class Gate(StrEnum):
    """Whether something that must be true once is."""

    WAITING = "waiting"
    PASSED = "passed"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class GateSeen:
    """A gate, and what is known about it."""

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
class GoldenSeen:
    """The golden images answered so far, how many there are, and the version to compare with; '' for none."""

    total: int = 0
    answers: tuple[GoldenAnswer, ...] = ()
    against: str = ""


@dataclass(frozen=True, slots=True)
class CanarySeen:
    """The gates of one attempt to roll out one version."""

    version: str
    attempt: int
    verified: GateSeen = GateSeen()
    preflight: GateSeen = GateSeen()
    warmed: GateSeen = GateSeen()
    golden: GoldenSeen = GoldenSeen()


@dataclass(frozen=True, slots=True)
class VersionNow:
    """A version's processes and traffic now.

    Attributes:
        held: replicas that hold, or wait for, their resources, those that start or end included.
        ready: replicas that answer.
        weight: per cent that every router gives it, the highest where they differ; None where one cannot be asked.
        trouble: why it will not run without help (crash loop, out of memory); '' where nothing is known.
    """

    held: int = 0
    ready: int = 0
    weight: int | None = None
    trouble: str = ""


@dataclass(frozen=True, slots=True)
class Answers:
    """A version's unpinned answers in a window.

    Attributes:
        total: answers, errors that are the version's fault included.
        errors: of those, failed by the version.
        bad_masks: of those, empty or full.
        seconds: a sample of at most 2000, drawn evenly, of seconds from the router's choice to the answer.
    """

    total: int = 0
    errors: int = 0
    bad_masks: int = 0
    seconds: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class ExternalSeen:
    """The answer of a query (``value``) or of a webhook (``verdict``)."""

    value: float | None = None
    verdict: Verdict | None = None
    message: str = ""


@dataclass(frozen=True, slots=True)
class Measured:
    """What was measured since ``since``, which is the status' ``step_started_at``."""

    since: str
    stable: Answers = Answers()
    canary: Answers = Answers()
    pairs: tuple[Agreement, ...] = ()
    external: Mapping[str, ExternalSeen] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Observation:
    """What is seen. A version that is not in ``versions`` has no processes and no traffic."""

    versions: Mapping[str, VersionNow] = field(default_factory=dict)
    canary: CanarySeen | None = None
    measured: Measured | None = None

    def version(self, name: str | None) -> VersionNow:
        """A version now."""
        return self.versions.get(name or "", VersionNow(weight=0))


def spec_hash(version: str, parameters: VersionParameters) -> str:
    """Names what a rollout is about: the version and all that is fixed within it, not the number of replicas."""
    names = VersionParameters.model_fields.keys() - MUTABLE_FIELDS
    body = parameters.model_dump(mode="json", include=set(names))
    text = json.dumps({"version": version, **body}, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]
