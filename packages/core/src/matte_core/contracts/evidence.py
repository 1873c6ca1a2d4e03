"""What a rollout is judged by, as it passes between the operator, a Pool's routers and the versions' replicas.

Times are Unix seconds. A version is named within its model; ``attempt`` tells one try to roll it out from the next.
"""

from __future__ import annotations

from enum import StrEnum

from pydantic import Field

from matte_core.contracts.base import Contract
from matte_core.contracts.catalog import Digest, ModelName, Version


class CheckState(StrEnum):
    """How far the check of a version's folder is."""

    RUNNING = "running"
    PASSED = "passed"
    FAILED = "failed"


class CheckOrder(Contract):
    """From the operator to a Pool's router: have this version's folder here, and check it."""

    model: ModelName
    version: Version
    attempt: int = Field(ge=0)
    source: str | None = Field(None, description="none: the family needs no weights, only the license is checked")
    digest: Digest | None = Field(None, description="pinned; none: any")
    license: str | None = Field(None, description="what the Model says, where the folder says nothing")
    allowed_licenses: tuple[str, ...] = Field((), description="none: every one")
    public_keys: tuple[str, ...] = Field((), description="PEM; one of them must have signed it; none: unsigned is fine")


class CheckReport(Contract):
    """What became of an order."""

    attempt: int = Field(ge=0)
    state: CheckState
    at: float
    digest: Digest | None = None
    license: str | None = None
    done: int = Field(0, ge=0, description="bytes that are here")
    total: int = Field(0, ge=0, description="bytes in all")
    reason: str = Field("", description="in CamelCase, where it failed")
    message: str = ""


class Agreement(Contract):
    """Two masks of one picture, side by side: 0 … 1; 1, 1 and 0 where they are the same."""

    iou: float
    boundary: float
    alpha_difference: float


class GoldenResult(Contract):
    """A version's answer to a golden image. ``agreements`` has the other versions that answered it, by version."""

    name: str
    error: str = ""
    bad_mask: str = Field("", description="'empty mask' or 'full mask'")
    agreements: dict[str, Agreement] = {}


class StartReport(Contract):
    """Told by a replica once it is loaded, warm, and has answered the golden images."""

    replica: str
    at: float
    digest: str
    golden: tuple[GoldenResult, ...]


class AnswerSample(Contract):
    """One unpinned answer of a version, or an attempt that the version's fault ended."""

    at: float
    error: bool = False
    bad_mask: bool = False
    seconds: float = Field(description="in the version's hands")


class MirroredPair(Contract):
    """A mirrored job: the new version's mask beside stable's."""

    at: float
    job: str
    agreement: Agreement


class MaskComparison(Contract):
    """A mirrored job or golden image whose masks differ, for people: encoded pictures in base64."""

    at: float
    name: str
    stable: str = Field(description="version")
    agreement: Agreement
    picture: str = Field(description="JPEG")
    stable_mask: str = Field(description="PNG")
    canary_mask: str = Field(description="PNG")
    difference: str = Field(description="PNG")


class AppliedWeights(Contract):
    """What a router uses now: per cent by version, by model."""

    expires_at: float = Field(description="silent until then: gone")
    weights: dict[str, dict[str, int]]
