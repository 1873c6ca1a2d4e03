"""One pass: observe, decide, apply."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from matte_core.contracts.k8s.common import Condition
from matte_core.contracts.k8s.model import ModelStatus, ModelVersionSpec, ModelVersionStatus
from matte_core.contracts.k8s.pool import PoolStatus
from matte_telemetry.prometheus import PrometheusMeter
from urllib3.exceptions import HTTPError

from matte_operator import observe
from matte_operator.asked import Asked, asked
from matte_operator.cluster import ApiError, Cluster, explained
from matte_operator.domain.conditions import Finding, settle
from matte_operator.domain.rollout.evidence import ModelEvidence
from matte_operator.evidence import Reports
from matte_operator.external import Judges
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
from matte_operator.plan import PlannedModel, PlannedPool, Told, covers, plan, pool_status, short_of_gpus, version_body
from matte_operator.pods import free_gpus
from matte_operator.render.pods import POOL_LABEL, Release
from matte_operator.story import News, event_type, events, rollout_news

log = logging.getLogger("matte.operator")

#: seconds after which a pass is made again that something was refused in
RETRY_SECONDS = 30.0
#: a pass that nothing rang for goes by what was seen so long ago at most (seconds)
LOOK_SECONDS = 30.0
Status = PoolStatus | ModelStatus | ModelVersionStatus
_Failures = (*ApiError, HTTPError)


@dataclass(frozen=True, slots=True)
class _Seen:
    """What was seen of the API, and when."""

    world: World
    free_gpus: Mapping[str, int]
    at: datetime


class Reconciler:
    """Passes over the namespace. Nothing is remembered that a restart may not lose: everything is in the API.

    Args:
        cluster: the API.
        release: what the Pools of the release share.
        meter: counts.
        acting: whether this operator may still write; asked before every write.
        reports: what routers and replicas say.
        judges: of rollouts, apart from Matte's own.
        clock: the time in UTC.
    """

    def __init__(
        self,
        cluster: Cluster,
        release: Release,
        meter: PrometheusMeter,
        *,
        acting: Callable[[], bool],
        reports: Reports,
        judges: Judges,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._cluster = cluster
        self._release = release
        self._meter = meter
        self._acting = acting
        self._reports = reports
        self._judges = judges
        self._clock = clock
        self._told: dict[Kind, set[str]] = {}
        self._refused: dict[str, str] = {}
        self._seen: _Seen | None = None

    def run(self, *, fresh: bool = True) -> float | None:
        """One pass; seconds until the next one is due by itself, or None. It blocks.

        Args:
            fresh: something has changed in the API; else what was seen there a moment ago will do.

        Raises:
            ApiError, urllib3.exceptions.HTTPError: the API could not be read. Writes that it refuses are told in
                conditions or logged, and tried again.
        """
        now = self._clock()
        seen = self._again(now, fresh=fresh) or self._look(now)
        self._seen = seen  # a write forgets it
        world = seen.world
        told = Told(self._evidence(asked(world, now), now), seen.free_gpus)
        planned = plan(world, self._release, now, told)
        self._log_moves(planned.models)
        made = [name for model in planned.models for name in self._make_versions(model)]
        self._report(planned.models)
        refused = {pool.name: self._apply_pool(world, pool) for pool in planned.pools}
        for pool in planned.pools:
            self._tell_pool(world, pool, told.free_gpus.get(pool.name), refused[pool.name], now)
        for model in planned.models:
            self._tell_model(world, model, now)
        self._forget(world)
        waits = [planned.requeue_after]
        waits += [RETRY_SECONDS] if any(refused.values()) or "" in made else []
        return min((wait for wait in waits if wait is not None), default=None)

    def _evidence(self, asked: Asked, now: datetime) -> dict[str, ModelEvidence]:
        """What is reported, by Model, with the answers of other judges where a check is due."""
        found = self._reports.read(asked, now.timestamp())
        answers = self._judges.answers(asked.inquiries)
        return {name: replace(one, external=answers.get(name, {})) for name, one in found.items()}

    def _log_moves(self, models: Iterable[PlannedModel]) -> None:
        """When a rollout's moves were decided, to the millisecond: statuses and Events tell whole seconds."""
        for model in models if self._acting() else ():
            for one in _news(model):
                about = {"object": f"{MODEL.kind}/{model.name}", "event": one.reason}
                log.info("%s %s: %s", MODEL.kind, model.name, one.message, extra=about)

    def _report(self, models: Iterable[PlannedModel]) -> None:
        """Orders that Redis does not take are given again: their versions wait."""
        decided = [(model.name, model.decision) for model in models if model.decision]
        orders = [order for _, decision in decided for order in decision.orders]
        gone = [(pool, name, version) for name, decision in decided for pool, version in decision.retract]
        if self._acting():
            self._reports.write(orders, gone)

    def _again(self, now: datetime, *, fresh: bool) -> _Seen | None:
        """What the pass before saw, where nothing was written or heard of since."""
        old = self._seen
        return old if old and not fresh and (now - old.at).total_seconds() < LOOK_SECONDS else None

    def _look(self, now: datetime) -> _Seen:
        self._seen = None
        selector = {POD: POOL_LABEL, BUDGET: POOL_LABEL}
        world = World.of({kind: self._cluster.list(kind, label_selector=selector.get(kind)) for kind in SEEN})
        return _Seen(world, self._free_gpus(world), now)

    # objects --------------------------------------------------------------------------------------------------

    def _make_versions(self, model: PlannedModel) -> list[str]:
        """The names of the ModelVersions that were applied; '' where that failed."""
        if model.decision is None:
            return []
        for name in model.decision.remove:
            self._write(lambda name=name: self._cluster.delete(MODEL_VERSION, name), f"ModelVersion {name}")  # type: ignore[misc]
        return [self._make_version(model, spec) for spec in model.decision.wanted]

    def _make_version(self, model: PlannedModel, spec: ModelVersionSpec) -> str:
        body = version_body(self._release, model.body, spec)
        name = name_of(body)
        problem = self._write(lambda: self._cluster.apply(MODEL_VERSION, body), f"ModelVersion {name}")
        if not problem:
            self._refused.pop(name, None)
            return name
        if self._refused.get(name) != problem:
            self._event(model.body, News("Warning", "VersionRefused", f"ModelVersion {name}: {problem}"))
        self._refused[name] = problem
        return ""

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
        self._seen = None
        try:
            write()
        except _Failures as error:
            log.warning("%s: %s", what, explained(error))
            return explained(error)
        log.info("written: %s", what)
        return ""

    # statuses -------------------------------------------------------------------------------------------------

    def _tell_pool(self, world: World, pool: PlannedPool, free: int | None, refused: str, now: datetime) -> None:
        if pool.spec is None:
            return self._tell_problem(POOL, pool.body, pool.problem, now)
        status = pool_status(world, pool, free=free, refused=refused, now=now)
        self._tell(POOL, pool.body, pool.status, status)
        return None

    def _free_gpus(self, world: World) -> dict[str, int]:
        """GPUs that nobody uses, for the Pools that they matter to; less where they cannot be known."""
        if not (short := short_of_gpus(world)):
            return {}
        try:
            nodes, pods = self._cluster.list(NODE), self._cluster.list(POD, everywhere=True)
        except _Failures as error:
            log.warning("free GPUs: %s", explained(error))
            return {}
        workers = {name: spec.workers for name, spec in short.items()}
        return {name: free_gpus(nodes, pods, w.gpu_resource, w.node_selector) for name, w in workers.items()}

    def _tell_model(self, world: World, model: PlannedModel, now: datetime) -> None:
        if model.decision is None:
            return self._tell_problem(MODEL, model.body, model.problem, now)
        for name, status in model.decision.versions.items():
            body = world.all(MODEL_VERSION)[name]
            self._tell(MODEL_VERSION, body, observe.model_version(body)[1], status)
        after = model.decision.status
        if self._tell(MODEL, model.body, model.status, after, rollout=after.rollout is not None):
            for one in _news(model):
                self._event(model.body, one)
        return None

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

    def _tell(self, kind: Kind, body: Body, before: Status | None, status: Status, *, rollout: bool = False) -> bool:
        """Whether it was news, and written."""
        for condition in status.conditions:
            self._meter.set_condition(kind.kind, name_of(body), condition.type, condition.status.value)
        self._told.setdefault(kind, set()).add(name_of(body))
        wire = _wire(status)
        # what is gone is news too: only a status that cannot be read may have more than this one
        known = covers(wire, body.get("status")) if before is None else wire == _wire(before)
        if known or self._write(
            lambda: self._cluster.apply_status(kind, name_of(body), wire), f"status of {kind.kind} {name_of(body)}"
        ):
            return False
        for condition in events(before.conditions if before else (), status.conditions, rollout=rollout):
            self._event(body, News(event_type(condition), condition.reason, condition.message))
        return True

    def _forget(self, world: World) -> None:
        """Objects that are gone have no metrics."""
        for kind, names in self._told.items():
            for name in names - set(world.all(kind)):
                self._meter.forget(kind.kind, name)
            names &= set(world.all(kind))

    # events ---------------------------------------------------------------------------------------------------

    def _event(self, about: Body, told: News) -> None:
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
            "type": told.type,
            "reason": told.reason,
            "message": told.message[:1000],
            "source": {"component": FIELD_MANAGER},
            "reportingComponent": FIELD_MANAGER,
            "firstTimestamp": stamp,
            "lastTimestamp": stamp,
            "count": 1,
        }
        what = f"Event {told.reason} of {about['kind']} {metadata['name']}"
        self._write(lambda: self._cluster.create(EVENT, event), what)


def _news(model: PlannedModel) -> list[News]:
    """Of its rollout."""
    if model.decision is None:
        return []
    return rollout_news(model.name, model.status.rollout if model.status else None, model.decision.status.rollout)


def _wire(status: Status) -> Body:
    return status.model_dump(mode="json", exclude_none=True)
