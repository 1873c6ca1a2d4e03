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
from matte_operator.domain.rollout.observation import DesiredRollout, Gate, GateResult, Observation

#: seconds until the next decision, while something is expected to change
POLL_SECONDS = 2.0
#: and while traffic leaves a version that failed
ROLLBACK_POLL_SECONDS = 0.5
#: more transitions than any path through the phases has
_MAX_TRANSITIONS = 32


@dataclass(frozen=True, slots=True)
class Decision:
    """What is to be done.

    Attributes:
        status: the new one.
        weights: percent by version, 100 in all; empty: no version may have traffic yet.
        replicas: of each version; a version that is missing ends.
        mirror: percent of stable's jobs that the new version computes too.
        requeue_after: seconds until the next decision; None: when something changes.
    """

    status: RolloutStatus
    weights: Mapping[str, int]
    replicas: Mapping[str, int]
    mirror: int
    requeue_after: float | None


def decide(desired: DesiredRollout, status: RolloutStatus | None, observed: Observation, now: datetime) -> Decision:
    """What is to be done about a rollout. ``now`` is in UTC; ``status`` is None where there was none."""
    status = status if status is not None else _adopt(desired, observed)
    for _ in range(_MAX_TRANSITIONS):
        before = status
        status = _advance(desired, status, observed, now)
        if status == before:  # the weight is that of the phase in which the transitions end
            status = _with_next_weight(desired, status, observed, now)
        if status == before:
            break
    mirrored = status.phase in {Phase.STEPPING, Phase.PAUSED} and observed.version(status.canary).ready
    analysis = desired.rollout.analysis
    draining = status.canary is not None and (status.weight or observed.version(status.canary).weight)
    requeue_after: float | None = POLL_SECONDS
    if status.phase is Phase.ROLLING_BACK or (status.phase in ROLLBACK and draining):
        requeue_after = ROLLBACK_POLL_SECONDS
    elif status.phase in TERMINAL:
        requeue_after = None
    return Decision(
        status=status,
        weights=_weights(status),
        replicas=desired_replicas(desired.rollout, status, observed),
        mirror=analysis.agreement.mirror_percent if mirrored and "agreement" not in analysis.skip else 0,
        requeue_after=requeue_after,
    )


def _with_next_weight(
    desired: DesiredRollout, status: RolloutStatus, observed: Observation, now: datetime
) -> RolloutStatus:
    if status.canary is None:
        return status
    weight = next_weight(desired.rollout, status, observed)
    closer = weight < status.reached if status.phase in ROLLBACK else weight > status.reached
    progress = {"reached": weight, "progressed_at": format_time(now)} if closer else {}
    return status.model_copy(update={"weight": weight, "exposed": status.exposed or weight > 0, **progress})


def _weights(status: RolloutStatus) -> dict[str, int]:
    """The new version is routed from its first step on: with weight 0 it answers rules."""
    if status.stable is None:
        return {status.canary: 100} if status.canary and status.weight else {}
    weights = {status.stable: 100 - status.weight}
    if status.canary and (status.weight or status.phase in SERVING):
        weights[status.canary] = status.weight
    return weights


def _advance(  # noqa: PLR0911 - one per phase
    desired: DesiredRollout, status: RolloutStatus, observed: Observation, now: datetime
) -> RolloutStatus:
    """The status after at most one transition, or after another change; its weight is not touched."""
    status = _scale(desired, _discard_ineffective_request(desired, status))
    if status.phase in TERMINAL:
        return _ended(desired, status, observed, now)
    if status.phase is Phase.ROLLING_BACK:
        return _rolling_back(desired, status, observed, now)
    if status.canary is None:
        return _start_attempt(desired, status, observed)
    if desired.hash != status.observed_spec_hash:  # to stable first, whatever comes next
        cause = Cause.REVERTED if desired.version == status.stable else Cause.SUPERSEDED
        withdrawn = status.model_copy(update={"observed_spec_hash": ""})
        return _roll_back(withdrawn, now, cause, f"the spec asks for {desired.version}")
    if _is_requested(desired, status, "abort"):
        return _roll_back(_handle_request(desired, status), now, Cause.ABORTED, "the spec asks for it")
    failure = observed.version(status.canary).failure if status.phase in RUNNING else ""
    if failure and not (status.stable is None and status.weight):
        return _roll_back(status, now, Cause.START, failure)
    match status.phase:
        case Phase.PENDING:
            return transition(status, Phase.VERIFYING, now, message=f"{status.canary} is verified")
        case Phase.STEPPING:
            return _stepping(desired, status, observed, now)
        case Phase.PAUSED:
            return _paused(desired, status, observed, now)
        case Phase.PROMOTING:
            return _promoting(desired, status, observed, now)
        case _:
            return _gated(desired, status, observed, now)


def _adopt(desired: DesiredRollout, observed: Observation) -> RolloutStatus:
    """A status where there is none: the version with the most traffic is stable."""
    serving = [name for name, version in observed.versions.items() if version.weight]
    if not serving:
        return RolloutStatus()
    stable = max(serving, key=lambda name: (observed.versions[name].weight or 0, name))
    is_desired = stable == desired.version
    return RolloutStatus(
        phase=Phase.SUCCEEDED,
        stable=stable,
        stable_replicas=desired.replicas if is_desired else max(1, observed.versions[stable].allocated),
        observed_spec_hash=desired.hash if is_desired else "",
        message=f"{stable} serves already",
    )


def seconds_until_check(spec: RolloutSpec, status: RolloutStatus, now: datetime) -> float:
    """Seconds until the step's next check, 0 and less where it is due; infinite where none is made."""
    if status.phase not in SERVING or status.step_started_at is None:
        return math.inf
    return spec.analysis.interval_seconds - elapsed_seconds(status.checked_at or status.step_started_at, now)


def _scale(desired: DesiredRollout, status: RolloutStatus) -> RolloutStatus:
    """A new number of replicas without a new version is the new full size of both versions."""
    if desired.version == status.stable:
        return status.model_copy(update={"stable_replicas": desired.replicas})
    if desired.version == status.canary and status.canary_replicas and desired.replicas != status.canary_replicas:
        stable = desired.replicas if status.stable else 0
        return status.model_copy(update={"canary_replicas": desired.replicas, "stable_replicas": stable})
    return status


def _start_attempt(desired: DesiredRollout, status: RolloutStatus, observed: Observation) -> RolloutStatus:
    """A fresh attempt, in Pending. The version that has the traffic is stable."""
    stable, full_size = status.stable, status.stable_replicas
    if status.weight and (status.stable is None or not observed.version(status.stable).ready):
        stable, full_size = status.canary, status.canary_replicas
    return RolloutStatus(
        stable=stable,
        stable_replicas=full_size,
        previous=status.previous,
        canary=desired.version,
        canary_replicas=desired.replicas,
        observed_spec_hash=desired.hash,
        attempt=status.attempt + 1,
        handled_request=status.handled_request,
        phase_started_at=status.phase_started_at,
        checks=status.checks if status.canary == desired.version else (),
        message=f"{desired.version} is to be rolled out",
    )


def _gated(desired: DesiredRollout, status: RolloutStatus, observed: Observation, now: datetime) -> RolloutStatus:
    """Verifying, Starting, Warming and Golden: on as soon as the phase's gate is passed."""
    limits, gates, result = desired.rollout.limits, observed.canary, GateResult()
    if gates and (gates.version, gates.attempt) != (status.canary, status.attempt):
        gates = None
    match status.phase:
        case Phase.VERIFYING:
            following, cause, limit = Phase.STARTING, Cause.VERIFICATION, limits.verify_seconds
            result = gates.verified if gates else result
        case Phase.STARTING:
            following, cause, limit = Phase.WARMING, Cause.START, limits.start_seconds
            if gates and gates.preflight.gate is Gate.PASSED:
                ready = observed.version(status.canary).ready
                result = GateResult(
                    Gate.PASSED if ready else Gate.WAITING, f"{ready} replicas of {status.canary} answer"
                )
            elif gates:
                result, cause = gates.preflight, Cause.PREFLIGHT
        case Phase.WARMING:
            following, cause, limit = Phase.GOLDEN, Cause.WARM, limits.warm_seconds
            result = gates.warmed if gates else result
        case _:
            following, cause, limit = Phase.STEPPING, Cause.GOLDEN, limits.golden_seconds
            if not desired.rollout.steps or status.stable is None or status.canary == status.previous:
                following = Phase.PROMOTING
            result = judge_golden(desired.rollout, gates.golden) if gates else result
    if result.gate is Gate.FAILED:
        return _roll_back(status, now, cause, result.message)
    if result.gate is Gate.PASSED:
        return transition(status, following, now, message=result.message)
    if elapsed_seconds(status.phase_started_at, now) >= limit:
        return _roll_back(status, now, Cause.TIMEOUT, f"{status.phase} took longer than {limit} s: {result.message}")
    return status


def _stepping(desired: DesiredRollout, status: RolloutStatus, observed: Observation, now: datetime) -> RolloutStatus:
    spec = desired.rollout
    if spec.paused:
        return transition(status, Phase.PAUSED, now, Cause.PAUSED, f"paused by the spec at {status.weight} %")
    if _is_requested(desired, status, "promote"):
        return _force_promotion(desired, status, now)
    if status.step >= len(spec.steps):
        return transition(status, Phase.PROMOTING, now, message="no step is left")
    if status.step_started_at is None:
        return _shift_traffic(desired, status, observed, now)
    checked = _check_if_due(desired, status, observed, now)
    if checked is status or checked.phase is not Phase.STEPPING:
        return checked
    return _after_check(desired, checked, observed, now)


def _shift_traffic(
    desired: DesiredRollout, status: RolloutStatus, observed: Observation, now: datetime
) -> RolloutStatus:
    """On the way to the step's weight; the step's clock starts when every router applies it."""
    weight, limit = target_weight(desired.rollout, status), desired.rollout.limits.shift_seconds
    if status.weight == weight and observed.version(status.canary).weight == weight:
        return status.model_copy(
            update={"step_started_at": format_time(now), "checked_at": None, "message": f"at {weight} %"}
        )
    if seconds_without_progress(status, now) >= limit:
        message = f"at {status.weight} %: {weight} % not reached within {limit} s"
        return transition(status, Phase.PAUSED, now, Cause.SHIFT_TIMEOUT, message)
    return status


def _after_check(desired: DesiredRollout, status: RolloutStatus, observed: Observation, now: datetime) -> RolloutStatus:
    """After a check that did not fail: the next step, or another check, or a pause after too many inconclusive ones."""
    steps, check = desired.rollout.steps, status.checks[-1]
    step = steps[status.step]
    if elapsed_seconds(status.step_started_at, now) < step.duration_seconds:
        return status
    measured = observed.measurements if _are_current(status, observed) else None
    samples = measured.canary.total if measured else 0
    if check.verdict is Verdict.PASS and samples >= step.min_samples:
        if status.step + 1 >= len(steps):
            return transition(status, Phase.PROMOTING, now, message="every step went well")
        return status.model_copy(
            update={
                "step": status.step + 1,
                "step_started_at": None,
                "phase_started_at": format_time(now),
                "inconclusives": 0,
                "message": f"on the way to {steps[status.step + 1].weight} %",
            }
        )
    status = status.model_copy(update={"inconclusives": status.inconclusives + 1})
    if status.inconclusives < desired.rollout.analysis.inconclusive_limit:
        return status
    unsure = [f"{m.metric}: {m.message}" for m in check.metrics if m.verdict is Verdict.INCONCLUSIVE]
    message = unsure[0] if unsure else f"{samples} samples of {step.min_samples}"
    return transition(status, Phase.PAUSED, now, Cause.INCONCLUSIVE, message)


def _paused(desired: DesiredRollout, status: RolloutStatus, observed: Observation, now: datetime) -> RolloutStatus:
    """The weight is held; checks can still fail."""
    if _is_requested(desired, status, "promote"):
        return _force_promotion(desired, status, now)
    retry = _is_requested(desired, status, "retry")
    if retry:
        status = _handle_request(desired, status)
    if not desired.rollout.paused and (retry or status.cause is Cause.PAUSED):
        resumed = status.model_copy(update={"step_started_at": None, "inconclusives": 0})
        return transition(resumed, Phase.STEPPING, now, message="goes on")
    if desired.rollout.paused and status.cause is not Cause.PAUSED:
        return status.model_copy(update={"cause": Cause.PAUSED})
    return _check_if_due(desired, status, observed, now)


def _promoting(desired: DesiredRollout, status: RolloutStatus, observed: Observation, now: datetime) -> RolloutStatus:
    limits, canary = desired.rollout.limits, observed.version(status.canary)
    status = status if status.forced else _check_if_due(desired, status, observed, now)
    if status.phase is not Phase.PROMOTING:
        return status
    others = [name for name, version in observed.versions.items() if name != status.canary and version.weight != 0]
    all_moved = status.weight == 100 and canary.weight == 100 and not others and canary.ready >= status.canary_replicas
    if not all_moved:
        status = status.model_copy(update={"settled_at": None})
    elif status.settled_at is None:
        status = status.model_copy(update={"settled_at": format_time(now), "message": "all traffic moved; confirming"})
    if status.settled_at and (
        status.stable is None or elapsed_seconds(status.settled_at, now) >= limits.confirm_seconds
    ):
        succeeded = transition(status, Phase.SUCCEEDED, now, message=f"{status.canary} serves")
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
    if seconds_without_progress(status, now) >= limits.promote_seconds + limits.confirm_seconds:
        return _roll_back(status, now, Cause.TIMEOUT, f"not promoted within {limits.promote_seconds} s")
    return status


def _rolling_back(
    desired: DesiredRollout, status: RolloutStatus, observed: Observation, now: datetime
) -> RolloutStatus:
    if status.observed_spec_hash and desired.hash != status.observed_spec_hash:
        status = status.model_copy(update={"observed_spec_hash": ""})
    limit = desired.rollout.limits.rollback_seconds
    if status.stable is None and status.weight:
        message = f"there is no version to go back to: {status.message}"
        return transition(status, Phase.FAILED, now, status.cause, message)
    if status.weight == 0 and observed.version(status.canary).weight == 0:
        to = Phase.ROLLED_BACK if status.exposed or status.cause in INTENDED else Phase.FAILED
        return transition(status, to, now, status.cause, status.message)
    if seconds_without_progress(status, now) >= limit:
        message = f"{status.weight} % not moved back within {limit} s: {status.message}"
        return transition(status, Phase.FAILED, now, status.cause, message)
    return status


def _ended(desired: DesiredRollout, status: RolloutStatus, observed: Observation, now: datetime) -> RolloutStatus:
    if desired.version == status.stable:
        # a version that failed has left the spec: when it comes back, that is a new attempt
        failed = status.phase is not Phase.SUCCEEDED
        return status.model_copy(update={"observed_spec_hash": desired.hash}) if failed else status
    retry = _is_requested(desired, status, "retry")
    if desired.hash == status.observed_spec_hash and not retry:
        return status
    has_traffic = status.weight or observed.version(status.canary).weight
    if status.phase is not Phase.SUCCEEDED and has_traffic and status.stable and observed.version(status.stable).ready:
        return status  # its traffic leaves first
    status = _handle_request(desired, status) if retry else status
    return _start_attempt(desired, transition(status, Phase.PENDING, now), observed)


def _check_if_due(
    desired: DesiredRollout, status: RolloutStatus, observed: Observation, now: datetime
) -> RolloutStatus:
    """With another check where one is due; rolled back where that was one failure too many."""
    analysis = desired.rollout.analysis
    if seconds_until_check(desired.rollout, status, now) > 0:
        return status
    metrics = judge_metrics(analysis, observed.measurements if _are_current(status, observed) else None)
    verdict = combine_verdicts(metrics)
    check = Check(time=format_time(now), phase=status.phase, weight=status.weight, verdict=verdict, metrics=metrics)
    recorded = status.phase is Phase.STEPPING or verdict is Verdict.FAIL
    status = status.model_copy(
        update={
            "checked_at": format_time(now),
            "checks": (*status.checks, check)[-HISTORY_MAX:] if recorded else status.checks,
            "failures": status.failures + (verdict is Verdict.FAIL),
            "inconclusives": 0 if verdict is Verdict.PASS else status.inconclusives,
        }
    )
    if status.failures < analysis.failure_limit or verdict is not Verdict.FAIL:
        return status
    message = "; ".join(f"{m.metric}: {m.message}" for m in metrics if m.verdict is Verdict.FAIL)
    return _roll_back(status, now, Cause.ANALYSIS, message)


def _are_current(status: RolloutStatus, observed: Observation) -> bool:
    """Whether the measurements are about this step, and not about an earlier one."""
    measured = observed.measurements
    return measured is not None and measured.since == status.step_started_at and status.phase in SERVING


def _roll_back(status: RolloutStatus, now: datetime, cause: Cause, message: str) -> RolloutStatus:
    return transition(status.model_copy(update={"reached": status.weight}), Phase.ROLLING_BACK, now, cause, message)


def _force_promotion(desired: DesiredRollout, status: RolloutStatus, now: datetime) -> RolloutStatus:
    forced = _handle_request(desired, status).model_copy(update={"forced": True})
    return transition(forced, Phase.PROMOTING, now, message="promoted by request")


def _discard_ineffective_request(desired: DesiredRollout, status: RolloutStatus) -> RolloutStatus:
    """A request that comes when it can do nothing is handled: it must not affect a later attempt."""
    request = desired.rollout.request
    if request is None or request.version != desired.version or desired.hash != status.observed_spec_hash:
        return status
    over = status.phase in TERMINAL or status.phase is Phase.ROLLING_BACK
    can_retry = status.phase is Phase.PAUSED or (over and status.phase is not Phase.SUCCEEDED)
    effective = can_retry if request.action == "retry" else not over
    return status if effective else _handle_request(desired, status)


def _is_requested(desired: DesiredRollout, status: RolloutStatus, action: str) -> bool:
    request = desired.rollout.request
    return request is not None and request.action == action and request.is_pending(desired.version, status)


def _handle_request(desired: DesiredRollout, status: RolloutStatus) -> RolloutStatus:
    request = desired.rollout.request
    return status.model_copy(update={"handled_request": request.token if request else ""})
