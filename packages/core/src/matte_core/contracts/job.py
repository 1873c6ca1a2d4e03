"""The job: what is asked, what became of it, and the events on the way."""

from __future__ import annotations

from enum import StrEnum
from typing import Any, Literal

from pydantic import Field

from matte_core.contracts.base import Contract
from matte_core.contracts.options import Options
from matte_core.contracts.owner import ANONYMOUS, Owner


class JobState(StrEnum):
    """Where a job is."""

    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"  # the job's own fault: it would fail again
    DEAD = "dead"  # every attempt was lost; can be requeued
    CANCELED = "canceled"
    EXPIRED = "expired"  # waited longer than it may


TERMINAL = frozenset(set(JobState) - {JobState.QUEUED, JobState.RUNNING})


class BlobRef(Contract):
    """Bytes kept in Redis (``store="redis"``) or in the object store (``store="object"``)."""

    store: Literal["redis", "object"]
    key: str
    size: int = Field(ge=0, description="bytes")
    content_type: str

    @property
    def handle(self) -> str:
        """What names it in a job's record: the key, marked where it is the object store's."""
        return self.key if self.store == "redis" else f"object:{self.key}"


class Picture(Contract):
    """What is known of a picture before it is decoded. Width and height are as seen, orientation applied."""

    format: str = Field(description="JPEG, PNG, WEBP, HEIC, …, as sniffed from the bytes")
    width: int = Field(gt=0, description="pixels")
    height: int = Field(gt=0, description="pixels")
    orientation: int = Field(1, ge=1, le=8, description="EXIF orientation")

    @property
    def megapixels(self) -> float:
        """Pixels / 10⁶."""
        return self.width * self.height / 1e6


class JobSpec(Contract):
    """Everything needed to finish the job in any process. Times are Unix seconds."""

    id: str = Field(pattern=r"^[A-Za-z0-9_-]{1,64}$")
    model: str
    version: str | None = Field(None, description="an exact version that was asked for; None: by the split")
    tenant: str = ANONYMOUS.tenant
    user: str = Field(ANONYMOUS.user, description="of the tenant; '': nobody in particular")
    priority: int = Field(5, ge=0, le=9, description="0 is served first")
    share: float = Field(1.0, gt=0, description="the tenant's weight in the fair share")
    route_key: str | None = Field(None, description="who sticks to an arm; None: a draw per job")
    options: Options = Options()
    image: BlobRef
    background: BlobRef | None = Field(None, description="a picture put behind the cut-out")
    picture: Picture
    created_at: float
    expires_at: float = Field(description="still queued then: expired")
    max_attempts: int = Field(3, ge=1)
    origin: str = Field("", description="channel of the frontend that waits for the end")
    idempotency_key: str | None = None
    fingerprint: str = Field("", description="digest of the request, for idempotency")
    preview: bool = Field(default=False, description="send a small preview as an event")
    traceparent: str | None = None

    @property
    def owner(self) -> Owner:
        """Whose job it is."""
        return Owner(self.tenant, self.user)

    @property
    def cost(self) -> float:
        """What the job counts in the fair share: megapixels, at least 0.1."""
        return max(0.1, self.picture.megapixels)


class Timings(Contract):
    """Seconds spent in each stage."""

    queued: float = 0.0
    fetch: float = 0.0
    decode: float = 0.0
    forward: float = 0.0
    encode: float = 0.0
    total: float = Field(0.0, description="in the replica, from fetch to encode")
    cpu: float = Field(0.0, description="of the host's CPU that decode, forward and encode took")


class Result(Contract):
    """What a succeeded job has; ``files`` names its blobs (``result``, and ``mask`` for output=both)."""

    model: str
    version: str
    digest: str
    width: int
    height: int
    subject_found: bool = Field(default=True, description="false: the model saw nothing to cut out; alpha is empty")
    files: dict[str, BlobRef]
    timings: Timings = Timings()


class ResultView(Result):
    """A result as its owner sees it."""

    arm: str = Field(description="the same as version")


EventType = Literal["queued", "position", "started", "progress", "preview", "retrying", "finished"]


class Event(Contract):
    """One thing that happened to a job. ``id`` orders the events of a job (a Redis stream id)."""

    id: str
    type: EventType
    at: float = Field(description="Unix seconds")
    data: dict[str, Any] = {}


class JobView(Contract):
    """A job as its owner sees it; the body of ``GET /v1/jobs/{id}``."""

    id: str
    state: JobState
    position: int | None = Field(None, description="jobs ahead of it; None once it left the queue")
    queue_length: int = Field(0, description="jobs queued for the model")
    eta_seconds: float | None = Field(None, description="until it is done; None: not measured yet")
    attempts: int = 0
    model: str
    version: str | None = None
    created_at: float
    started_at: float | None = None
    finished_at: float | None = None
    result: ResultView | None = None
    error: dict[str, Any] | None = Field(None, description="an RFC 9457 document")
    links: dict[str, str] = {}
