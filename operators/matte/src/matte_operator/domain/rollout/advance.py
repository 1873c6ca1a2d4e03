"""How a rollout goes from phase to phase."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from matte_core.contracts.k8s.common import format_time
from matte_core.contracts.k8s.rollout import HISTORY_MAX, Cause, Check, Phase, RolloutStatus, Verdict
from matte_core.domain.phases import (
    INTENDED,
    RUNNING,
    SERVING,
    TERMINAL,
    elapsed_seconds,
    seconds_without_progress,
    transition,
)

from matte_operator.domain.rollout.analysis import combined, judge, judge_golden
from matte_operator.domain.rollout.capacity import target
from matte_operator.domain.rollout.observe import CanarySeen, Gate, GateSeen, Observation, Wanted

_GATES = {
    Phase.VERIFYING: (Phase.STARTING, Cause.VERIFICATION),
    Phase.STARTING: (Phase.WARMING, Cause.START),
    Phase.WARMING: (Phase.GOLDEN, Cause.WARM),
    Phase.GOLDEN: (Phase.STEPPING, Cause.GOLDEN),
}


def advance(spec: Wanted, status: RolloutStatus, seen: Observation, now: datetime) -> RolloutStatus:
    """One move at most, or what else changes in the status; the weight aside."""
    status = _scaled(spec, _consumed(spec, status))
    if status.phase in _AFTER:
        return _AFTER[status.phase](spec, status, seen, now)
    if status.canary is None:
        return _begun(spec, status, seen)
    stopped = _stopped(spec, status, seen, now)
    return stopped or _DURING.get(status.phase, _gated)(spec, status, seen, now)


def _stopped(spec: Wanted, status: RolloutStatus, seen: Observation, now: datetime) -> RolloutStatus | None:
    """Rolled back, where the spec asks for that, or the new version's processes will not run."""
    if spec.hash != status.observed_spec_hash:
        return _withdrawn(spec, status, now)
    if _asked(spec, status, "abort"):
        return _back(_handled(spec, status), now, Cause.ABORTED, "the spec asks for it")
    trouble = seen.version(status.canary).trouble if status.phase in RUNNING else ""
    if trouble and not (status.stable is None and status.weight):
        return _back(status, now, Cause.START, trouble)
    return None


def adopt(spec: Wanted, seen: Observation) -> RolloutStatus:
    """A status where there is none: what serves already is stable."""
    serving = [name for name, version in seen.versions.items() if version.weight]
    if not serving:
        return RolloutStatus()
    stable = max(serving, key=lambda name: (seen.versions[name].weight or 0, name))
    hash_ = spec.hash if stable == spec.version else ""
    full = spec.replicas if stable == spec.version else max(1, seen.versions[stable].held)
    return RolloutStatus(
        phase=Phase.SUCCEEDED,
        stable=stable,
        stable_replicas=full,
        observed_spec_hash=hash_,
        message=f"{stable} serves already",
    )


def _scaled(spec: Wanted, status: RolloutStatus) -> RolloutStatus:
    """A new number of replicas without a new version is the new full size of both."""
    if spec.version == status.stable:
        return status.model_copy(update={"stable_replicas": spec.replicas})
    if spec.version == status.canary and status.canary_replicas and spec.replicas != status.canary_replicas:
        sizes = {"canary_replicas": spec.replicas, "stable_replicas": spec.replicas if status.stable else 0}
        return status.model_copy(update=sizes)
    return status


def _begun(spec: Wanted, status: RolloutStatus, seen: Observation) -> RolloutStatus:
    """A fresh attempt, in Pending. What carries the traffic is stable."""
    stranded = bool(status.weight) and (status.stable is None or not seen.version(status.stable).ready)
    stable, full = (status.canary, status.canary_replicas) if stranded else (status.stable, status.stable_replicas)
    return RolloutStatus(
        stable=stable,
        stable_replicas=full,
        previous=status.previous,
        canary=spec.version,
        canary_replicas=spec.replicas,
        observed_spec_hash=spec.hash,
        attempt=status.attempt + 1,
        handled_request=status.handled_request,
        phase_started_at=status.phase_started_at,
        checks=status.checks if status.canary == spec.version else (),
        message=f"{spec.version} is to be rolled out",
    )


def _ended(spec: Wanted, status: RolloutStatus, seen: Observation, now: datetime) -> RolloutStatus:
    retry = _asked(spec, status, "retry")
    if spec.version == status.stable:
        # the version that failed has left the spec: when it comes back, that is a new wish
        return (
            status if status.phase is Phase.SUCCEEDED else status.model_copy(update={"observed_spec_hash": spec.hash})
        )
    if spec.hash == status.observed_spec_hash and not retry:
        return status
    carries = status.weight or seen.version(status.canary).weight
    if status.phase is not Phase.SUCCEEDED and carries and status.stable and seen.version(status.stable).ready:
        return status  # its traffic goes first
    handled = _handled(spec, status) if retry else status
    return _begun(spec, transition(handled, Phase.PENDING, now), seen)


def _withdrawn(spec: Wanted, status: RolloutStatus, now: datetime) -> RolloutStatus:
    """The spec asks for something else: back to stable first, whatever comes next."""
    cause = Cause.REVERTED if spec.version == status.stable else Cause.SUPERSEDED
    forgotten = status.model_copy(update={"observed_spec_hash": ""})
    return _back(forgotten, now, cause, f"the spec asks for {spec.version}")


def _gated(spec: Wanted, status: RolloutStatus, seen: Observation, now: datetime) -> RolloutStatus:
    canary = seen.canary
    current = canary is not None and (canary.version, canary.attempt) == (status.canary, status.attempt)
    found = _gate(spec, status, canary, seen) if canary and current else GateSeen()
    to, cause = _GATES[status.phase]
    if found.gate is Gate.FAILED:
        unplaced = status.phase is Phase.STARTING and canary and canary.preflight.gate is Gate.FAILED
        return _back(status, now, Cause.PREFLIGHT if unplaced else cause, found.message)
    if found.gate is Gate.PASSED:
        if to is Phase.STEPPING and (
            not spec.rollout.steps or status.stable is None or status.canary == status.previous
        ):
            to = Phase.PROMOTING
        return transition(status, to, now, message=found.message)
    limits = spec.rollout.limits
    seconds = {
        Phase.VERIFYING: limits.verify_seconds,
        Phase.STARTING: limits.start_seconds,
        Phase.WARMING: limits.warm_seconds,
        Phase.GOLDEN: limits.golden_seconds,
    }[status.phase]
    if elapsed_seconds(status.phase_started_at, now) >= seconds:
        return _back(status, now, Cause.TIMEOUT, f"{status.phase} took longer than {seconds} s: {found.message}")
    return status


def _gate(spec: Wanted, status: RolloutStatus, canary: CanarySeen, seen: Observation) -> GateSeen:
    match status.phase:
        case Phase.VERIFYING:
            return canary.verified
        case Phase.WARMING:
            return canary.warmed
        case Phase.GOLDEN:
            return judge_golden(spec.rollout, canary.golden)
    if canary.preflight.gate is not Gate.PASSED:
        return canary.preflight
    ready = seen.version(status.canary).ready
    return GateSeen(Gate.PASSED if ready else Gate.WAITING, f"{ready} replicas of {status.canary} answer")


def _pending(_spec: Wanted, status: RolloutStatus, _seen: Observation, now: datetime) -> RolloutStatus:
    return transition(status, Phase.VERIFYING, now, message=f"{status.canary} is verified")


def _stepping(spec: Wanted, status: RolloutStatus, seen: Observation, now: datetime) -> RolloutStatus:
    if spec.rollout.paused:
        return transition(status, Phase.PAUSED, now, Cause.PAUSED, f"paused by the spec at {status.weight} %")
    if _asked(spec, status, "promote"):
        forced = _handled(spec, status).model_copy(update={"forced": True})
        return transition(forced, Phase.PROMOTING, now, message="promoted by request")
    if status.step >= len(spec.rollout.steps):
        return transition(status, Phase.PROMOTING, now, message="no step is left")
    if status.step_started_at is None:
        return _shifting(spec, status, seen, now)
    checked = _checked(spec, status, seen, now)
    return checked if checked is status or checked.phase is not Phase.STEPPING else _step_on(spec, checked, seen, now)


def _shifting(spec: Wanted, status: RolloutStatus, seen: Observation, now: datetime) -> RolloutStatus:
    """On the way to the step's weight; its clock starts when every router has it."""
    wanted = target(spec.rollout, status)
    if status.weight == wanted and seen.version(status.canary).weight == wanted:
        update = {"step_started_at": format_time(now), "checked_at": None, "message": f"at {wanted} %"}
        return status.model_copy(update=update)
    if seconds_without_progress(status, now) >= spec.rollout.limits.shift_seconds:
        text = f"at {status.weight} %: {wanted} % not reached within {spec.rollout.limits.shift_seconds} s"
        return transition(status, Phase.PAUSED, now, Cause.SHIFT_TIMEOUT, text)
    return status


def _step_on(spec: Wanted, status: RolloutStatus, seen: Observation, now: datetime) -> RolloutStatus:
    """After a check that did not fail: the next step, or patience."""
    step, last = spec.rollout.steps[status.step], status.checks[-1]
    if elapsed_seconds(status.step_started_at, now) < step.duration_seconds:
        return status
    samples = seen.measured.canary.total if _fresh(status, seen) and seen.measured else 0
    if last.verdict is Verdict.PASS and samples >= step.min_samples:
        return _next_step(spec, status, now)
    count = status.inconclusives + 1
    if count < spec.rollout.analysis.inconclusive_limit:
        return status.model_copy(update={"inconclusives": count})
    unsure = [f"{m.metric}: {m.message}" for m in last.metrics if m.verdict is Verdict.INCONCLUSIVE]
    text = unsure[0] if unsure else f"{samples} samples of {step.min_samples}"
    return transition(status.model_copy(update={"inconclusives": count}), Phase.PAUSED, now, Cause.INCONCLUSIVE, text)


def _next_step(spec: Wanted, status: RolloutStatus, now: datetime) -> RolloutStatus:
    if status.step + 1 >= len(spec.rollout.steps):
        return transition(status, Phase.PROMOTING, now, message="every step went well")
    weight = spec.rollout.steps[status.step + 1].weight
    return status.model_copy(
        update={
            "step": status.step + 1,
            "step_started_at": None,
            "phase_started_at": format_time(now),
            "inconclusives": 0,
            "message": f"on the way to {weight} %",
        }
    )


def _paused(spec: Wanted, status: RolloutStatus, seen: Observation, now: datetime) -> RolloutStatus:
    """Held; it still fails where it must."""
    if _asked(spec, status, "promote"):
        forced = _handled(spec, status).model_copy(update={"forced": True})
        return transition(forced, Phase.PROMOTING, now, message="promoted by request")
    retry = _asked(spec, status, "retry")
    if retry:
        status = _handled(spec, status)
    if not spec.rollout.paused and (retry or status.cause is Cause.PAUSED):
        fresh = status.model_copy(update={"step_started_at": None, "inconclusives": 0})
        return transition(fresh, Phase.STEPPING, now, message="goes on")
    if spec.rollout.paused and status.cause is not Cause.PAUSED:
        return status.model_copy(update={"cause": Cause.PAUSED})
    return _checked(spec, status, seen, now)


def _promoting(spec: Wanted, status: RolloutStatus, seen: Observation, now: datetime) -> RolloutStatus:
    limits, canary = spec.rollout.limits, seen.version(status.canary)
    status = status if status.forced else _checked(spec, status, seen, now)
    if status.phase is not Phase.PROMOTING:
        return status
    others = [name for name, version in seen.versions.items() if name != status.canary and version.weight != 0]
    whole = status.weight == 100 and canary.weight == 100 and not others and canary.ready >= status.canary_replicas
    if not whole:
        status = status.model_copy(update={"settled_at": None})
    elif status.settled_at is None:
        status = status.model_copy(update={"settled_at": format_time(now), "message": "all traffic moved; confirming"})
    if status.settled_at and (
        status.stable is None or elapsed_seconds(status.settled_at, now) >= limits.confirm_seconds
    ):
        return _succeeded(status, now)
    if seconds_without_progress(status, now) >= limits.promote_seconds + limits.confirm_seconds:
        return _back(status, now, Cause.TIMEOUT, f"not promoted within {limits.promote_seconds} s")
    return status


def _succeeded(status: RolloutStatus, now: datetime) -> RolloutStatus:
    done = transition(status, Phase.SUCCEEDED, now, message=f"{status.canary} serves")
    return done.model_copy(
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


def _rolling_back(spec: Wanted, status: RolloutStatus, seen: Observation, now: datetime) -> RolloutStatus:
    if status.observed_spec_hash and spec.hash != status.observed_spec_hash:
        status = status.model_copy(update={"observed_spec_hash": ""})
    if status.stable is None and status.weight:
        return transition(
            status, Phase.FAILED, now, status.cause, f"there is no version to go back to: {status.message}"
        )
    if status.weight == 0 and seen.version(status.canary).weight == 0:
        chosen = status.cause in INTENDED
        to = Phase.ROLLED_BACK if status.exposed or chosen else Phase.FAILED
        return transition(status, to, now, status.cause, status.message)
    if seconds_without_progress(status, now) >= spec.rollout.limits.rollback_seconds:
        text = f"{status.weight} % not moved back within {spec.rollout.limits.rollback_seconds} s: {status.message}"
        return transition(status, Phase.FAILED, now, status.cause, text)
    return status


def _checked(spec: Wanted, status: RolloutStatus, seen: Observation, now: datetime) -> RolloutStatus:
    """With another check where one is due; rolled back where that was one failure too many."""
    analysis = spec.rollout.analysis
    since = status.checked_at or status.step_started_at
    if status.step_started_at is None or elapsed_seconds(since, now) < analysis.interval_seconds:
        return status
    metrics = judge(analysis, seen.measured if _fresh(status, seen) else None)
    verdict = combined(metrics)
    check = Check(time=format_time(now), phase=status.phase, weight=status.weight, verdict=verdict, metrics=metrics)
    worth = status.phase is Phase.STEPPING or verdict is Verdict.FAIL
    status = status.model_copy(
        update={
            "checked_at": format_time(now),
            "checks": (*status.checks, check)[-HISTORY_MAX:] if worth else status.checks,
            "failures": status.failures + (verdict is Verdict.FAIL),
            "inconclusives": 0 if verdict is Verdict.PASS else status.inconclusives,
        }
    )
    if status.failures < analysis.failure_limit or verdict is not Verdict.FAIL:
        return status
    text = "; ".join(f"{m.metric}: {m.message}" for m in metrics if m.verdict is Verdict.FAIL)
    return _back(status, now, Cause.ANALYSIS, text)


def _fresh(status: RolloutStatus, seen: Observation) -> bool:
    """Whether what was measured is about this step, and not about one before."""
    return seen.measured is not None and seen.measured.since == status.step_started_at and status.phase in SERVING


def _back(status: RolloutStatus, now: datetime, cause: Cause, message: str) -> RolloutStatus:
    turned = status.model_copy(update={"reached": status.weight})
    return transition(turned, Phase.ROLLING_BACK, now, cause, message)


def _consumed(spec: Wanted, status: RolloutStatus) -> RolloutStatus:
    """A request that comes when it can do nothing is over: it must not strike a later attempt."""
    request = spec.rollout.request
    if request is None or request.version != spec.version or spec.hash != status.observed_spec_hash:
        return status
    over = status.phase in TERMINAL or status.phase is Phase.ROLLING_BACK
    waits = status.phase is Phase.PAUSED or (over and status.phase is not Phase.SUCCEEDED)
    effective = waits if request.action == "retry" else not over
    return status if effective else _handled(spec, status)


def _asked(spec: Wanted, status: RolloutStatus, action: str) -> bool:
    request = spec.rollout.request
    if request is None or request.version != spec.version or _token(spec) == status.handled_request:
        return False
    return request.action == action


def _handled(spec: Wanted, status: RolloutStatus) -> RolloutStatus:
    return status.model_copy(update={"handled_request": _token(spec)})


def _token(spec: Wanted) -> str:
    request = spec.rollout.request
    return request.token if request else ""


_Handler = Callable[[Wanted, RolloutStatus, Observation, datetime], RolloutStatus]
_DURING: dict[Phase, _Handler] = {
    Phase.PENDING: _pending,
    Phase.STEPPING: _stepping,
    Phase.PAUSED: _paused,
    Phase.PROMOTING: _promoting,
}
_AFTER: dict[Phase, _Handler] = {
    Phase.ROLLING_BACK: _rolling_back,
    Phase.SUCCEEDED: _ended,
    Phase.ROLLED_BACK: _ended,
    Phase.FAILED: _ended,
}
