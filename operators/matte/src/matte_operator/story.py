"""What is told as Events: a change once, in words that a person can act on."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from matte_core.contracts.k8s.common import Condition, ConditionStatus
from matte_core.contracts.k8s.rollout import Cause, Phase, RolloutStatus
from matte_core.domain.phases import INTENDED, TERMINAL

from matte_operator.domain.conditions import news
from matte_operator.domain.rollout.of_model import PROGRESSING, STALLED, text_of

#: reasons of conditions that are False without anything being wrong
_CALM = frozenset({"Starting", "Complete", "Removing", "Verifying", "NotStalled"})
#: what the Pool has told already
_TOLD_ELSEWHERE = frozenset({"PoolNotReady"})
#: no news where it is the first word
_EXPECTED = frozenset({"Scheduled", "Complete"})
#: somebody asked for it
_CHOSEN = INTENDED | {Cause.PAUSED}
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
class News:
    """An Event. ``type``: Normal or Warning; ``reason`` in CamelCase."""

    type: str
    reason: str
    message: str


def events(old: Iterable[Condition], new: Iterable[Condition], *, rollout: bool = False) -> list[Condition]:
    """The conditions that are worth an Event: good news once, bad news whenever it reads differently, nothing twice.

    With a ``rollout``, :func:`rollout_news` tells how far it is.
    """
    before = {condition.type: condition for condition in old}
    told = {
        condition.message: condition
        for condition in reversed(news(before.values(), new))
        if _worth_telling(before.get(condition.type), condition, rollout=rollout)
    }
    return list(reversed(told.values()))


def event_type(condition: Condition) -> str:
    """Normal or Warning."""
    good = ConditionStatus.FALSE if condition.type == STALLED else ConditionStatus.TRUE
    return "Normal" if condition.status is good or condition.reason in _CALM else "Warning"


def rollout_news(model: str, before: RolloutStatus | None, after: RolloutStatus | None) -> list[News]:
    """What a rollout's move is worth; of several phases within one pass only the last is told."""
    if after is None or (before is None and after.phase in TERMINAL):
        return []  # no rollout; or one that was adopted: it served before
    found = []
    if after.attempt != (before.attempt if before else 0):
        found.append(_started(after))
    if _phase_news(before, after):
        found.append(_phase(model, before, after))
    if after.phase is Phase.STEPPING and after.step_started_at and _step(before) != _step(after):
        text = f"{after.canary} has {after.weight} % of the traffic (step {after.step + 1}); it is watched"
        found.append(News("Normal", "StepReached", text))
    return found


def _started(status: RolloutStatus) -> News:
    place = f"is to replace {status.stable}" if status.stable else "is to be the first to serve"
    return News("Normal", "RolloutStarted", f"{status.canary} {place} (attempt {status.attempt})")


def _phase_news(before: RolloutStatus | None, after: RolloutStatus) -> bool:
    moved = before is None or (before.phase, before.attempt) != (after.phase, after.attempt)
    held_otherwise = before is not None and before.cause is not after.cause
    return after.phase in _REASONS and (moved or held_otherwise)


def _phase(model: str, before: RolloutStatus | None, after: RolloutStatus) -> News:
    resumed = after.phase is Phase.STEPPING and before is not None and before.phase is Phase.PAUSED
    warns = after.phase in _WARNINGS and after.cause not in _CHOSEN
    text = f"{text_of(after)}{_advice(model, after) if warns else ''}"
    return News("Warning" if warns else "Normal", "RolloutResumed" if resumed else _REASONS[after.phase], text)


def _advice(model: str, status: RolloutStatus) -> str:
    if status.phase is Phase.PAUSED:
        return (
            f". Go on with matte rollout promote {model} or retry {model}, or go back with matte rollout abort {model}"
        )
    if status.phase in TERMINAL:
        return f". Give spec.version another value, or try it again with matte rollout retry {model}"
    return ""


def _step(status: RolloutStatus | None) -> tuple[int, int, str] | None:
    if status is None or status.step_started_at is None:
        return None
    return status.attempt, status.step, status.step_started_at


def _worth_telling(before: Condition | None, condition: Condition, *, rollout: bool) -> bool:
    if condition.type == "Serving" or condition.reason in _TOLD_ELSEWHERE:
        return False
    if rollout and condition.type in {PROGRESSING, STALLED}:
        return False
    if before is None and (
        condition.reason in _EXPECTED or (condition.type, condition.reason) == ("Ready", "Starting")
    ):
        return False
    again = before is not None and (before.status, before.reason) == (condition.status, condition.reason)
    return not again or (condition.reason == "Serving" and not rollout) or event_type(condition) == "Warning"
