"""Conditions by the Kubernetes conventions: what is found now, and since when."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from matte_core.contracts.k8s.common import Condition, ConditionStatus, format_time

#: a message longer than this is cut: Events carry 1024 bytes
MESSAGE_MAX = 800


@dataclass(frozen=True, slots=True)
class Finding:
    """A condition as it is now, without its history."""

    type: str
    status: ConditionStatus
    reason: str
    message: str

    @classmethod
    def yes(cls, type_: str, reason: str, message: str) -> Finding:
        """It holds."""
        return cls(type_, ConditionStatus.TRUE, reason, message)

    @classmethod
    def no(cls, type_: str, reason: str, message: str) -> Finding:
        """It does not."""
        return cls(type_, ConditionStatus.FALSE, reason, message)

    @classmethod
    def unknown(cls, type_: str, reason: str, message: str) -> Finding:
        """Nobody can say now."""
        return cls(type_, ConditionStatus.UNKNOWN, reason, message)


def find(conditions: Iterable[Condition], type_: str) -> Condition | None:
    """The condition of a type, or None."""
    return next((condition for condition in conditions if condition.type == type_), None)


def is_true(conditions: Iterable[Condition], type_: str) -> bool:
    """Whether there is such a condition and it holds."""
    found = find(conditions, type_)
    return found is not None and found.status is ConditionStatus.TRUE


def since(condition: Condition) -> datetime:
    """When its status last changed."""
    return datetime.fromisoformat(condition.last_transition_time)


def settle(
    old: Iterable[Condition], findings: Iterable[Finding], *, generation: int, now: datetime
) -> tuple[Condition, ...]:
    """The findings as conditions; the time of transition is kept where the status is."""
    before = {condition.type: condition for condition in old}
    return tuple(_settled(before.get(finding.type), finding, generation, now) for finding in findings)


def news(old: Iterable[Condition], new: Iterable[Condition]) -> tuple[Condition, ...]:
    """The conditions that say something else than before: what an Event is worth."""
    before = {condition.type: (condition.status, condition.reason, condition.message) for condition in old}
    return tuple(c for c in new if before.get(c.type) != (c.status, c.reason, c.message))


def _settled(before: Condition | None, finding: Finding, generation: int, now: datetime) -> Condition:
    kept = before is not None and before.status is finding.status
    return Condition(
        type=finding.type,
        status=finding.status,
        reason=finding.reason,
        message=finding.message[:MESSAGE_MAX],
        observed_generation=generation,
        last_transition_time=before.last_transition_time if before and kept else format_time(now),
    )
