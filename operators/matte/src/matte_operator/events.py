"""Which changes become Kubernetes Events: each once, in words that a person can act on."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from matte_core.contracts.k8s.common import Condition, ConditionStatus
from matte_core.contracts.k8s.rollout import Cause, Phase, RolloutStatus
from matte_core.domain.phases import INTENDED, TERMINAL

from matte_operator.domain.rollout.reconcile import PROGRESSING, STALLED, describe

#: reasons of conditions that are False without anything being wrong
_NORMAL_REASONS = frozenset({"Starting", "Complete", "Removing", "Verifying", "NotStalled"})
#: the Pool has an Event about it
_REPORTED_BY_POOL = frozenset({"PoolNotReady"})
#: no Event where it is the first state
_EXPECTED_FIRST = frozenset({"Scheduled", "Complete"})
_INTENDED = INTENDED | {Cause.PAUSED}
_REASONS = {
    Phase.STARTING: "RolloutVerified",
    Phase.WARMING: "RolloutWarming",
    Phase.GOLDEN: "RolloutGolden",
    Phase.STEPPING: "RolloutStepping",
    Phase.PAUSED: "RolloutPaused",
    Phase.PROMOTING: "RolloutPromoting",
    Phase.SUCCEEDED: "RolloutSucceeded",
    Phase.ROLLING_BACK: "RollingBack",
    Phase.ROLLED_BACK: "RolledBack",
    Phase.FAILED: "RolloutFailed",
}
_WARNINGS = frozenset({Phase.PAUSED, Phase.ROLLING_BACK, Phase.ROLLED_BACK, Phase.FAILED})


@dataclass(frozen=True, slots=True)
class EventRecord:
    """An Event. ``type``: Normal or Warning; ``reason`` in CamelCase."""

    type: str
    reason: str
    message: str


def conditions_to_report(
    old: Iterable[Condition], new: Iterable[Condition], *, rollout: bool = False
) -> list[Condition]:
    """The conditions that deserve an Event: good ones once, bad ones whenever they change, no message twice."""
    old_by_type = {condition.type: condition for condition in old}
    by_message: dict[str, Condition] = {}
    for condition in new:
        if _is_reported(old_by_type.get(condition.type), condition, rollout=rollout):
            by_message.setdefault(condition.message, condition)
    return list(by_message.values())


def event_type(condition: Condition) -> str:
    good = ConditionStatus.FALSE if condition.type == STALLED else ConditionStatus.TRUE
    return "Normal" if condition.status is good or condition.reason in _NORMAL_REASONS else "Warning"


def rollout_events(model: str, before: RolloutStatus | None, after: RolloutStatus | None) -> list[EventRecord]:
    """Events about a rollout's transitions; of several phases within one pass only the last is reported."""
    if after is None or (before is None and after.phase in TERMINAL):
        return []  # no rollout; or an adopted one, whose version served before
    events = []

    def changed(*fields: str) -> bool:
        return before is None or any(getattr(before, name) != getattr(after, name) for name in fields)

    if after.attempt != (before.attempt if before else 0):
        purpose = f"is to replace {after.stable}" if after.stable else "is to be the first to serve"
        message = f"{after.canary} {purpose} (attempt {after.attempt})"
        events.append(EventRecord("Normal", "RolloutStarted", message))
    if after.phase in _REASONS and changed("phase", "attempt", "cause"):
        is_warning = after.phase in _WARNINGS and after.cause not in _INTENDED
        advice = ""
        if is_warning and after.phase is Phase.PAUSED:
            commands = f"matte rollout promote {model} or retry {model}, or go back with matte rollout abort {model}"
            advice = f". Go on with {commands}"
        elif is_warning and after.phase in TERMINAL:
            advice = f". Give spec.version another value, or try it again with matte rollout retry {model}"
        resumed = after.phase is Phase.STEPPING and before is not None and before.phase is Phase.PAUSED
        reason = "RolloutResumed" if resumed else _REASONS[after.phase]
        events.append(EventRecord("Warning" if is_warning else "Normal", reason, describe(after) + advice))
    if after.phase is Phase.STEPPING and after.step_started_at and changed("attempt", "step", "step_started_at"):
        message = f"{after.canary} has {after.weight} % of the traffic (step {after.step + 1}); it is watched"
        events.append(EventRecord("Normal", "StepReached", message))
    return events


def _is_reported(before: Condition | None, condition: Condition, *, rollout: bool) -> bool:
    if condition.type == "Serving" or condition.reason in _REPORTED_BY_POOL:
        return False
    if rollout and condition.type in {PROGRESSING, STALLED}:  # rollout_events reports them
        return False
    if before is None:
        return condition.reason not in _EXPECTED_FIRST and (condition.type, condition.reason) != ("Ready", "Starting")
    if (before.status, before.reason) != (condition.status, condition.reason):
        return True
    if before.message == condition.message:
        return False
    return (condition.reason == "Serving" and not rollout) or event_type(condition) == "Warning"
