"""Rules that the API server checks itself: CEL expressions beside the contracts' own validators."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass

from pydantic.alias_generators import to_camel

#: the keyword of a schema that holds them
KEYWORD = "x-kubernetes-validations"


@dataclass(frozen=True)
class CELRule:
    """One of ``x-kubernetes-validations``. A rule that names ``oldSelf`` holds for updates only."""

    rule: str
    message: str
    #: CEL expression that makes a better message than the fixed one
    message_expression: str | None = None
    #: the field to blame, such as ``.spec``
    field_path: str | None = None

    def schema(self) -> dict[str, str]:
        return {to_camel(name): value for name, value in asdict(self).items() if value is not None}


def immutable(fields: Iterable[str], message: str, unless: str = "") -> tuple[CELRule, ...]:
    """One rule per field (as on the wire) that refuses its change, except where the CEL expression ``unless`` holds."""
    return tuple(
        CELRule(
            (f"{unless} || " if unless else "")
            # self.?field == oldSelf.?field would say it, but hides its size from the estimate of what the rule costs
            + f"(has(self.{field}) == has(oldSelf.{field}) && (!has(self.{field}) || self.{field} == oldSelf.{field}))",
            f"{field} {message}",
            field_path=f".{field}",
        )
        for field in fields
    )
