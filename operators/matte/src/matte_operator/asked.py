"""What a pass must ask others before it can decide. Pure: nothing is asked here, and nothing is asked at rest."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from matte_core.contracts.k8s.model import ModelSpec, ModelStatus
from matte_core.contracts.k8s.rollout import QueryCheck, RolloutSpec, RolloutStatus, WebhookCheck
from matte_core.domain.phases import SERVING, elapsed_seconds

from matte_operator import observe
from matte_operator.domain.model import wants_evidence
from matte_operator.domain.version import VersionSeen
from matte_operator.kinds import MODEL, MODEL_VERSION, name_of
from matte_operator.observe import World
from matte_operator.plan import versions_of

#: a query has so long (seconds)
QUERY_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Question:
    """What a pass must know about one Model.

    Attributes:
        model: its name.
        pool: where a new version is to run.
        pools: the Pool of every version.
        canary: the version that is judged, or None.
        since: where a check is due, the status' ``step_started_at``; else ''.
    """

    model: str
    pool: str
    pools: Mapping[str, str]
    canary: str | None = None
    since: str = ""


@dataclass(frozen=True, slots=True)
class Inquiry:
    """What is asked about a rollout's step before its next check.

    Attributes:
        model: whose rollout it is.
        status: of the rollout.
        queries: to ask Prometheus.
        webhooks: to call.
        seconds: since the step began.
        due_in: seconds until the check; 0 and less: now.
    """

    model: str
    status: RolloutStatus
    queries: tuple[QueryCheck, ...]
    webhooks: tuple[WebhookCheck, ...]
    seconds: float
    due_in: float

    @property
    def about(self) -> tuple[object, ...]:
        """The same until the next check: it is asked once."""
        return (self.model, self.status.attempt, self.status.step_started_at, self.status.checked_at)

    @property
    def names(self) -> list[str]:
        """Of all judges."""
        return [query.name for query in self.queries] + [hook.name for hook in self.webhooks]


@dataclass(frozen=True, slots=True)
class Asked:
    """What is to be asked.

    Attributes:
        questions: to Redis.
        inquiries: to judges of one's own.
        known: every Model's versions; orders about others are those of Models that were deleted.
    """

    questions: tuple[Question, ...]
    inquiries: tuple[Inquiry, ...]
    known: frozenset[tuple[str, str]]


def asked(world: World, now: datetime) -> Asked:
    """What is to be asked before the next decision, now (UTC)."""
    questions, inquiries = [], []
    for body in world.all(MODEL).values():
        name = name_of(body)
        try:
            spec, status = observe.model(body)
            versions = tuple(versions_of(world, name))
        except ValueError:
            continue  # the plan tells it
        if _wanted(spec, status, versions):
            questions.append(_question(name, spec, status, versions, now))
            inquiries += [one] if (one := inquiry(name, spec.rollout, status.rollout, now)) else []
    specs = [body["spec"] for body in world.all(MODEL_VERSION).values()]
    known = frozenset((str(spec["model"]), str(spec["version"])) for spec in specs)
    return Asked(tuple(questions), tuple(inquiries), known)


def _wanted(spec: ModelSpec, status: ModelStatus, versions: Sequence[VersionSeen]) -> bool:
    new = spec.version not in {version.spec.version for version in versions}
    left = spec.rollout and status.rollout and status.rollout.canary and status.rollout.weight
    return new or bool(left) or wants_evidence(spec, status, versions)


def _question(
    name: str, spec: ModelSpec, status: ModelStatus, versions: Iterable[VersionSeen], now: datetime
) -> Question:
    pools = {version.spec.version: version.spec.pool for version in versions}
    if spec.rollout is None or status.rollout is None:
        return Question(name, spec.pool, pools)
    due = check_in(spec.rollout, status.rollout, now) <= 0
    return Question(
        name, spec.pool, pools, status.rollout.canary, (status.rollout.step_started_at or "") if due else ""
    )


def inquiry(model: str, spec: RolloutSpec | None, status: RolloutStatus | None, now: datetime) -> Inquiry | None:
    """What is to be asked; None where nobody is to be asked yet. ``now`` is in UTC.

    The judges are asked shortly before the check: as late as the slowest of them allows, and at most half an interval.
    """
    if spec is None or status is None or not check_in(spec, status, now) < math.inf:
        return None
    analysis, due_in = spec.analysis, check_in(spec, status, now)
    slowest = max(
        [*(QUERY_SECONDS for _ in analysis.queries), *(hook.timeout_seconds for hook in analysis.webhooks)], default=0
    )
    if not slowest or due_in > min(slowest, analysis.interval_seconds / 2):
        return None
    seconds = elapsed_seconds(status.step_started_at, now)
    return Inquiry(model, status, analysis.queries, analysis.webhooks, seconds, due_in)


def check_in(spec: RolloutSpec, status: RolloutStatus, now: datetime) -> float:
    """Seconds until the step's next check, 0 and less where it is due; infinite where none is made."""
    if status.phase not in SERVING or status.step_started_at is None:
        return math.inf
    return spec.analysis.interval_seconds - elapsed_seconds(status.checked_at or status.step_started_at, now)
