"""What a rollout is judged by. The operator, a Pool's routers and the versions' replicas exchange it through Redis.

Times are Unix seconds. A version is named within its model; ``attempt`` tells one try to roll it out from the next.
"""

from __future__ import annotations

from enum import StrEnum

from pydantic import Field

from matte_core.contracts.base import Contract
from matte_core.contracts.catalog import Digest, ModelName, Version


class CheckState(StrEnum):
    RUNNING = "running"
    PASSED = "passed"
    FAILED = "failed"


class CheckOrder(Contract):
    """The operator asks a Pool's router to download and verify a version's folder."""

    model: ModelName
    version: Version
    attempt: int = Field(ge=0)
    source: str | None = Field(None, description="None: the family has no weights; only the license is checked")
    digest: Digest | None = Field(None, description="expected digest; None: any")
    license: str | None = Field(None, description="the Model's, used if the folder names none")
    allowed_licenses: tuple[str, ...] = Field((), description="empty: all")
    public_keys: tuple[str, ...] = Field(
        (), description="PEM; one must have signed the folder; empty: unsigned is fine"
    )


class CheckReport(Contract):
    """The router's answer to a :class:`CheckOrder`."""

    attempt: int = Field(ge=0)
    state: CheckState
    at: float
    digest: Digest | None = None
    license: str | None = None
    done: int = Field(0, ge=0, description="bytes downloaded")
    total: int = Field(0, ge=0, description="bytes in total")
    reason: str = Field("", description="of the failure, in CamelCase")
    message: str = ""


class Agreement(Contract):
    """How alike two masks of one picture are. Identical masks have IoU 1, boundary IoU 1 and alpha difference 0."""

    iou: float
    boundary: float
    alpha_difference: float


class GoldenResult(Contract):
    """A version's result on a golden image. ``agreements``: with the masks of other versions, by version."""

    name: str
    error: str = ""
    bad_mask: str = Field("", description="'empty mask' or 'full mask'")
    agreements: dict[str, Agreement] = {}


class StartReport(Contract):
    """A replica has loaded, warmed up and answered the golden images."""

    replica: str
    at: float
    digest: str
    golden: tuple[GoldenResult, ...]


class AnswerSample(Contract):
    """One answer of a version to an unpinned job, or one attempt that failed through the version's fault."""

    at: float
    error: bool = False
    bad_mask: bool = Field(default=False, description="empty or full")
    no_subject: bool = Field(default=False, description="it has no subject: an empty mask")
    uncertainty: float | None = Field(None, ge=0, le=1, description="expected error; None: failed, or not recorded")
    seconds: float = Field(description="from the version taking the job to its answer")


class MirroredPair(Contract):
    """How a new version's mask of a mirrored job agrees with the stable version's."""

    at: float
    job: str
    agreement: Agreement
    uncertainty: float | None = Field(None, ge=0, le=1, description="of the new version's mask; None: not recorded")
    stable_uncertainty: float | None = Field(None, ge=0, le=1, description="of stable's")


class MaskComparison(Contract):
    """A mirrored job or golden image whose masks differ, as base64 pictures for the rollout's report."""

    at: float
    name: str
    stable: str = Field(description="version")
    agreement: Agreement
    picture: str = Field(description="JPEG")
    stable_mask: str = Field(description="PNG")
    canary_mask: str = Field(description="PNG")
    difference: str = Field(description="PNG")


class AppliedWeights(Contract):
    """The weights that a router uses now: percent by version, by model."""

    expires_at: float = Field(description="the router is gone if it has not reported again by then")
    weights: dict[str, dict[str, int]]
