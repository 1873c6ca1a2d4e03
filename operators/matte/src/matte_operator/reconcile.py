"""One pass: observe, decide, apply."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import Any

from matte_core.contracts.k8s.common import Condition, ConditionStatus
from matte_core.contracts.k8s.model import ModelStatus, ModelVersionStatus
from matte_core.contracts.k8s.pool import PoolStatus
from matte_core.domain.conditions import Finding, news, settle
from matte_core.render.pods import POOL_LABEL, Release
from matte_telemetry.prometheus import PrometheusMeter
from urllib3.exceptions import HTTPError

from matte_operator import observe
from matte_operator.cluster import ApiError, Cluster, explained
from matte_operator.kinds import (
    BUDGET,
    EVENT,
    FIELD_MANAGER,
    MODEL,
    MODEL_VERSION,
    NODE,
    POD,
    POOL,
    RAY_SERVICE,
    Body,
    Kind,
    name_of,
)
from matte_operator.observe import SEEN, World
from matte_operator.plan import PlannedModel, PlannedPool, covers, plan, pool_status, version_body, wants_capacity
from matte_operator.pods import free_gpus

log = logging.getLogger("matte.operator")

#: seconds after which a pass is made again that something was refused in
RETRY_SECONDS = 30.0
#: reasons of conditions that are False without anything being wrong
_CALM = frozenset({"Starting", "Complete", "Removing"})
#: what the Pool has told already
_TOLD_ELSEWHERE = frozenset({"PoolNotReady"})
#: no news where it is the first word
_EXPECTED = frozenset({"Scheduled", "Complete"})
Status = PoolStatus | ModelStatus | ModelVersionStatus
_Failures = (*ApiError, HTTPError)


class Reconciler:
    """Passes over the namespace. It remembers nothing: everything is in the API.

    Args:
        cluster: the API.
        release: what the Pools of the release share.
        meter: counts.
        acting: whether this operator may still write; asked before every write.
        clock: the time in UTC.
    """

    def __init__(
        self,
        cluster: Cluster,
        release: Release,
        meter: PrometheusMeter,
        *,
        acting: Callable[[], bool],
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._cluster = cluster
        self._release = release
        self._meter = meter
        self._acting = acting
        self._clock = clock
        self._told: dict[Kind, set[str]] = {}

    def run(self) -> float | None:
        """One pass; seconds until the next one is due by itself, or None. It blocks.

        Raises:
            ApiError, urllib3.exceptions.HTTPError: the API could not be read. Writes that it refuses are told in
                conditions or logged, and tried again.
        """
        world = self._look()
        now = self._clock()
        planned = plan(world, self._release, now)
        made = [self._make_version(model) for model in planned.models]
        refused = {pool.name: self._apply_pool(world, pool) for pool in planned.pools}
        for pool in planned.pools:
            self._tell_pool(world, pool, refused[pool.name], now)
        for model in planned.models:
            self._tell_model(world, model, now)
        self._forget(world)
        waits = [planned.requeue_after]
        waits += [RETRY_SECONDS] if any(refused.values()) or "" in made else []
        return min((wait for wait in waits if wait is not None), default=None)

    def _look(self) -> World:
        selector = {POD: POOL_LABEL, BUDGET: POOL_LABEL}
        return World.of({kind: self._cluster.list(kind, label_selector=selector.get(kind)) for kind in SEEN})

    # objects --------------------------------------------------------------------------------------------------

    def _make_version(self, model: PlannedModel) -> str | None:
        """The name of the ModelVersion that was applied; '' where that failed; None where there was nothing to do."""
        if model.decision is None:
            return None
        for name in model.decision.remove:
            self._write(lambda name=name: self._cluster.delete(MODEL_VERSION, name), f"ModelVersion {name}")  # type: ignore[misc]
        if (spec := model.decision.wanted) is None:
            return None
        body = version_body(self._release, model.body, spec)
        problem = self._write(lambda: self._cluster.apply(MODEL_VERSION, body), f"ModelVersion {name_of(body)}")
        if problem:
            self._event(model.body, "Warning", "VersionRefused", f"ModelVersion {name_of(body)}: {problem}")
        return "" if problem else name_of(body)

    def _apply_pool(self, world: World, pool: PlannedPool) -> str:
        """What the API server had against the Pool's objects; '' for nothing."""
        problems = [
            self._write(lambda kind=kind, body=body: self._cluster.apply(kind, body), f"{kind.kind} {name_of(body)}")  # type: ignore[misc]
            for kind, body in ((RAY_SERVICE, pool.service), (BUDGET, pool.budget))
            if body is not None and not covers(body, world.get(kind, name_of(body)))
        ]
        return "; ".join(filter(None, problems))

    def _write(self, write: Callable[[], Any], what: str) -> str:
        """What was wrong; '' for nothing."""
        if not self._acting():
            return "another operator has taken over"
        try:
            write()
        except _Failures as error:
            log.warning("%s: %s", what, explained(error))
            return explained(error)
        log.info("written: %s", what)
        return ""

    # statuses -------------------------------------------------------------------------------------------------

    def _tell_pool(self, world: World, pool: PlannedPool, refused: str, now: datetime) -> None:
        if pool.spec is None:
            return self._tell_problem(POOL, pool.body, pool.problem, now)
        status = pool_status(world, pool, free=self._free_gpus(world, pool), refused=refused, now=now)
        return self._tell(POOL, pool.body, pool.status, status)

    def _free_gpus(self, world: World, pool: PlannedPool) -> int | None:
        """GPUs that nobody uses; None where it does not matter, or cannot be known."""
        if pool.spec is None or not wants_capacity(world, pool):
            return None
        workers = pool.spec.workers
        try:
            pods = self._cluster.list(POD, everywhere=True)
            return free_gpus(self._cluster.list(NODE), pods, workers.gpu_resource, workers.node_selector)
        except _Failures as error:
            log.warning("free GPUs: %s", explained(error))
            return None

    def _tell_model(self, world: World, model: PlannedModel, now: datetime) -> None:
        if model.decision is None:
            return self._tell_problem(MODEL, model.body, model.problem, now)
        for name, status in model.decision.versions.items():
            body = world.all(MODEL_VERSION)[name]
            self._tell(MODEL_VERSION, body, observe.model_version(body)[1], status)
        return self._tell(MODEL, model.body, model.status, model.decision.status)

    def _tell_problem(self, kind: Kind, body: Body, problem: str, now: datetime) -> None:
        """Of an object that is not what this operator knows: it was made by a newer one, or around the schema."""
        finding = Finding.no("Ready", "InvalidSpec", f"this operator cannot read it: {problem}")
        contract = PoolStatus if kind is POOL else ModelStatus
        before = [Condition.model_validate(c) for c in body.get("status", {}).get("conditions", ())]
        generation = body["metadata"]["generation"]
        status = contract(
            observed_generation=generation, conditions=settle(before, (finding,), generation=generation, now=now)
        )
        self._tell(kind, body, None, status)

    def _tell(self, kind: Kind, body: Body, before: Status | None, status: Status) -> None:
        for condition in status.conditions:
            self._meter.set_condition(kind.kind, name_of(body), condition.type, condition.status.value)
        self._told.setdefault(kind, set()).add(name_of(body))
        wire = status.model_dump(mode="json", exclude_none=True)
        if covers(wire, body.get("status")):
            return
        what = f"status of {kind.kind} {name_of(body)}"
        if self._write(lambda: self._cluster.apply_status(kind, name_of(body), wire), what):
            return
        for condition in events(before.conditions if before else (), status.conditions):
            self._event(body, _event_type(condition), condition.reason, condition.message)

    def _forget(self, world: World) -> None:
        """Objects that are gone have no metrics."""
        for kind, names in self._told.items():
            for name in names - set(world.all(kind)):
                self._meter.forget(kind.kind, name)
            names &= set(world.all(kind))

    # events ---------------------------------------------------------------------------------------------------

    def _event(self, about: Body, type_: str, reason: str, message: str) -> None:
        stamp = self._clock().strftime("%Y-%m-%dT%H:%M:%SZ")
        metadata = about["metadata"]
        event = {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {"generateName": f"{metadata['name'][:50]}.", "namespace": metadata["namespace"]},
            "involvedObject": {
                "apiVersion": about["apiVersion"],
                "kind": about["kind"],
                "name": metadata["name"],
                "namespace": metadata["namespace"],
                "uid": metadata["uid"],
                "resourceVersion": metadata["resourceVersion"],
            },
            "type": type_,
            "reason": reason,
            "message": message[:1000],
            "source": {"component": FIELD_MANAGER},
            "reportingComponent": FIELD_MANAGER,
            "firstTimestamp": stamp,
            "lastTimestamp": stamp,
            "count": 1,
        }
        self._write(lambda: self._cluster.create(EVENT, event), f"Event {reason} of {about['kind']} {metadata['name']}")


def events(old: Iterable[Condition], new: Iterable[Condition]) -> list[Condition]:
    """The conditions that are worth an Event: good news once, bad news whenever it reads differently, nothing twice."""
    before = {condition.type: condition for condition in old}
    told = {
        condition.message: condition
        for condition in reversed(news(before.values(), new))
        if _worth_telling(before.get(condition.type), condition)
    }
    return list(reversed(told.values()))


def _worth_telling(before: Condition | None, condition: Condition) -> bool:
    if condition.type == "Serving" or condition.reason in _TOLD_ELSEWHERE:
        return False
    if before is None and (
        condition.reason in _EXPECTED or (condition.type, condition.reason) == ("Ready", "Starting")
    ):
        return False
    again = before is not None and (before.status, before.reason) == (condition.status, condition.reason)
    return not again or condition.reason == "Serving" or _event_type(condition) == "Warning"


def _event_type(condition: Condition) -> str:
    return "Normal" if condition.status is ConditionStatus.TRUE or condition.reason in _CALM else "Warning"
