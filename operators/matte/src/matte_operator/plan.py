"""From what is seen to what is to be written. Pure: the same world, the same plan."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from matte_core.contracts.catalog import RouteTable, app_name
from matte_core.contracts.k8s.model import ModelSpec, ModelStatus, ModelVersionSpec, ModelVersionStatus
from matte_core.contracts.k8s.pool import PoolSpec, PoolStatus

from matte_operator import observe
from matte_operator.domain import conditions
from matte_operator.domain.model import ModelDecision, ModelObservation, decide_model
from matte_operator.domain.names import model_version_name, ray_service_name
from matte_operator.domain.pool import READY, PoolObservation, asks_for_capacity, decide_pool
from matte_operator.domain.rollout.evidence import ModelEvidence
from matte_operator.domain.rollout.observe import Gate, GateSeen
from matte_operator.domain.rollout.of_model import ROOM
from matte_operator.domain.rollout.preflight import preflight
from matte_operator.domain.serving import Trouble
from matte_operator.domain.version import VersionSeen
from matte_operator.kinds import MODEL, MODEL_VERSION, POD, POOL, RAY_SERVICE, Body, name_of, owner_of
from matte_operator.observe import World
from matte_operator.pods import troubles
from matte_operator.render.pods import POOL_LABEL, Release
from matte_operator.render.rayservice import disruption_budget, ray_service
from matte_operator.render.serve_config import serve_config

MODEL_LABEL = "matte.dev/model"
DIGEST = "matte.dev/digest"


@dataclass(frozen=True, slots=True)
class PlannedModel:
    """A Model, and what is to become of it. ``problem``: its spec is not what this operator knows."""

    body: Body
    spec: ModelSpec | None = None
    status: ModelStatus | None = None
    decision: ModelDecision | None = None
    problem: str = ""

    @property
    def name(self) -> str:
        """Its name."""
        return name_of(self.body)


@dataclass(frozen=True, slots=True)
class PlannedPool:
    """A Pool, and the objects that it becomes."""

    body: Body
    spec: PoolSpec | None = None
    status: PoolStatus | None = None
    service: Body | None = None
    budget: Body | None = None
    models: int = 0
    problem: str = ""

    @property
    def name(self) -> str:
        """Its name."""
        return name_of(self.body)


@dataclass(frozen=True, slots=True)
class Plan:
    """What a pass writes."""

    models: tuple[PlannedModel, ...]
    pools: tuple[PlannedPool, ...]

    @property
    def requeue_after(self) -> float | None:
        """Seconds until something is due without anything having happened."""
        waits = [model.decision.requeue_after for model in self.models if model.decision]
        return min((wait for wait in waits if wait is not None), default=None)


@dataclass(frozen=True, slots=True)
class Told:
    """What others said, apart from the API.

    Attributes:
        evidence: by Model; one that is missing was not asked for, or could not be had.
        free_gpus: by Pool, where a worker waits for a node.
    """

    evidence: Mapping[str, ModelEvidence] = field(default_factory=dict)
    free_gpus: Mapping[str, int] = field(default_factory=dict)


def plan(world: World, release: Release, now: datetime, told: Told = Told()) -> Plan:
    """What is to be written, now (UTC)."""
    models = tuple(_model(world, body, now, told) for body in _by_age(world.all(MODEL).values()))
    return Plan(models, tuple(_pool(world, release, body, models) for body in world.all(POOL).values()))


def covers(wanted: Any, there: Any) -> bool:
    """Whether what is there has everything that is wanted; it may have more."""
    if isinstance(wanted, Mapping):
        return isinstance(there, Mapping) and all(k in there and covers(v, there[k]) for k, v in wanted.items())
    if isinstance(wanted, list | tuple):
        same = isinstance(there, list) and len(wanted) == len(there)
        return same and all(covers(each, other) for each, other in zip(wanted, there, strict=True))
    return bool(wanted == there)


def digested(body: Body, owner: Body) -> Body:
    """Owned, and with a digest of itself: so a field that is wanted no more is noticed as well."""
    digest = hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()[:16]
    metadata = {**body["metadata"], "annotations": {DIGEST: digest}, "ownerReferences": [owner_of(owner)]}
    return {**body, "metadata": metadata}


def version_body(release: Release, owner: Body, spec: ModelVersionSpec) -> Body:
    """A ModelVersion of a Model."""
    labels = {"app.kubernetes.io/name": "matte", "app.kubernetes.io/instance": release.name, MODEL_LABEL: spec.model}
    return {
        "apiVersion": MODEL_VERSION.api_version,
        "kind": MODEL_VERSION.kind,
        "metadata": {
            "name": model_version_name(spec.model, spec.version),
            "namespace": release.namespace,
            "labels": labels,
            "ownerReferences": [owner_of(owner)],
        },
        "spec": spec.model_dump(mode="json", exclude_none=True),
    }


def default_model(models: Iterable[PlannedModel]) -> str | None:
    """The oldest with ``default: true``, else the oldest; ``models`` come by age."""
    sound = [model for model in models if model.spec]
    chosen = [model for model in sound if model.spec and model.spec.default] or sound
    return chosen[0].name if chosen else None


def pool_status(world: World, planned: PlannedPool, *, free: int | None, refused: str, now: datetime) -> PoolStatus:
    """The new status of a Pool."""
    assert planned.spec is not None
    assert planned.status is not None
    name = ray_service_name(planned.name)
    body = world.get(RAY_SERVICE, name)
    seen = PoolObservation(
        ray_service=name,
        models=planned.models,
        service=observe.service(world, body) if body else None,
        troubles=_troubles(world, planned.name),
        free_gpus=free,
        refused=refused,
    )
    generation = planned.body["metadata"]["generation"]
    return decide_pool(planned.spec, planned.status, generation, seen, now).status


def short_of_gpus(world: World) -> dict[str, PoolSpec]:
    """The Pools that the nodes' GPUs must be counted for: one of their workers waits for a node."""
    found = {}
    for name, body in world.all(POOL).items():
        try:
            spec = observe.pool(body)[0]
        except ValueError:
            continue  # its plan tells it
        if spec.workers.gpus and asks_for_capacity(PoolObservation("", troubles=_troubles(world, name))):
            found[name] = spec
    return found


def _troubles(world: World, pool: str) -> tuple[Trouble, ...]:
    return troubles(p for p in world.all(POD).values() if p["metadata"].get("labels", {}).get(POOL_LABEL) == pool)


def _by_age(bodies: Iterable[Body]) -> list[Body]:
    return sorted(bodies, key=lambda body: (body["metadata"]["creationTimestamp"], name_of(body)))


def _model(world: World, body: Body, now: datetime, told: Told) -> PlannedModel:
    name = name_of(body)
    evidence = told.evidence.get(name)
    try:
        spec, status = observe.model(body)
        versions = tuple(versions_of(world, name, evidence))
        room = _preflight(world, spec, status, versions, told)
    except ValueError as error:
        return PlannedModel(body, problem=str(error))
    seen = ModelObservation(versions, _name_taken(world, name, spec), evidence, room)
    decision = decide_model(name, spec, status, body["metadata"]["generation"], seen, now)
    return PlannedModel(body, spec, status, decision)


def versions_of(world: World, model: str, evidence: ModelEvidence | None = None) -> Iterable[VersionSeen]:
    """A Model's versions. Raises ValueError: one is not what this operator knows."""
    for body in world.all(MODEL_VERSION).values():
        if body["spec"]["model"] != model:
            continue
        spec, status = observe.model_version(body)
        service = observe.service(world, world.get(RAY_SERVICE, ray_service_name(spec.pool)))
        metadata = body["metadata"]
        yield VersionSeen(
            name=name_of(body),
            spec=spec,
            status=status,
            generation=metadata["generation"],
            created=metadata["creationTimestamp"],
            app=service.app(app_name(spec.model, spec.version)),
            has_workers=service.has_workers,
            pool_problem=_pool_problem(world, spec.pool),
            check=evidence.checks.get(spec.version) if evidence else None,
            allowed_licenses=_allowed_licenses(world, spec.pool),
        )


def _preflight(
    world: World, spec: ModelSpec, status: ModelStatus, versions: Iterable[VersionSeen], told: Told
) -> GateSeen:
    """Whether the Pool has room for the spec's version, where a rollout asks for that."""
    by_name = {seen.spec.version: seen.spec for seen in versions}
    body, version = world.get(POOL, spec.pool), by_name.get(spec.version)
    if spec.rollout is None or version is None:
        return ROOM
    if body is None:
        return GateSeen(Gate.WAITING, f"there is no Pool {spec.pool}")
    evidence = told.evidence.get(version.model, ModelEvidence())
    stable = by_name.get((status.rollout and status.rollout.stable) or "")
    beside = stable if stable and stable.pool == spec.pool and stable is not version else None
    return preflight(
        *observe.pool(body),
        version,
        _troubles(world, spec.pool),
        told.free_gpus.get(spec.pool),
        reserved_gpus=beside.replicas * beside.resources.gpus if beside else 0,
        ready=evidence.replicas.get(spec.version, 0),
    )


def _allowed_licenses(world: World, pool: str) -> tuple[str, ...]:
    """Of a Pool that cannot be read: nothing starts there, whatever they are."""
    try:
        return observe.pool(world.all(POOL)[pool])[0].allowed_licenses
    except (KeyError, ValueError):
        return ()


def _pool_problem(world: World, name: str) -> tuple[str, str] | None:
    body = world.get(POOL, name)
    if body is None:
        there = ", ".join(sorted(world.all(POOL))) or "none"
        return "PoolMissing", f"there is no Pool {name} (there is {there}): create it, or correct spec.pool"
    try:
        ready = conditions.find(observe.pool(body)[1].conditions, READY)
    except ValueError as error:
        return "PoolNotReady", f"Pool {name}: {error}"
    if ready is not None and ready.status == "True":
        return None
    why = f"Pool {name} is not ready: {ready.message}" if ready else f"Pool {name} is starting"
    return "PoolNotReady", why


def _name_taken(world: World, model: str, spec: ModelSpec) -> tuple[str, str] | None:
    name = model_version_name(model, spec.version)
    body = world.get(MODEL_VERSION, name)
    if body is None or (body["spec"]["model"], body["spec"]["version"]) == (model, spec.version):
        return None
    other = f"{body['spec']['model']} {body['spec']['version']}"
    return "NameTaken", f"ModelVersion {name} is the one of {other}: rename the Model, or choose another version"


def _pool(world: World, release: Release, body: Body, models: tuple[PlannedModel, ...]) -> PlannedPool:
    name = name_of(body)
    try:
        spec, status = observe.pool(body)
    except ValueError as error:
        return PlannedPool(body, problem=str(error))
    versions = [version for model in models for version in _kept(world, model) if version.pool == name]
    config = serve_config(versions, _table(name, models))
    return PlannedPool(
        body,
        spec,
        status,
        digested(ray_service(release, name, spec, config), body),
        digested(disruption_budget(release, name, spec), body),
        models=len(versions),
    )


def _kept(world: World, model: PlannedModel) -> list[ModelVersionSpec]:
    """The versions that have an application, each pinned to the digest that was found.

    Those of a Model that cannot be read stay as they are.
    """
    if model.decision is None:
        bodies = [b for b in world.all(MODEL_VERSION).values() if b["spec"]["model"] == model.name]
        return [_pinned(*observe.model_version(body)) for body in bodies]
    statuses = model.decision.versions
    return [
        _pinned(observe.model_version(world.all(MODEL_VERSION)[name])[0], statuses[name])
        for name in sorted(model.decision.apps)
    ]


def _pinned(spec: ModelVersionSpec, status: ModelVersionStatus) -> ModelVersionSpec:
    return spec.model_copy(update={"digest": status.digest or spec.digest})


def _table(pool: str, models: tuple[PlannedModel, ...]) -> RouteTable:
    found = [model.decision.routes.get(pool) for model in models if model.decision]
    routes = tuple(sorted(filter(None, found), key=lambda route: route.model))
    default = default_model(models)
    routed = {route.model for route in routes}
    return RouteTable(default_model=default if default in routed else None, routes=routes)
