"""What a pass must read from Redis, and ask external checks, before it can decide. At rest that is nothing."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from matte_core.contracts.k8s.rollout import QueryCheck, RolloutSpec, RolloutStatus, WebhookCheck
from matte_core.domain.phases import elapsed_seconds

from matte_operator.domain.model import needs_evidence
from matte_operator.domain.rollout.decide import seconds_until_check
from matte_operator.kinds import MODEL_VERSION
from matte_operator.snapshot import Snapshot, observe_versions

#: timeout of a Prometheus query
QUERY_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class ModelQuery:
    """What a pass must know about one Model.

    ``pool`` is that of the spec's version, ``pools`` those of all versions; ``since`` is the status'
    ``step_started_at`` where a check is due, else ''.
    """

    model: str
    pool: str
    pools: Mapping[str, str]
    canary: str | None = None
    since: str = ""


@dataclass(frozen=True, slots=True)
class ExternalCheckRequest:
    """The queries and webhooks to ask before the next check of a rollout's step.

    ``step_seconds``: since the step began; ``due_in``: seconds until the check; 0 and less: now.
    """

    model: str
    status: RolloutStatus
    queries: tuple[QueryCheck, ...]
    webhooks: tuple[WebhookCheck, ...]
    step_seconds: float
    due_in: float

    @property
    def key(self) -> tuple[object, ...]:
        """The same until the next check, so that everything is asked once per check."""
        return (self.model, self.status.attempt, self.status.step_started_at, self.status.checked_at)

    @property
    def names(self) -> list[str]:
        return [query.name for query in self.queries] + [webhook.name for webhook in self.webhooks]


@dataclass(frozen=True, slots=True)
class RequiredEvidence:
    """``known_versions``: model and version of every ModelVersion; check orders about others are obsolete."""

    models: tuple[ModelQuery, ...]
    external_checks: tuple[ExternalCheckRequest, ...]
    known_versions: frozenset[tuple[str, str]]


def required_evidence(snapshot: Snapshot, now: datetime) -> RequiredEvidence:
    models, external_checks = [], []
    for name, model in snapshot.models.items():
        try:
            versions = observe_versions(snapshot, name)
        except ValueError:
            continue  # the plan reports it
        spec, rollout = model.spec, model.status.rollout
        pools = {version.spec.version: version.spec.pool for version in versions}
        draining = spec.rollout and rollout and rollout.canary and rollout.weight
        if spec.version in pools and not draining and not needs_evidence(spec, model.status, versions):
            continue
        if spec.rollout is None or rollout is None:
            models.append(ModelQuery(name, spec.pool, pools))
            continue
        is_due = seconds_until_check(spec.rollout, rollout, now) <= 0
        since = (rollout.step_started_at or "") if is_due else ""
        models.append(ModelQuery(name, spec.pool, pools, rollout.canary, since))
        if request := external_check_request(name, spec.rollout, rollout, now):
            external_checks.append(request)
    specs = [body["spec"] for body in snapshot.objects.get(MODEL_VERSION, {}).values()]
    known_versions = frozenset((str(spec["model"]), str(spec["version"])) for spec in specs)
    return RequiredEvidence(tuple(models), tuple(external_checks), known_versions)


def external_check_request(
    model: str, spec: RolloutSpec, status: RolloutStatus, now: datetime
) -> ExternalCheckRequest | None:
    """The external checks to start now; None while it is too early, or there are none.

    They start as late before the check as the slowest of them allows, and at most half an interval before.
    """
    analysis, due_in = spec.analysis, seconds_until_check(spec, status, now)
    timeouts = [QUERY_SECONDS] * len(analysis.queries) + [webhook.timeout_seconds for webhook in analysis.webhooks]
    if due_in == math.inf or not timeouts or due_in > min(max(timeouts), analysis.interval_seconds / 2):
        return None
    step_seconds = elapsed_seconds(status.step_started_at, now)
    return ExternalCheckRequest(model, status, analysis.queries, analysis.webhooks, step_seconds, due_in)
