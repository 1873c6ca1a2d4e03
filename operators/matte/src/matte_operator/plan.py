"""From a snapshot to what is to be written. Pure: the same snapshot, facts and time give the same plan."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from matte_core.contracts.catalog import RouteTable
from matte_core.contracts.k8s.model import ModelVersionSpec, ModelVersionStatus
from matte_core.contracts.k8s.pool import PoolSpec

from matte_operator.domain.download import download_statuses, with_steady_progress
from matte_operator.domain.model import NO_PREFLIGHT, ModelDecision, ModelObservation, decide_model
from matte_operator.domain.names import model_version_name, ray_service_name
from matte_operator.domain.pool import PoolObservation
from matte_operator.domain.ray_state import waiting_for_node
from matte_operator.domain.rollout.observation import Gate, GateResult, ModelEvidence
from matte_operator.domain.rollout.preflight import preflight
from matte_operator.domain.version import VersionObservation
from matte_operator.kinds import MODEL, MODEL_VERSION, POOL, Body, owner_of
from matte_operator.render.pods import Release
from matte_operator.render.rayservice import disruption_budget, ray_service, serve_config
from matte_operator.snapshot import Invalid, ModelObject, PoolObject, Snapshot, observe_versions

MODEL_LABEL = "matte.dev/model"
DIGEST_ANNOTATION = "matte.dev/digest"


@dataclass(frozen=True, slots=True)
class PlannedModel:
    model: ModelObject
    decision: ModelDecision


@dataclass(frozen=True, slots=True)
class PlannedPool:
    """A Pool, the manifests that it becomes, and what its status is made from once they are applied."""

    pool: PoolObject
    service: Body
    budget: Body
    observation: PoolObservation


@dataclass(frozen=True, slots=True)
class Plan:
    """What a pass writes. ``invalid``: the Pools and Models that cannot be planned."""

    models: tuple[PlannedModel, ...]
    pools: tuple[PlannedPool, ...]
    invalid: tuple[Invalid, ...] = ()

    @property
    def requeue_after(self) -> float | None:
        due = [model.decision.requeue_after for model in self.models]
        return min((seconds for seconds in due if seconds is not None), default=None)


@dataclass(frozen=True, slots=True)
class ExternalFacts:
    """What does not come from the namespace: evidence by Model, and free GPUs by Pool where a worker waits for a node.

    Evidence that is missing is not needed, or Redis is away.
    """

    evidence: Mapping[str, ModelEvidence] = field(default_factory=dict)
    free_gpus: Mapping[str, int] = field(default_factory=dict)


def plan(snapshot: Snapshot, release: Release, now: datetime, facts: ExternalFacts = ExternalFacts()) -> Plan:
    models: list[PlannedModel] = []
    invalid = [one for one in snapshot.invalid.values() if one.kind in {POOL, MODEL}]
    for model in sorted(snapshot.models.values(), key=lambda model: (model.created, model.name)):  # oldest first
        # the name of the spec's ModelVersion may belong to another one
        obstacle: tuple[str, str] | None = None
        name = model_version_name(model.name, model.spec.version)
        existing = snapshot.objects.get(MODEL_VERSION, {}).get(name, {}).get("spec")
        if existing and (existing["model"], existing["version"]) != (model.name, model.spec.version):
            other = f"{existing['model']} {existing['version']}"
            message = f"ModelVersion {name} is the one of {other}: rename the Model, or choose another version"
            obstacle = "NameTaken", message
        try:
            evidence, downloads = facts.evidence.get(model.name), None
            if evidence:
                before = {version.spec.version: version.status.download for version in snapshot.versions_of(model.name)}
                downloads = download_statuses(evidence, before, now)
                evidence = with_steady_progress(evidence, downloads)
            versions = observe_versions(snapshot, model.name, evidence, downloads)
            room = _preflight(snapshot, model, versions, facts)
            observation = ModelObservation(versions, obstacle, evidence, room)
            decision = decide_model(model.name, model.spec, model.status, model.generation, observation, now)
            models.append(PlannedModel(model, decision))
        except ValueError as error:
            invalid.append(Invalid(MODEL, model.body, str(error)))
    pools = [_plan_pool(snapshot, release, pool, models, facts) for pool in snapshot.pools.values()]
    return Plan(tuple(models), tuple(pools), tuple(invalid))


def is_subset(desired: Any, actual: Any) -> bool:
    """Whether ``actual`` has all that is desired; it may have more fields."""
    if isinstance(desired, Mapping):
        return isinstance(actual, Mapping) and all(k in actual and is_subset(v, actual[k]) for k, v in desired.items())
    if isinstance(desired, list | tuple):
        same_length = isinstance(actual, list) and len(desired) == len(actual)
        return same_length and all(is_subset(one, other) for one, other in zip(desired, actual, strict=True))
    return bool(desired == actual)


def model_version_manifest(release: Release, owner: Body, spec: ModelVersionSpec) -> Body:
    labels = {"app.kubernetes.io/name": "matte", "app.kubernetes.io/instance": release.name}
    return {
        "apiVersion": MODEL_VERSION.api_version,
        "kind": MODEL_VERSION.kind,
        "metadata": {
            "name": model_version_name(spec.model, spec.version),
            "namespace": release.namespace,
            "labels": {**labels, MODEL_LABEL: spec.model},
            "ownerReferences": [owner_of(owner)],
        },
        "spec": spec.model_dump(mode="json", exclude_none=True),
    }


def pools_short_of_gpus(snapshot: Snapshot) -> dict[str, PoolSpec]:
    """The Pools with GPUs of which a worker waits for a node: the nodes' free GPUs must be counted for them."""
    return {
        name: pool.spec
        for name, pool in snapshot.pools.items()
        if pool.spec.workers.gpus and waiting_for_node(snapshot.pod_problems.get(name, ()))
    }


def _preflight(
    snapshot: Snapshot, model: ModelObject, versions: tuple[VersionObservation, ...], facts: ExternalFacts
) -> GateResult:
    spec, by_name = model.spec, {version.spec.version: version.spec for version in versions}
    version = by_name.get(spec.version)
    if spec.rollout is None or version is None:
        return NO_PREFLIGHT
    if invalid := snapshot.invalid.get((POOL, spec.pool)):
        raise ValueError(invalid.error)
    pool = snapshot.pools.get(spec.pool)
    if pool is None:
        return GateResult(Gate.WAITING, f"there is no Pool {spec.pool}")
    evidence = facts.evidence.get(model.name, ModelEvidence())
    stable = by_name.get((model.status.rollout and model.status.rollout.stable) or "")
    beside_stable = stable is not None and stable is not version and stable.pool == spec.pool
    return preflight(
        pool.spec,
        pool.status,
        version,
        snapshot.pod_problems.get(spec.pool, ()),
        facts.free_gpus.get(spec.pool),
        reserved_gpus=stable.replicas * stable.resources.gpus if stable and beside_stable else 0,
        ready=evidence.replicas.get(spec.version, 0),
    )


def _default_model(models: Sequence[PlannedModel]) -> str | None:
    """The Model that serves the paths that name none; ``models`` are oldest first. None: no such Model has traffic yet.

    A Model that is the default keeps the paths while it has traffic: an outage never changes who answers.
    """
    fallbacks = [model for model in models if model.model.spec.fallback]
    defaults = [model for model in models if model.model.spec.default] or fallbacks or models
    candidates = [*defaults[:1], *fallbacks]
    return next((model.model.name for model in candidates if model.decision.routes), None)


def _plan_pool(
    snapshot: Snapshot, release: Release, pool: PoolObject, models: list[PlannedModel], facts: ExternalFacts
) -> PlannedPool:
    deployed: list[tuple[ModelVersionSpec, ModelVersionStatus]] = []
    for planned in models:
        statuses = planned.decision.version_statuses
        deployed += [(snapshot.versions[name].spec, statuses[name]) for name in sorted(planned.decision.apps)]
    # the versions of a Model that cannot be planned stay as they are
    for name in snapshot.objects.get(MODEL, {}).keys() - {planned.model.name for planned in models}:
        deployed += [(version.spec, version.status) for version in snapshot.versions_of(name)]
    versions = [  # each with the digest that was verified
        spec.model_copy(update={"digest": status.digest or spec.digest})
        for spec, status in deployed
        if spec.pool == pool.name
    ]
    routes = [route for planned in models if (route := planned.decision.routes.get(pool.name))]
    default = _default_model(models)
    if default not in {route.model for route in routes}:  # another Pool serves it
        default = None
    table = RouteTable(default_model=default, routes=tuple(sorted(routes, key=lambda route: route.model)))
    name, config = ray_service_name(pool.name), serve_config(versions, table)
    return PlannedPool(
        pool,
        _with_digest(ray_service(release, pool.name, pool.spec, config), pool.body),
        _with_digest(disruption_budget(release, pool.name, pool.spec), pool.body),
        PoolObservation(
            ray_service=name,
            models=len(versions),
            service=snapshot.services.get(name),
            pod_problems=snapshot.pod_problems.get(pool.name, ()),
            free_gpus=facts.free_gpus.get(pool.name),
        ),
    )


def _with_digest(manifest: Body, owner: Body) -> Body:
    """Owned, and with a digest of itself, so that a field that is desired no more is noticed as well."""
    digest = hashlib.sha256(json.dumps(manifest, sort_keys=True).encode()).hexdigest()[:16]
    added = {"annotations": {DIGEST_ANNOTATION: digest}, "ownerReferences": [owner_of(owner)]}
    return {**manifest, "metadata": {**manifest["metadata"], **added}}
