"""One pass: observe, decide, apply."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from matte_core.contracts.k8s.common import Condition, format_time
from matte_core.contracts.k8s.model import ModelStatus, ModelVersionStatus
from matte_core.contracts.k8s.pool import PoolStatus
from matte_telemetry.prometheus import PrometheusMeter

from matte_operator.domain.conditions import ConditionUpdate, merge_conditions
from matte_operator.domain.pool import pool_status
from matte_operator.events import EventRecord, conditions_to_report, event_type, rollout_events
from matte_operator.evidence_client import EvidenceClient
from matte_operator.external_checks import ExternalChecks
from matte_operator.kinds import (
    BUDGET,
    EVENT,
    FIELD_MANAGER,
    MODEL,
    MODEL_VERSION,
    NODE,
    OBSERVED,
    POD,
    POOL,
    RAY_SERVICE,
    Body,
    Kind,
    name_of,
)
from matte_operator.kube_client import ApiError, KubeClient, error_message
from matte_operator.metrics import CONDITION, set_condition
from matte_operator.plan import (
    ExternalFacts,
    PlannedModel,
    PlannedPool,
    is_subset,
    model_version_manifest,
    plan,
    pools_short_of_gpus,
)
from matte_operator.pods import free_gpus
from matte_operator.render.pods import POOL_LABEL, Release
from matte_operator.required_evidence import required_evidence
from matte_operator.snapshot import Invalid, Snapshot

log = logging.getLogger("matte.operator")

#: a pass in which something was refused is repeated after this long (seconds)
RETRY_SECONDS = 30.0
#: a pass that no change triggered uses a snapshot of at most this age (seconds)
SNAPSHOT_SECONDS = 30.0
Status = PoolStatus | ModelStatus | ModelVersionStatus


@dataclass(frozen=True, slots=True)
class _Observed:
    snapshot: Snapshot
    free_gpus: Mapping[str, int]
    at: datetime


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a write. ``error``: why it failed; None where it succeeded."""

    error: str | None = None


class Reconciler:
    """Passes over the namespace. Whatever they remember may be lost in a restart: all state is in the API.

    ``may_write`` is asked before every write: whether this operator is the leader.
    """

    def __init__(
        self,
        kube: KubeClient,
        release: Release,
        meter: PrometheusMeter,
        *,
        may_write: Callable[[], bool],
        evidence_client: EvidenceClient,
        external_checks: ExternalChecks,
    ) -> None:
        self._kube = kube
        self._release = release
        self._meter = meter
        self._may_write = may_write
        self._evidence_client = evidence_client
        self._external_checks = external_checks
        self._measured: dict[Kind, set[str]] = {}
        self._refused_versions: dict[str, str] = {}
        self._observed: _Observed | None = None

    def run(self, *, fresh: bool = True) -> float | None:
        """One pass; seconds until the next one is due by itself, or None. It blocks.

        Args:
            fresh: something has changed in the API; else a recent snapshot is used again.

        Raises:
            ApiError: the API could not be read. Writes that it refuses are reported in conditions or logged, and
                tried again.
        """
        now = datetime.now(UTC)
        observed = self._observe(now, fresh=fresh)
        snapshot = observed.snapshot
        required = required_evidence(snapshot, now)
        evidence = self._evidence_client.read(required, now.timestamp())
        external = self._external_checks.results(required.external_checks)
        evidence = {name: replace(one, external=external.get(name, {})) for name, one in evidence.items()}
        planned = plan(snapshot, self._release, now, ExternalFacts(evidence, observed.free_gpus))

        for model in planned.models if self._may_write() else ():
            for event in _rollout_events(model):  # logged with milliseconds: statuses and Events have whole seconds
                extra = {"object": f"{MODEL.kind}/{model.model.name}", "event": event.reason}
                log.info("model/%s: %s", model.model.name, event.message, extra=extra)
        outcomes = [outcome for model in planned.models for outcome in self._apply_versions(model)]
        # orders that Redis does not take are written again by the next pass: their versions wait
        orders = [order for model in planned.models for order in model.decision.orders]
        gone = [(pool, m.model.name, version) for m in planned.models for pool, version in m.decision.retract]
        if self._may_write():
            self._evidence_client.write(orders, gone)
        for pool in planned.pools:
            outcome = self._apply_pool(snapshot, pool)
            outcomes.append(outcome)
            observation = replace(pool.observation, apply_error=outcome.error or "")
            old = pool.pool
            status = pool_status(old.spec, old.status, old.generation, observation, now)
            self._update_status(POOL, old.body, old.status, status)
        for model in planned.models:
            for name, version_status in model.decision.version_statuses.items():
                version = snapshot.versions[name]
                self._update_status(MODEL_VERSION, version.body, version.status, version_status)
            body, new = model.model.body, model.decision.status
            if self._update_status(MODEL, body, model.model.status, new, rollout=new.rollout is not None):
                for event in _rollout_events(model):
                    self._create_event(body, event)
        for invalid in planned.invalid:
            self._report_invalid(invalid, now)
        for kind, names in self._measured.items():
            for name in names - set(snapshot.objects.get(kind, {})):
                self._meter.remove(CONDITION, kind.kind, name)
            names &= set(snapshot.objects.get(kind, {}))

        due = [planned.requeue_after]
        if any(outcome.error is not None for outcome in outcomes):
            due.append(RETRY_SECONDS)
        return min((seconds for seconds in due if seconds is not None), default=None)

    def _observe(self, now: datetime, *, fresh: bool) -> _Observed:
        last, self._observed = self._observed, None
        if last is None or fresh or (now - last.at).total_seconds() >= SNAPSHOT_SECONDS:
            selectors = {POD: POOL_LABEL, BUDGET: POOL_LABEL}
            snapshot = Snapshot.of(
                {kind: self._kube.list(kind, label_selector=selectors.get(kind)) for kind in OBSERVED}
            )
            last = _Observed(snapshot, self._free_gpus(snapshot), now)
        self._observed = last  # until the next write
        return last

    def _free_gpus(self, snapshot: Snapshot) -> dict[str, int]:
        """By Pool, where they matter; empty where they cannot be counted."""
        pools = pools_short_of_gpus(snapshot)
        if not pools:
            return {}
        try:
            nodes, pods = self._kube.list(NODE), self._kube.list(POD, all_namespaces=True)
        except ApiError as error:
            log.warning("nodes: free GPUs are not counted: %s", error_message(error))
            return {}
        return {
            name: free_gpus(nodes, pods, spec.workers.gpu_resource, spec.workers.node_selector)
            for name, spec in pools.items()
        }

    def _apply_versions(self, model: PlannedModel) -> list[Outcome]:
        """The outcomes of the ModelVersions that were applied."""
        for name in model.decision.delete:
            self._write(f"modelversion/{name}", self._kube.delete, MODEL_VERSION, name)
        outcomes = []
        for spec in model.decision.apply:
            body = model_version_manifest(self._release, model.model.body, spec)
            name = name_of(body)
            outcome = self._write(f"modelversion/{name}", self._kube.apply, MODEL_VERSION, body)
            if outcome.error is None:
                self._refused_versions.pop(name, None)
            elif self._refused_versions.get(name) != outcome.error:
                self._refused_versions[name] = outcome.error
                event = EventRecord("Warning", "VersionRefused", f"ModelVersion {name}: {outcome.error}")
                self._create_event(model.model.body, event)
            outcomes.append(outcome)
        return outcomes

    def _apply_pool(self, snapshot: Snapshot, pool: PlannedPool) -> Outcome:
        errors = []
        for kind, body in ((RAY_SERVICE, pool.service), (BUDGET, pool.budget)):
            if not is_subset(body, snapshot.objects.get(kind, {}).get(name_of(body))):
                errors.append(self._write(f"{kind.kind.lower()}/{name_of(body)}", self._kube.apply, kind, body).error)
        return Outcome("; ".join(filter(None, errors)) or None)

    def _write(self, what: str, write: Callable[..., Any], *arguments: Any) -> Outcome:
        if not self._may_write():
            return Outcome("another operator has taken over")
        self._observed = None
        try:
            write(*arguments)
        except ApiError as error:
            log.warning("%s: %s", what, error_message(error))
            return Outcome(error_message(error))
        log.info("%s: written", what)
        return Outcome()

    def _report_invalid(self, invalid: Invalid, now: datetime) -> None:
        update = ConditionUpdate.false("Ready", "InvalidSpec", f"this operator cannot read it: {invalid.error}")
        old = [Condition.model_validate(c) for c in invalid.body.get("status", {}).get("conditions", ())]
        generation = invalid.body["metadata"]["generation"]
        status_type = PoolStatus if invalid.kind is POOL else ModelStatus
        status = status_type(
            observed_generation=generation, conditions=merge_conditions(old, (update,), generation=generation, now=now)
        )
        self._update_status(invalid.kind, invalid.body, None, status)

    def _update_status(
        self, kind: Kind, body: Body, before: Status | None, status: Status, *, rollout: bool = False
    ) -> bool:
        """Writes a status that has changed, with Events about its conditions; whether it was written.

        ``before`` is None where the old status does not parse.
        """
        name = name_of(body)
        for condition in status.conditions:
            set_condition(self._meter, kind.kind, name, condition.type, condition.status.value)
        self._measured.setdefault(kind, set()).add(name)
        manifest = status.model_dump(mode="json", exclude_none=True)
        if before is None:
            unchanged = is_subset(manifest, body.get("status"))  # what does not parse may have more
        else:
            unchanged = manifest == before.model_dump(mode="json", exclude_none=True)
        if unchanged:
            return False
        outcome = self._write(f"{kind.kind.lower()}/{name}: status", self._kube.apply_status, kind, name, manifest)
        if outcome.error is not None:
            return False
        old = before.conditions if before else ()
        for condition in conditions_to_report(old, status.conditions, rollout=rollout):
            self._create_event(body, EventRecord(event_type(condition), condition.reason, condition.message))
        return True

    def _create_event(self, involved: Body, event: EventRecord) -> None:
        time = format_time(datetime.now(UTC))
        metadata = involved["metadata"]
        body = {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {"generateName": f"{metadata['name'][:50]}.", "namespace": metadata["namespace"]},
            "involvedObject": {
                "apiVersion": involved["apiVersion"],
                "kind": involved["kind"],
                "name": metadata["name"],
                "namespace": metadata["namespace"],
                "uid": metadata["uid"],
                "resourceVersion": metadata["resourceVersion"],
            },
            "type": event.type,
            "reason": event.reason,
            "message": event.message[:1000],
            "source": {"component": FIELD_MANAGER},
            "reportingComponent": FIELD_MANAGER,
            "firstTimestamp": time,
            "lastTimestamp": time,
            "count": 1,
        }
        what = f"{involved['kind'].lower()}/{metadata['name']}: event {event.reason}"
        self._write(what, self._kube.create, EVENT, body)


def _rollout_events(planned: PlannedModel) -> list[EventRecord]:
    before, after = planned.model.status.rollout, planned.decision.status.rollout
    return rollout_events(planned.model.name, before, after)
