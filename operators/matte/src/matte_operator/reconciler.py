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
    is_subset,
    model_version_manifest,
    plan,
    pools_short_of_gpus,
)
from matte_operator.pods import free_gpus
from matte_operator.render.pods import POOL_LABEL, Release
from matte_operator.required_evidence import required_evidence
from matte_operator.snapshot import Snapshot

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
        """One pass, which blocks; seconds until the next one is due by itself, or None.

        Without ``fresh`` a recent snapshot is used again. ``ApiError`` is raised where the API cannot be read; writes
        that it refuses are reported in conditions or logged, and tried again.
        """
        now = datetime.now(UTC)
        observed, self._observed = self._observed, None
        if observed is None or fresh or (now - observed.at).total_seconds() >= SNAPSHOT_SECONDS:
            selectors = {POD: POOL_LABEL, BUDGET: POOL_LABEL}
            lists = {kind: self._kube.list(kind, label_selector=selectors.get(kind)) for kind in OBSERVED}
            snapshot = Snapshot.of(lists)
            observed = _Observed(snapshot, self._free_gpus(snapshot), now)
        self._observed = observed  # until the next write
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
        errors = [error for model in planned.models for error in self._apply_versions(model)]
        # orders that Redis does not take are written again by the next pass: their versions wait
        orders = [order for model in planned.models for order in model.decision.orders]
        gone = [(pool, m.model.name, version) for m in planned.models for pool, version in m.decision.retract]
        if self._may_write():
            self._evidence_client.write(orders, gone)
        for pool in planned.pools:
            manifests = [
                (kind, body)
                for kind, body in ((RAY_SERVICE, pool.service), (BUDGET, pool.budget))
                if not is_subset(body, snapshot.objects.get(kind, {}).get(name_of(body)))
            ]
            refused = [self._write(f"{k.kind.lower()}/{name_of(b)}", self._kube.apply, k, b) for k, b in manifests]
            errors += refused
            observation = replace(pool.observation, apply_error="; ".join(filter(None, refused)))
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
            update = ConditionUpdate.false("Ready", "InvalidSpec", f"this operator cannot read it: {invalid.error}")
            old_conditions = [Condition.model_validate(c) for c in invalid.body.get("status", {}).get("conditions", ())]
            generation = invalid.body["metadata"]["generation"]
            conditions = merge_conditions(old_conditions, (update,), generation=generation, now=now)
            status_type = PoolStatus if invalid.kind is POOL else ModelStatus
            new_status = status_type(observed_generation=generation, conditions=conditions)
            self._update_status(invalid.kind, invalid.body, None, new_status)
        for kind, names in self._measured.items():
            for name in names - set(snapshot.objects.get(kind, {})):
                self._meter.remove(CONDITION, kind.kind, name)
            names &= set(snapshot.objects.get(kind, {}))

        due = [planned.requeue_after, RETRY_SECONDS if any(errors) else None]
        return min((seconds for seconds in due if seconds is not None), default=None)

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
        workers = {name: spec.workers for name, spec in pools.items()}
        return {name: free_gpus(nodes, pods, w.gpu_resource, w.node_selector) for name, w in workers.items()}

    def _apply_versions(self, model: PlannedModel) -> list[str]:
        """Why each write failed, '' where it succeeded."""
        for name in model.decision.delete:
            self._write(f"modelversion/{name}", self._kube.delete, MODEL_VERSION, name)
        errors = []
        for spec in model.decision.apply:
            body = model_version_manifest(self._release, model.model.body, spec)
            name = name_of(body)
            error = self._write(f"modelversion/{name}", self._kube.apply, MODEL_VERSION, body)
            if not error:
                self._refused_versions.pop(name, None)
            elif self._refused_versions.get(name) != error:
                self._refused_versions[name] = error
                event = EventRecord("Warning", "VersionRefused", f"ModelVersion {name}: {error}")
                self._create_event(model.model.body, event)
            errors.append(error)
        return errors

    def _write(self, what: str, write: Callable[..., Any], *arguments: Any) -> str:
        """Why the write failed, '' where it succeeded."""
        if not self._may_write():
            return "another operator has taken over"
        self._observed = None
        try:
            write(*arguments)
        except ApiError as error:
            message = error_message(error)
            log.warning("%s: %s", what, message)
            return message or type(error).__name__
        log.info("%s: written", what)
        return ""

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
        what = f"{kind.kind.lower()}/{name}: status"
        if unchanged or self._write(what, self._kube.apply_status, kind, name, manifest):
            return False
        old = before.conditions if before else ()
        for condition in conditions_to_report(old, status.conditions, rollout=rollout):
            self._create_event(body, EventRecord(event_type(condition), condition.reason, condition.message))
        return True

    def _create_event(self, involved: Body, event: EventRecord) -> None:
        time = format_time(datetime.now(UTC))
        metadata = involved["metadata"]
        reference = {key: metadata[key] for key in ("name", "namespace", "uid", "resourceVersion")}
        body = {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {"generateName": f"{metadata['name'][:50]}.", "namespace": metadata["namespace"]},
            "involvedObject": {"apiVersion": involved["apiVersion"], "kind": involved["kind"], **reference},
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
