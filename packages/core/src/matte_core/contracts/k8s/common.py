"""What the resources share: their base, quantities, conditions."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, ConfigDict, Field, GetJsonSchemaHandler, WithJsonSchema
from pydantic.alias_generators import to_camel
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from matte_core.contracts.base import Contract
from matte_core.contracts.k8s import API_VERSION
from matte_core.contracts.k8s.rules import KEYWORD, CELRule

#: the longest name of a Pool or a Model: a version and a hash fit behind it within a DNS label
NAME_MAX = 40
_NUMBER = r"(0|[1-9][0-9]*)"
_IDENTIFIER = r"(0|[1-9][0-9]*|[0-9]*[a-zA-Z-][0-9a-zA-Z-]*)"
#: SemVer 2.0.0, in the regular expressions of Kubernetes (RE2)
SEMVER = (
    rf"^{_NUMBER}\.{_NUMBER}\.{_NUMBER}"
    rf"(-{_IDENTIFIER}(\.{_IDENTIFIER})*)?"
    r"(\+[0-9a-zA-Z-]+(\.[0-9a-zA-Z-]+)*)?$"
)
QUANTITY = r"^[0-9]+(\.[0-9]+)?(m|k|Ki|M|Mi|G|Gi|T|Ti)?$"
#: RFC 1123 label
LABEL = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"

SemVer = Annotated[
    str,
    Field(
        pattern=SEMVER,
        max_length=64,
        json_schema_extra={
            # the pattern again: with words for people
            KEYWORD: [
                CELRule(f"self.matches(r'{SEMVER}')", "must be a SemVer version, such as 1.4.2 or 2.0.0-rc.1").schema()
            ]
        },
    ),
]


#: Kubernetes resource quantity: text, or a whole number
Quantity = Annotated[
    str,
    BeforeValidator(lambda value: str(value) if type(value) is int else value),  # cpu: 2
    Field(pattern=QUANTITY, max_length=32),
    WithJsonSchema(
        {
            "anyOf": [{"type": "integer"}, {"type": "string"}],
            "maxLength": 32,
            "minimum": 0,
            "pattern": QUANTITY,
            "x-kubernetes-int-or-string": True,
        }
    ),
]
#: of a Pool or a Model
NAME_RULE = CELRule(
    f"size(self.metadata.name) <= {NAME_MAX} && !self.metadata.name.contains('.')",
    f"metadata.name must have at most {NAME_MAX} characters and no dots: other objects are named after it",
)
Name = Annotated[str, Field(pattern=LABEL, max_length=NAME_MAX)]
#: RFC 3339, as metav1.Time
Time = Annotated[str, Field(json_schema_extra={"format": "date-time"})]
#: labels that a node must have
NodeSelector = Annotated[dict[str, str], Field(json_schema_extra={"x-kubernetes-map-type": "atomic"})]


def list_map(key: str) -> dict[str, Any]:
    """Schema keywords of a list whose entries ``key`` tells apart: two writers can each own some."""
    return {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": [key]}


class KubeContract(Contract):
    """Closed, immutable, and in camelCase on the wire.

    A class lists in ``cel`` what the API server checks in its place; subclasses have it too.
    """

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, serialize_by_alias=True)
    cel: ClassVar[tuple[CELRule, ...]] = ()

    @classmethod
    def __get_pydantic_json_schema__(cls, core_schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        schema = handler(core_schema)
        rules = [rule.schema() for base in reversed(cls.__mro__) for rule in vars(base).get("cel", ())]
        if rules:
            handler.resolve_ref_schema(schema)[KEYWORD] = rules
        return schema


class Resource(KubeContract):
    """An object of the API."""

    api_version: str = Field(pattern=f"^{API_VERSION}$")
    kind: str
    metadata: dict[str, Any] = Field(json_schema_extra={"x-kubernetes-preserve-unknown-fields": True})


class ConditionStatus(StrEnum):
    """The three values of a condition."""

    TRUE = "True"
    FALSE = "False"
    UNKNOWN = "Unknown"


class Condition(KubeContract):
    """A condition, as metav1.Condition."""

    type: str = Field(max_length=316, description="Type of the condition, in CamelCase")
    status: ConditionStatus
    reason: str = Field(
        pattern=r"^[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?$",
        max_length=1024,
        description="Machine-readable reason for the last transition, in CamelCase",
    )
    message: str = Field("", max_length=32768, description="Human-readable details of the last transition")
    observed_generation: int = Field(0, ge=0, description="metadata.generation that the condition was set for")
    last_transition_time: Time = Field(description="Time when status last changed")


Conditions = Annotated[tuple[Condition, ...], Field(max_length=16, json_schema_extra=list_map("type"))]


def format_time(now: datetime) -> str:
    """RFC 3339 in whole seconds, as Kubernetes writes it; ``now`` is in UTC."""
    return now.strftime("%Y-%m-%dT%H:%M:%SZ")


class Toleration(KubeContract):
    """A toleration, as core/v1 Toleration."""

    key: str | None = Field(
        None, max_length=317, description="Key of the taint; unset, with operator Exists: all taints"
    )
    operator: Literal["Exists", "Equal"] | None = Field(None, description="Exists or Equal; unset: Equal")
    value: str | None = Field(None, max_length=63, description="Value of the taint, for operator Equal")
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] | None = Field(
        None, description="Effect of the taint; unset: all effects"
    )
    toleration_seconds: int | None = Field(
        None, description="Seconds to tolerate the taint, for effect NoExecute; unset: forever"
    )


class ComputeResources(KubeContract):
    """Resource requests and limits of a pod."""

    cel: ClassVar[tuple[CELRule, ...]] = tuple(
        CELRule(
            f"!has(self.{name}Limit)"
            f" || quantity(string(self.{name}Limit)).compareTo(quantity(string(self.{name}))) >= 0",
            f"{name}Limit must be at least {name}",
            field_path=f".{name}Limit",
        )
        for name in ("cpu", "memory")
    )

    cpu: Quantity = Field("1", description="CPU request")
    memory: Quantity = Field("2Gi", description="Memory request")
    cpu_limit: Quantity | None = Field(None, description="CPU limit; unset: equal to cpu")
    memory_limit: Quantity | None = Field(None, description="Memory limit; unset: equal to memory")
