"""What the operator sees, made for tests."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from matte_core.contracts.evidence import CheckReport
from matte_core.contracts.k8s.model import DownloadStatus, ModelSpec, ModelStatus, ModelVersionSpec, ModelVersionStatus
from matte_operator.domain.conditions import find
from matte_operator.domain.model import NO_PREFLIGHT, ModelDecision, ModelObservation, decide_model
from matte_operator.domain.ray_state import AppStatus, ServeApp
from matte_operator.domain.rollout.observation import ModelEvidence
from matte_operator.domain.version import VersionObservation

NOW = datetime(2026, 1, 1, 12, 0, 0, tzinfo=UTC)
RUNNING = ServeApp(AppStatus.RUNNING)


class ModelSimulation:
    """A Model through time: every decision's statuses are what the next one sees."""

    def __init__(self, **spec: Any) -> None:
        self.spec = {"family": "grabcut", "version": "1.0.0", **spec}
        self.status = ModelStatus()
        self.versions: dict[str, tuple[ModelVersionSpec, ModelVersionStatus, str]] = {}
        self.apps: dict[str, ServeApp] = {}
        self.now = NOW
        self.has_workers = True
        self.pool_problem: tuple[str, str] | None = None
        self.checks: dict[str, CheckReport] = {}
        self.downloads: dict[str, DownloadStatus] = {}
        self.allowed_licenses: tuple[str, ...] = ()
        self.evidence: ModelEvidence | None = None
        self.preflight = NO_PREFLIGHT
        self.decision: ModelDecision

    def edit(self, **spec: Any) -> ModelSimulation:
        self.spec |= spec
        return self

    def app(self, version: str, app: ServeApp = RUNNING) -> ModelSimulation:
        self.apps[f"portrait-{version.replace('.', '-')}"] = app
        return self

    def after(self, seconds: float) -> ModelSimulation:
        self.now += timedelta(seconds=seconds)
        return self

    def decide(self) -> ModelDecision:
        """One pass, applied."""
        self.decision = decide_model(
            "portrait", self.model_spec(), self.status, 1, self._seen(self.observations()), self.now
        )
        self._apply(self.decision)
        return self.decision

    def model_spec(self) -> ModelSpec:
        return ModelSpec.model_validate(self.spec)

    def observations(self) -> tuple[VersionObservation, ...]:
        return tuple(
            VersionObservation(
                name,
                version,
                status,
                1,
                created,
                self.apps.get(name),
                has_workers=self.has_workers,
                pool_problem=self.pool_problem,
                check=self.checks.get(version.version),
                download=self.downloads.get(version.version),
                allowed_licenses=self.allowed_licenses,
            )
            for name, (version, status, created) in self.versions.items()
        )

    def _seen(self, versions: tuple[VersionObservation, ...]) -> ModelObservation:
        return ModelObservation(versions, evidence=self.evidence, preflight=self.preflight)

    def decide_until_stable(self) -> ModelDecision:
        """Passes until one makes no ModelVersion."""
        while self.decide().apply:
            pass
        return self.decision

    def _apply(self, decision: ModelDecision) -> None:
        self.status = decision.status
        for name, status in decision.version_statuses.items():
            spec, _, created = self.versions[name]
            self.versions[name] = (spec, status, created)
        for name in decision.delete:
            del self.versions[name]
        for wanted in decision.apply:
            name = f"portrait-{wanted.version.replace('.', '-')}"
            _, status, created = self.versions.get(
                name, (None, ModelVersionStatus(), self.now.strftime("%Y-%m-%dT%H:%M:%SZ"))
            )
            self.versions[name] = (wanted, status, created)

    def condition(self, type_: str) -> tuple[str, str, str]:
        """Status, reason, message."""
        found = find(self.status.conditions, type_)
        assert found is not None
        return found.status.value, found.reason, found.message

    def arms(self, pool: str = "default") -> dict[str, int]:
        route = self.decision.routes.get(pool)
        return {arm.version: arm.weight for arm in route.arms} if route else {}
