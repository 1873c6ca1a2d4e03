"""What the resources share: their base, quantities, conditions."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import ConfigDict, Field
from pydantic.alias_generators import to_camel

from matte_core.contracts.base import Contract

#: SemVer 2.0.0, in the regular expressions of Kubernetes (RE2)
SEMVER = (
    r"^(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)"
    r"(-((0|[1-9]\d*|\d*[a-zA-Z-][0-9a-zA-Z-]*)(\.(0|[1-9]\d*|\d*[a-zA-Z-][0-9a-zA-Z-]*))*))?"
    r"(\+[0-9a-zA-Z-]+(\.[0-9a-zA-Z-]+)*)?$"
)
SemVer = Annotated[str, Field(pattern=SEMVER, max_length=64)]
#: Kubernetes resource quantity
Quantity = Annotated[str, Field(pattern=r"^[0-9]+(\.[0-9]+)?(m|k|Ki|M|Mi|G|Gi|T|Ti)?$", max_length=32)]
#: RFC 1123 label, short enough that a version and a hash fit behind it
Name = Annotated[str, Field(pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$", max_length=40)]
#: RFC 3339, as metav1.Time
Time = Annotated[str, Field(json_schema_extra={"format": "date-time"})]


class KubeContract(Contract):
    """Closed, immutable, and in camelCase on the wire."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, serialize_by_alias=True)


class ConditionStatus(StrEnum):
    """The three values of a condition."""

    TRUE = "True"
    FALSE = "False"
    UNKNOWN = "Unknown"


class Condition(KubeContract):
    """metav1.Condition."""

    type: str = Field(max_length=316)
    status: ConditionStatus
    reason: str = Field(pattern=r"^[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?$", max_length=1024)
    message: str = Field("", max_length=32768)
    observed_generation: int = Field(0, ge=0)
    last_transition_time: Time


class Toleration(KubeContract):
    """core/v1 Toleration."""

    key: str | None = None
    operator: Literal["Exists", "Equal"] | None = None
    value: str | None = None
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] | None = None
    toleration_seconds: int | None = None


class ComputeResources(KubeContract):
    """What a pod asks for (requests) and may take (limits)."""

    cpu: Quantity = Field("1", description="CPU cores requested")
    memory: Quantity = Field("2Gi", description="memory requested")
    cpu_limit: Quantity | None = Field(None, description="CPU cores it may take; none: as many as cpu")
    memory_limit: Quantity | None = Field(None, description="memory it may take; none: as much as memory")
