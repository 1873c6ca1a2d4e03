"""What one pass sees of the API, every object parsed once; and what of a change is a reason for a pass."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from matte_core.contracts.catalog import app_name
from matte_core.contracts.k8s.common import KubeContract
from matte_core.contracts.k8s.model import (
    DownloadStatus,
    ModelSpec,
    ModelStatus,
    ModelVersionSpec,
    ModelVersionStatus,
)
from matte_core.contracts.k8s.pool import PoolSpec, PoolStatus

from matte_operator.domain.conditions import find
from matte_operator.domain.names import ray_service_name
from matte_operator.domain.pool import READY
from matte_operator.domain.ray_state import AppStatus, PodProblem, RayCluster, RayService, ServeApp
from matte_operator.domain.rollout.observation import ModelEvidence
from matte_operator.domain.version import VersionObservation
from matte_operator.kinds import MODEL, MODEL_VERSION, POD, POOL, RAY_CLUSTER, RAY_SERVICE, Body, Kind, name_of
from matte_operator.pods import pod_problems
from matte_operator.render.pods import POOL_LABEL

SpecT = TypeVar("SpecT", bound=KubeContract)
StatusT = TypeVar("StatusT", bound=KubeContract)


@dataclass(frozen=True, slots=True)
class Parsed(Generic[SpecT, StatusT]):
    body: Body
    spec: SpecT
    status: StatusT

    @property
    def name(self) -> str:
        return name_of(self.body)

    @property
    def generation(self) -> int:
        return int(self.body["metadata"]["generation"])

    @property
    def created(self) -> str:
        return str(self.body["metadata"]["creationTimestamp"])


PoolObject = Parsed[PoolSpec, PoolStatus]
ModelObject = Parsed[ModelSpec, ModelStatus]
VersionObject = Parsed[ModelVersionSpec, ModelVersionStatus]


@dataclass(frozen=True, slots=True)
class Invalid:
    """An object that does not parse: a newer operator wrote it, or somebody bypassed the schema."""

    kind: Kind
    body: Body
    error: str


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The objects of the namespace by name, without those that are being deleted.

    ``objects`` has all of them as JSON, ``invalid`` the Pools, Models and ModelVersions that do not parse;
    ``pod_problems`` are by Pool.
    """

    objects: Mapping[Kind, Mapping[str, Body]]
    pools: Mapping[str, PoolObject]
    models: Mapping[str, ModelObject]
    versions: Mapping[str, VersionObject]
    invalid: Mapping[tuple[Kind, str], Invalid]
    services: Mapping[str, RayService]
    pod_problems: Mapping[str, tuple[PodProblem, ...]]

    @classmethod
    def of(cls, lists: Mapping[Kind, list[Body]]) -> Snapshot:
        objects = {
            kind: {name_of(body): body for body in bodies if "deletionTimestamp" not in body["metadata"]}
            for kind, bodies in lists.items()
        }
        invalid: dict[tuple[Kind, str], Invalid] = {}

        def parse(kind: Kind, spec: type[SpecT], status: type[StatusT]) -> dict[str, Parsed[SpecT, StatusT]]:
            parsed = {}
            for name, body in objects.get(kind, {}).items():
                specified, observed = body.get("spec", {}), body.get("status", {})
                try:
                    parsed[name] = Parsed(body, spec.model_validate(specified), status.model_validate(observed))
                except ValueError as error:
                    invalid[kind, name] = Invalid(kind, body, str(error))
            return parsed

        services = {}
        for service, body in objects.get(RAY_SERVICE, {}).items():
            clusters: dict[str, RayCluster] = {}
            for slot in ("active", "pending"):
                status = body.get("status", {}).get(f"{slot}ServiceStatus", {})
                if name := status.get("rayClusterName"):
                    # KubeRay copies the status of RayClusters only now and then: it is taken from themselves
                    cluster = objects.get(RAY_CLUSTER, {}).get(name, {"metadata": {"name": name}})
                    clusters[slot] = _ray_cluster(cluster, status.get("applicationStatuses", {}))
            services[service] = RayService(**clusters)
        pods: dict[str, list[Body]] = {}
        for pod in objects.get(POD, {}).values():
            pods.setdefault(pod["metadata"].get("labels", {}).get(POOL_LABEL, ""), []).append(pod)
        return cls(
            objects,
            pools=parse(POOL, PoolSpec, PoolStatus),
            models=parse(MODEL, ModelSpec, ModelStatus),
            versions=parse(MODEL_VERSION, ModelVersionSpec, ModelVersionStatus),
            invalid=invalid,
            services=services,
            pod_problems={pool: pod_problems(bodies) for pool, bodies in pods.items()},
        )

    def versions_of(self, model: str) -> list[VersionObject]:
        """Raises ``ValueError`` where one of them does not parse."""
        for version in self.invalid.values():
            if version.kind is MODEL_VERSION and version.body["spec"]["model"] == model:
                raise ValueError(version.error)
        return [version for version in self.versions.values() if version.spec.model == model]


def observe_versions(
    snapshot: Snapshot,
    model: str,
    evidence: ModelEvidence | None = None,
    downloads: Mapping[str, DownloadStatus] | None = None,
) -> tuple[VersionObservation, ...]:
    """A Model's versions with what is known of their applications, their Pools and their checks.

    ``downloads`` is None where nobody was asked. Raises ``ValueError`` where one of them does not parse.
    """
    observations = []
    for version in snapshot.versions_of(model):
        spec, pool = version.spec, snapshot.pools.get(version.spec.pool)
        service = snapshot.services.get(ray_service_name(spec.pool), RayService())
        observations.append(
            VersionObservation(
                name=version.name,
                spec=spec,
                status=version.status,
                generation=version.generation,
                created=version.created,
                app=service.app(app_name(spec.model, spec.version)),
                has_workers=service.has_workers,
                pool_problem=_pool_problem(snapshot, spec.pool),
                check=evidence.checks.get(spec.version) if evidence else None,
                download=version.status.download if downloads is None else downloads.get(spec.version),
                # of a Pool that does not parse: nothing starts there, whatever they are
                allowed_licenses=pool.spec.allowed_licenses if pool else (),
            )
        )
    return tuple(observations)


def _pool_problem(snapshot: Snapshot, name: str) -> tuple[str, str] | None:
    if invalid := snapshot.invalid.get((POOL, name)):
        return "PoolNotReady", f"Pool {name}: {invalid.error}"
    pool = snapshot.pools.get(name)
    if pool is None:
        existing = ", ".join(sorted(snapshot.objects.get(POOL, {}))) or "none"
        return "PoolMissing", f"there is no Pool {name} (there is {existing}): create it, or correct spec.pool"
    ready = find(pool.status.conditions, READY)
    if ready is None:
        return "PoolNotReady", f"Pool {name} is starting"
    return None if ready.status == "True" else ("PoolNotReady", f"Pool {name} is not ready: {ready.message}")


def change_fingerprint(kind: Kind, body: Body) -> object:
    """Equal for two versions of an object whose difference is no reason for a pass: much of what others write."""
    metadata, status = body["metadata"], body.get("status", {})
    relevant: object = None
    if kind is POOL:
        relevant = [(c["type"], c["status"], c["message"]) for c in status.get("conditions", ())]
    elif kind is RAY_SERVICE:
        relevant = [status.get("activeServiceStatus"), status.get("pendingServiceStatus")]
    elif kind is RAY_CLUSTER:
        relevant = _ray_cluster(body, {})
    elif kind is POD:
        relevant = pod_problems([body])
    return (metadata.get("generation"), "deletionTimestamp" in metadata, relevant)


def _ray_cluster(body: Body, applications: Mapping[str, Mapping[str, Any]]) -> RayCluster:
    apps = {}
    for name, application in applications.items():
        deployments = application.get("serveDeploymentStatuses", {})
        messages = [application.get("message", ""), *(deployments[d].get("message", "") for d in sorted(deployments))]
        app_status = application.get("status", "")
        known = AppStatus(app_status) if app_status in set(AppStatus) else AppStatus.NOT_STARTED
        apps[name] = ServeApp(known, "\n".join(filter(None, messages)))
    status = body.get("status", {})
    head = [condition for condition in status.get("conditions", ()) if condition["type"] == "HeadPodReady"]
    return RayCluster(
        name=name_of(body),
        ready_workers=status.get("readyWorkerReplicas", 0),
        desired_workers=status.get("desiredWorkerReplicas", 0),
        head_ready=any(condition["status"] == "True" for condition in head),
        apps=apps,
    )
