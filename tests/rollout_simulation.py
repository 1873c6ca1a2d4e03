"""A simulated rollout: pods that start and end, routers that follow, answers that are good or bad."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from matte_core.contracts.evidence import Agreement
from matte_core.contracts.k8s.rollout import Phase, RolloutSpec, RolloutStatus
from matte_operator.domain.rollout.decide import Decision, decide
from matte_operator.domain.rollout.observation import (
    AnswerStats,
    CanaryGates,
    DesiredRollout,
    Gate,
    GateResult,
    GoldenAnswer,
    GoldenResults,
    Measurements,
    Observation,
    VersionState,
)

NOW = datetime(2026, 1, 1, 12, 0, 0, 250_000, tzinfo=UTC)
DONE = GateResult(Gate.PASSED, "done")
SAME = Agreement(iou=0.98, boundary=0.95, alpha_difference=0.01)
SHIFTED = Agreement(iou=0.5, boundary=0.2, alpha_difference=0.2)
GOOD = AnswerStats(
    400, 0, 0, tuple(0.1 + 0.0001 * (i % 50) for i in range(400)),
    uncertainties=tuple(0.02 + 0.004 * (i % 25) for i in range(400)),
)  # fmt: skip
ERRORS = replace(GOOD, errors=20)
SLOW = replace(GOOD, seconds=tuple(3 * s for s in GOOD.seconds))
EMPTY = replace(GOOD, bad_masks=400)
NO_SUBJECTS = replace(GOOD, no_subjects=40)
UNSURE = replace(GOOD, uncertainties=tuple(0.15 + u for u in GOOD.uncertainties))
FEW = AnswerStats(10, 0, 0, GOOD.seconds[:10], uncertainties=GOOD.uncertainties[:10])


def rollout(**fields: Any) -> RolloutSpec:
    steps = [{"weight": weight, "durationSeconds": 60, "minSamples": 100} for weight in (10, 50)]
    return RolloutSpec.model_validate({"steps": steps, **fields})


def wanted(version: str = "2.0.0", replicas: int = 4, **fields: Any) -> DesiredRollout:
    return DesiredRollout(version, f"hash of {version}", replicas, rollout(**fields))


@dataclass
class RolloutSimulation:
    """Decides, applies, goes on. ``gpus``: pods that fit; None: any number."""

    spec: DesiredRollout = field(default_factory=wanted)
    status: RolloutStatus | None = field(
        default_factory=lambda: RolloutStatus(
            phase=Phase.SUCCEEDED, stable="1.0.0", stable_replicas=4, observed_spec_hash="hash of 1.0.0"
        )
    )
    gpus: int | None = None
    now: datetime = NOW
    pods: dict[str, int] = field(default_factory=lambda: {"1.0.0": 4})
    routed: dict[str, int] = field(default_factory=lambda: {"1.0.0": 100})
    trouble: dict[str, str] = field(default_factory=dict)
    broken: set[str] = field(default_factory=set)
    gates: dict[str, Any] = field(default_factory=dict)
    answers: dict[str, AnswerStats] = field(default_factory=dict)
    pairs: tuple[Agreement, ...] = (SAME,) * 60
    phases: list[Phase] = field(default_factory=list)
    history: list[tuple[Phase, Mapping[str, int], Mapping[str, int]]] = field(default_factory=list)
    restarts: bool = False
    most_pods: int = 0

    def seen(self) -> Observation:
        names = {*self.pods, *self.routed}
        versions = {
            name: VersionState(
                allocated=self.pods.get(name, 0),
                ready=0 if name in self.broken else self.pods.get(name, 0),
                weight=self.routed.get(name, 0),
                failure=self.trouble.get(name, ""),
            )
            for name in names
        }
        status = self.status
        if status is None or status.canary is None:
            return Observation(versions)
        golden = GoldenResults(2, (GoldenAnswer("a", agreement=SAME), GoldenAnswer("b", agreement=SAME)))
        gates: dict[str, Any] = {"verified": DONE, "preflight": DONE, "warmed": DONE, "golden": golden} | self.gates
        measured = None
        if status.step_started_at:
            stable, canary = (self.answers.get(name or "", GOOD) for name in (status.stable, status.canary))
            measured = Measurements(status.step_started_at, stable, canary, self.pairs)
        return Observation(versions, CanaryGates(status.canary, status.attempt, **gates), measured)

    def pass_(self, seconds: float = 5) -> Decision:
        """One pass of the operator, and what the cluster makes of it."""
        if self.restarts and self.status is not None:
            self.status = RolloutStatus.model_validate_json(self.status.model_dump_json(exclude_defaults=True))
        decision = decide(self.spec, self.status, self.seen(), self.now)
        self.status = decision.status
        if not self.phases or self.phases[-1] is not decision.status.phase:
            self.phases.append(decision.status.phase)
        self.history.append((decision.status.phase, decision.weights, decision.replicas))
        self._apply(decision)
        self.now += timedelta(seconds=seconds)
        return decision

    def until(self, holds: Callable[[Decision], bool], passes: int = 400) -> Decision:
        for _ in range(passes):
            if holds(decision := self.pass_()):
                return decision
        raise AssertionError(f"never: {self.status}")

    def phase(self, *phases: Phase) -> Decision:
        return self.until(lambda decision: decision.status.phase in phases)

    def _apply(self, decision: Decision) -> None:
        self.routed = dict(decision.weights)
        for name in {*self.pods, *decision.replicas}:
            want = decision.replicas.get(name, 0)
            have = self.pods.get(name, 0)
            if want < have:
                self.pods[name] = min(have, want)
        self.most_pods = max(self.most_pods, sum(max(self.pods.get(n, 0), w) for n, w in decision.replicas.items()))
        for name, want in decision.replicas.items():
            room = want if self.gpus is None else self.gpus - sum(self.pods.values()) + self.pods.get(name, 0)
            self.pods[name] = max(self.pods.get(name, 0), min(want, room))
