"""Conditions by the Kubernetes API conventions."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from matte_core.contracts.k8s.common import Condition, ConditionStatus, format_time

#: longer messages are cut: an Event carries 1024 bytes
MESSAGE_MAX = 800


@dataclass(frozen=True, slots=True)
class ConditionUpdate:
    """A condition as it is now, without its history."""

    type: str
    status: ConditionStatus
    reason: str
    message: str

    @classmethod
    def true(cls, type_: str, reason: str, message: str) -> ConditionUpdate:
        return cls(type_, ConditionStatus.TRUE, reason, message)

    @classmethod
    def false(cls, type_: str, reason: str, message: str) -> ConditionUpdate:
        return cls(type_, ConditionStatus.FALSE, reason, message)

    @property
    def is_true(self) -> bool:
        return self.status is ConditionStatus.TRUE


def find(conditions: Iterable[Condition], type_: str) -> Condition | None:
    return next((condition for condition in conditions if condition.type == type_), None)


def is_true(conditions: Iterable[Condition], type_: str) -> bool:
    return any(condition.type == type_ and condition.status is ConditionStatus.TRUE for condition in conditions)


def merge_conditions(
    old: Iterable[Condition], updates: Iterable[ConditionUpdate], *, generation: int, now: datetime
) -> tuple[Condition, ...]:
    """The updates as conditions; ``lastTransitionTime`` changes only with the status."""
    old_by_type = {condition.type: condition for condition in old}
    merged = []
    for update in updates:
        before = old_by_type.get(update.type)
        unchanged = before is not None and before.status is update.status
        merged.append(
            Condition(
                type=update.type,
                status=update.status,
                reason=update.reason,
                message=update.message[:MESSAGE_MAX],
                observed_generation=generation,
                last_transition_time=before.last_transition_time if before and unchanged else format_time(now),
            )
        )
    return tuple(merged)
