"""What is to be done about a rollout: its transitions from phase to phase, its weights and its replicas."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from matte_core.contracts.k8s.common import format_time
from matte_core.contracts.k8s.rollout import HISTORY_MAX, Cause, Check, Phase, RolloutSpec, RolloutStatus, Verdict
from matte_core.domain.phases import (
    INTENDED,
    ROLLBACK,
    RUNNING,
    SERVING,
    TERMINAL,
    elapsed_seconds,
    seconds_without_progress,
    transition,
)

from matte_operator.domain.rollout.analysis import combine_verdicts, judge_golden, judge_metrics
from matte_operator.domain.rollout.capacity import desired_replicas, next_weight, target_weight
from matte_operator.domain.rollout.observation import DesiredRollout, Gate, GateResult, Measurements, Observation

#: seconds until the next decision, while something is expected to change
POLL_SECONDS = 2.0
#: and while traffic leaves a version that failed
ROLLBACK_POLL_SECONDS = 0.5
#: more transitions than any path through the phases has
_MAX_TRANSITIONS = 32


@dataclass(frozen=True, slots=True)
class Decision:
    status: RolloutStatus
    #: percent by version, 100 in all; empty: no version may have traffic yet
    weights: Mapping[str, int]
    #: of each version; a version that is missing ends
    replicas: Mapping[str, int]
    #: percent of stable's jobs that the new version computes too
    mirror: int
    #: seconds until the next decision; None: when something changes
    requeue_after: float | None


def decide(desired: DesiredRollout, status: RolloutStatus | None, observed: Observation, now: datetime) -> Decision:
    rollout = _Rollout(desired, observed, now)
    status = status if status is not None else rollout.adopt()
    for _ in range(_MAX_TRANSITIONS):
        before = status
        status = rollout.advance(status)
        if status == before and status.canary:  # the weight is that of the phase in which the transitions end
            weight = next_weight(desired.rollout, status, observed)
            closer = weight < status.reached if status.phase in ROLLBACK else weight > status.reached
            progress = {"reached": weight, "progressed_at": format_time(now)} if closer else {}
            exposed = status.exposed or weight > 0
            status = status.model_copy(update={"weight": weight, "exposed": exposed, **progress})
        if status == before:
            break
    mirrored = status.phase in {Phase.STEPPING, Phase.PAUSED} and observed.version(status.canary).ready
    analysis = desired.rollout.analysis
    # the new version is routed from its first step on: with weight 0 it answers rules
    weights = {status.stable: 100 - status.weight} if status.stable else {}
    if status.canary and (status.weight or (status.stable and status.phase in SERVING)):
        weights[status.canary] = status.weight if status.stable else 100
    draining = status.canary is not None and (status.weight or observed.version(status.canary).weight)
    requeue_after: float | None = POLL_SECONDS
    if status.phase is Phase.ROLLING_BACK or (status.phase in ROLLBACK and draining):
        requeue_after = ROLLBACK_POLL_SECONDS
    elif status.phase in TERMINAL:
        requeue_after = None
    return Decision(
        status=status,
        weights=weights,
        replicas=desired_replicas(desired.rollout, status, observed),
        mirror=analysis.agreement.mirror_percent if mirrored and "agreement" not in analysis.skip else 0,
        requeue_after=requeue_after,
    )


def seconds_until_check(spec: RolloutSpec, status: RolloutStatus, now: datetime) -> float:
    """Seconds until the step's next check, 0 and less where it is due; infinite where none is made."""
    if status.phase not in SERVING or status.step_started_at is None:
        return math.inf
    return spec.analysis.interval_seconds - elapsed_seconds(status.checked_at or status.step_started_at, now)


@dataclass(frozen=True, slots=True)
class _Rollout:
    """The transitions of a rollout, for what is desired and observed at one time (UTC)."""

    desired: DesiredRollout
    observed: Observation
    now: datetime

    def advance(self, status: RolloutStatus) -> RolloutStatus:  # noqa: PLR0911 - one per phase
        """The status after at most one transition, or after another change; its weight is not touched."""
        status = self._with_current_spec(status)
        if status.phase in TERMINAL:
            return self._ended(status)
        if status.phase is Phase.ROLLING_BACK:
            return self._rolling_back(status)
        if status.canary is None:
            return self._start_attempt(status)
        if self.desired.hash != status.observed_spec_hash:  # to stable first, whatever comes next
            cause = Cause.REVERTED if self.desired.version == status.stable else Cause.SUPERSEDED
            withdrawn = status.model_copy(update={"observed_spec_hash": ""})
            return self._roll_back(withdrawn, cause, f"the spec asks for {self.desired.version}")
        if self._is_requested(status, "abort"):
            return self._roll_back(self._handle_request(status), Cause.ABORTED, "the spec asks for it")
        failure = self.observed.version(status.canary).failure if status.phase in RUNNING else ""
        if failure and not (status.stable is None and status.weight):
            return self._roll_back(status, Cause.START, failure)
        match status.phase:
            case Phase.PENDING:
                return self._transition(status, Phase.VERIFYING, f"{status.canary} is verified")
            case Phase.STEPPING:
                return self._stepping(status)
            case Phase.PAUSED:
                return self._paused(status)
            case Phase.PROMOTING:
                return self._promoting(status)
            case _:
                return self._gated(status)

    def _with_current_spec(self, status: RolloutStatus) -> RolloutStatus:
        request, replicas = self.desired.rollout.request, self.desired.replicas
        if request and request.version == self.desired.version and self.desired.hash == status.observed_spec_hash:
            over = status.phase in TERMINAL or status.phase is Phase.ROLLING_BACK
            can_retry = status.phase is Phase.PAUSED or (over and status.phase is not Phase.SUCCEEDED)
            if not (can_retry if request.action == "retry" else not over):
                # a request that comes when it can do nothing is handled: it must not affect a later attempt
                status = self._handle_request(status)
        # a new number of replicas without a new version is the new full size of both versions
        if self.desired.version == status.stable:
            return status.model_copy(update={"stable_replicas": replicas})
        if self.desired.version == status.canary and status.canary_replicas not in {0, replicas}:
            stable = replicas if status.stable else 0
            return status.model_copy(update={"canary_replicas": replicas, "stable_replicas": stable})
        return status

    def adopt(self) -> RolloutStatus:
        """A status where there is none: the version with the most traffic is stable."""
        serving = [name for name, version in self.observed.versions.items() if version.weight]
        if not serving:
            return RolloutStatus()
        stable = max(serving, key=lambda name: (self.observed.versions[name].weight or 0, name))
        is_desired = stable == self.desired.version
        return RolloutStatus(
            phase=Phase.SUCCEEDED,
            stable=stable,
            stable_replicas=self.desired.replicas if is_desired else max(1, self.observed.versions[stable].allocated),
            observed_spec_hash=self.desired.hash if is_desired else "",
            message=f"{stable} serves already",
        )

    def _start_attempt(self, status: RolloutStatus) -> RolloutStatus:
        """A fresh attempt, in Pending. The version that has the traffic is stable."""
        stable, full_size = status.stable, status.stable_replicas
        if status.weight and (status.stable is None or not self.observed.version(status.stable).ready):
            stable, full_size = status.canary, status.canary_replicas
        return RolloutStatus(
            stable=stable,
            stable_replicas=full_size,
            previous=status.previous,
            canary=self.desired.version,
            canary_replicas=self.desired.replicas,
            observed_spec_hash=self.desired.hash,
            attempt=status.attempt + 1,
            handled_request=status.handled_request,
            phase_started_at=status.phase_started_at,
            checks=status.checks if status.canary == self.desired.version else (),
            message=f"{self.desired.version} is to be rolled out",
        )

    def _gated(self, status: RolloutStatus) -> RolloutStatus:
        """Verifying, Starting, Warming and Golden: on as soon as the phase's gate is passed."""
        limits, gates, result = self.desired.rollout.limits, self.observed.canary, GateResult()
        if gates and (gates.version, gates.attempt) != (status.canary, status.attempt):
            gates = None
        match status.phase:
            case Phase.VERIFYING:
                following, cause, limit = Phase.STARTING, Cause.VERIFICATION, limits.verify_seconds
                result = gates.verified if gates else result
            case Phase.STARTING:
                following, cause, limit = Phase.WARMING, Cause.START, limits.start_seconds
                if gates and gates.preflight.gate is Gate.PASSED:
                    ready = self.observed.version(status.canary).ready
                    gate = Gate.PASSED if ready else Gate.WAITING
                    result = GateResult(gate, f"{ready} replicas of {status.canary} answer")
                elif gates:
                    result, cause = gates.preflight, Cause.PREFLIGHT
            case Phase.WARMING:
                following, cause, limit = Phase.GOLDEN, Cause.WARM, limits.warm_seconds
                result = gates.warmed if gates else result
            case _:
                following, cause, limit = Phase.STEPPING, Cause.GOLDEN, limits.golden_seconds
                if not self.desired.rollout.steps or status.stable is None or status.canary == status.previous:
                    following = Phase.PROMOTING
                result = judge_golden(self.desired.rollout, gates.golden) if gates else result
        if result.gate is Gate.FAILED:
            return self._roll_back(status, cause, result.message)
        if result.gate is Gate.PASSED:
            return self._transition(status, following, result.message)
        if elapsed_seconds(status.phase_started_at, self.now) >= limit:
            message = f"{status.phase} took longer than {limit} s: {result.message}"
            return self._roll_back(status, Cause.TIMEOUT, message)
        return status

    def _stepping(self, status: RolloutStatus) -> RolloutStatus:
        spec = self.desired.rollout
        if spec.paused:
            return self._transition(status, Phase.PAUSED, f"paused by the spec at {status.weight} %", Cause.PAUSED)
        if self._is_requested(status, "promote"):
            return self._force_promotion(status)
        if status.step >= len(spec.steps):
            return self._transition(status, Phase.PROMOTING, "no step is left")
        if status.step_started_at is not None:
            checked = self._check_if_due(status)
            has_result = checked is not status and checked.phase is Phase.STEPPING
            return self._after_check(checked) if has_result else checked
        # on the way to the step's weight; the step's clock starts when every router applies it
        weight, limit = target_weight(spec, status), spec.limits.shift_seconds
        if status.weight == weight and self.observed.version(status.canary).weight == weight:
            update = {"step_started_at": format_time(self.now), "checked_at": None, "message": f"at {weight} %"}
            status = status.model_copy(update=update)
        elif seconds_without_progress(status, self.now) >= limit:
            message = f"at {status.weight} %: {weight} % not reached within {limit} s"
            return self._transition(status, Phase.PAUSED, message, Cause.SHIFT_TIMEOUT)
        return status

    def _after_check(self, status: RolloutStatus) -> RolloutStatus:
        """After a check that did not fail: the next step, another check, or a pause after too many unclear ones."""
        steps, check = self.desired.rollout.steps, status.checks[-1]
        step = steps[status.step]
        if elapsed_seconds(status.step_started_at, self.now) < step.duration_seconds:
            return status
        measured = self._measurements(status)
        samples = measured.canary.total if measured else 0
        if check.verdict is Verdict.PASS and samples >= step.min_samples:
            if status.step + 1 >= len(steps):
                return self._transition(status, Phase.PROMOTING, "every step went well")
            update = {"step": status.step + 1, "step_started_at": None, "phase_started_at": format_time(self.now)}
            message = f"on the way to {steps[status.step + 1].weight} %"
            return status.model_copy(update={**update, "inconclusives": 0, "message": message})
        status = status.model_copy(update={"inconclusives": status.inconclusives + 1})
        if status.inconclusives < self.desired.rollout.analysis.inconclusive_limit:
            return status
        unsure = [f"{m.metric}: {m.message}" for m in check.metrics if m.verdict is Verdict.INCONCLUSIVE]
        message = unsure[0] if unsure else f"{samples} samples of {step.min_samples}"
        return self._transition(status, Phase.PAUSED, message, Cause.INCONCLUSIVE)

    def _paused(self, status: RolloutStatus) -> RolloutStatus:
        """The weight is held; checks can still fail."""
        if self._is_requested(status, "promote"):
            return self._force_promotion(status)
        retry = self._is_requested(status, "retry")
        if retry:
            status = self._handle_request(status)
        if not self.desired.rollout.paused and (retry or status.cause is Cause.PAUSED):
            resumed = status.model_copy(update={"step_started_at": None, "inconclusives": 0})
            return self._transition(resumed, Phase.STEPPING, "goes on")
        if self.desired.rollout.paused and status.cause is not Cause.PAUSED:
            return status.model_copy(update={"cause": Cause.PAUSED})
        return self._check_if_due(status)

    def _promoting(self, status: RolloutStatus) -> RolloutStatus:
        limits, canary = self.desired.rollout.limits, self.observed.version(status.canary)
        status = status if status.forced else self._check_if_due(status)
        if status.phase is not Phase.PROMOTING:
            return status
        others = any(v.weight != 0 for name, v in self.observed.versions.items() if name != status.canary)
        moved = status.weight == 100 and canary.weight == 100 and not others
        if not moved or canary.ready < status.canary_replicas:
            status = status.model_copy(update={"settled_at": None})
        elif status.settled_at is None:
            update = {"settled_at": format_time(self.now), "message": "all traffic moved; confirming"}
            status = status.model_copy(update=update)
        if status.settled_at and (
            status.stable is None or elapsed_seconds(status.settled_at, self.now) >= limits.confirm_seconds
        ):
            succeeded = self._transition(status, Phase.SUCCEEDED, f"{status.canary} serves")
            return succeeded.model_copy(
                update={
                    "previous": status.stable,
                    "stable": status.canary,
                    "stable_replicas": status.canary_replicas,
                    "canary": None,
                    "canary_replicas": 0,
                    "weight": 0,
                    "step_started_at": None,
                }
            )
        if seconds_without_progress(status, self.now) >= limits.promote_seconds + limits.confirm_seconds:
            return self._roll_back(status, Cause.TIMEOUT, f"not promoted within {limits.promote_seconds} s")
        return status

    def _rolling_back(self, status: RolloutStatus) -> RolloutStatus:
        if status.observed_spec_hash and self.desired.hash != status.observed_spec_hash:
            status = status.model_copy(update={"observed_spec_hash": ""})
        limit = self.desired.rollout.limits.rollback_seconds
        if status.stable is None and status.weight:
            message = f"there is no version to go back to: {status.message}"
            return self._transition(status, Phase.FAILED, message, status.cause)
        if status.weight == 0 and self.observed.version(status.canary).weight == 0:
            to = Phase.ROLLED_BACK if status.exposed or status.cause in INTENDED else Phase.FAILED
            return self._transition(status, to, status.message, status.cause)
        if seconds_without_progress(status, self.now) >= limit:
            message = f"{status.weight} % not moved back within {limit} s: {status.message}"
            return self._transition(status, Phase.FAILED, message, status.cause)
        return status

    def _ended(self, status: RolloutStatus) -> RolloutStatus:
        if self.desired.version == status.stable:
            # a version that failed has left the spec: when it comes back, that is a new attempt
            failed = status.phase is not Phase.SUCCEEDED
            return status.model_copy(update={"observed_spec_hash": self.desired.hash}) if failed else status
        retry = self._is_requested(status, "retry")
        if self.desired.hash == status.observed_spec_hash and not retry:
            return status
        has_traffic = status.weight or self.observed.version(status.canary).weight
        if has_traffic and status.phase is not Phase.SUCCEEDED and self.observed.version(status.stable).ready:
            return status  # its traffic leaves first
        status = self._handle_request(status) if retry else status
        return self._start_attempt(self._transition(status, Phase.PENDING, ""))

    def _check_if_due(self, status: RolloutStatus) -> RolloutStatus:
        """With another check where one is due; rolled back where that was one failure too many."""
        analysis = self.desired.rollout.analysis
        if seconds_until_check(self.desired.rollout, status, self.now) > 0:
            return status
        metrics = judge_metrics(analysis, self._measurements(status))
        verdict = combine_verdicts(metrics)
        now, weight = format_time(self.now), status.weight
        check = Check(time=now, phase=status.phase, weight=weight, verdict=verdict, metrics=metrics)
        recorded = status.phase is Phase.STEPPING or verdict is Verdict.FAIL
        status = status.model_copy(
            update={
                "checked_at": now,
                "checks": (*status.checks, check)[-HISTORY_MAX:] if recorded else status.checks,
                "failures": status.failures + (verdict is Verdict.FAIL),
                "inconclusives": 0 if verdict is Verdict.PASS else status.inconclusives,
            }
        )
        if status.failures < analysis.failure_limit or verdict is not Verdict.FAIL:
            return status
        message = "; ".join(f"{m.metric}: {m.message}" for m in metrics if m.verdict is Verdict.FAIL)
        return self._roll_back(status, Cause.ANALYSIS, message)

    def _measurements(self, status: RolloutStatus) -> Measurements | None:
        """Those about this step; None where there are none, or they are about an earlier one."""
        measured = self.observed.measurements
        is_current = measured and measured.since == status.step_started_at and status.phase in SERVING
        return measured if is_current else None

    def _roll_back(self, status: RolloutStatus, cause: Cause, message: str) -> RolloutStatus:
        turned = status.model_copy(update={"reached": status.weight})
        return self._transition(turned, Phase.ROLLING_BACK, message, cause)

    def _transition(self, status: RolloutStatus, to: Phase, message: str, cause: Cause = Cause.NONE) -> RolloutStatus:
        return transition(status, to, self.now, cause, message)

    def _force_promotion(self, status: RolloutStatus) -> RolloutStatus:
        forced = self._handle_request(status).model_copy(update={"forced": True})
        return self._transition(forced, Phase.PROMOTING, "promoted by request")

    def _is_requested(self, status: RolloutStatus, action: str) -> bool:
        request = self.desired.rollout.request
        return request is not None and request.action == action and request.is_pending(self.desired.version, status)

    def _handle_request(self, status: RolloutStatus) -> RolloutStatus:
        request = self.desired.rollout.request
        return status.model_copy(update={"handled_request": request.token if request else ""})
