"""Jobs: limits on the request, its owner, the result, and the events in between."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Literal

from pydantic import Field

from matte_core.contracts.base import Contract
from matte_core.contracts.options import Options


@dataclass(frozen=True, slots=True)
class Owner:
    """Who owns a job, an upload or a session. To everybody else, it does not exist.

    All anonymous callers are one owner: among them, knowing the unguessable id is what gives access.
    """

    tenant: str = "anonymous"
    user: str = ""

    @property
    def scope(self) -> str:
        """32 hexadecimal digits that stand for the owner; '' for the anonymous one."""
        return "" if self == ANONYMOUS else self.digest()

    def scoped(self, name: str) -> str:
        """``name`` made unique to this owner, as long as names have no colon."""
        return f"{self.scope}:{name}" if self.scope else name

    def digest(self, name: str = "") -> str:
        """32 hexadecimal digits, unique to the owner and the name."""
        parts = json.dumps([self.tenant, self.user, name])
        return hashlib.blake2b(parts.encode(), digest_size=16).hexdigest()


ANONYMOUS = Owner()


class Limits(Contract):
    """Limits on one request; the body of ``GET /v1/limits``."""

    max_bytes: int = Field(30_000_000, description="of one picture, and of all pictures of one request")
    max_pixels: int = Field(50_000_000, description="width × height")
    max_side: int = Field(30_000, description="pixels")
    formats: tuple[str, ...] = ("JPEG", "PNG", "WEBP", "HEIC", "AVIF", "BMP", "TIFF", "GIF")
    max_queue_length: int = Field(200_000, description="jobs per model; more are refused with 429")
    max_wait_seconds: float = Field(600.0, description="maximum wait of a synchronous call")
    job_ttl_seconds: float = Field(3600.0, description="a job that waited this long expires")
    result_ttl_seconds: float = Field(3600.0, description="how long a result is kept")


class JobState(StrEnum):
    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"  # would fail again
    DEAD = "dead"  # every attempt failed; can be requeued
    CANCELED = "canceled"
    EXPIRED = "expired"  # waited too long


TERMINAL = frozenset(set(JobState) - {JobState.QUEUED, JobState.RUNNING})


class BlobRef(Contract):
    """Bytes kept in Redis (``store="redis"``) or in the object store (``store="object"``)."""

    store: Literal["redis", "object"]
    key: str
    size: int = Field(ge=0, description="bytes")
    content_type: str

    @property
    def handle(self) -> str:
        """The key as jobs' records have it, with a prefix for the object store."""
        return self.key if self.store == "redis" else f"object:{self.key}"


class Picture(Contract):
    """A picture before it is decoded. Width and height are those after the EXIF orientation is applied."""

    format: str = Field(description="JPEG, PNG, WEBP, HEIC, …, found by content")
    width: int = Field(gt=0, description="pixels")
    height: int = Field(gt=0, description="pixels")
    orientation: int = Field(1, ge=1, le=8, description="EXIF orientation")

    @property
    def megapixels(self) -> float:
        return self.width * self.height / 1e6


class JobSpec(Contract):
    """Everything needed to finish the job in any process. Times are Unix seconds."""

    id: str = Field(pattern=r"^[A-Za-z0-9_-]{1,64}$")
    model: str
    version: str | None = Field(None, description="exact version to use; None: by the traffic split")
    tenant: str = ANONYMOUS.tenant
    user: str = Field(ANONYMOUS.user, description="user of the tenant; '': no particular one")
    priority: int = Field(5, ge=0, le=9, description="0 is served first")
    share: float = Field(1.0, gt=0, description="the tenant's weight in the fair share")
    route_key: str | None = Field(None, description="jobs with the same key go to the same version; None: random")
    options: Options = Options()
    image: BlobRef
    background: BlobRef | None = Field(None, description="picture to put behind the cut-out")
    picture: Picture
    created_at: float
    expires_at: float = Field(description="expires if still queued then")
    max_attempts: int = Field(3, ge=1)
    origin: str = Field("", description="pub/sub channel of the frontend that waits for the job")
    idempotency_key: str | None = None
    fingerprint: str = Field("", description="digest of the request, to detect reuse of an idempotency key")
    preview: bool = Field(default=False, description="emit a small preview as an event")
    traceparent: str | None = None

    @property
    def owner(self) -> Owner:
        return Owner(self.tenant, self.user)

    @property
    def cost(self) -> float:
        """Cost in fair queuing: megapixels, at least 0.1."""
        return max(0.1, self.picture.megapixels)


class Timings(Contract):
    """Seconds per stage."""

    queued: float = 0.0
    fetch: float = 0.0
    decode: float = 0.0
    forward: float = 0.0
    encode: float = 0.0
    total: float = Field(0.0, description="from fetch to encode")
    cpu: float = Field(0.0, description="CPU seconds of decode, forward and encode on the host")


Foreground = Literal["found", "none"]
#: uncertainty from which people are told to look at the edges
HIGH_UNCERTAINTY = 0.2


class Result(Contract):
    """The result of a succeeded job; ``files`` has ``result``, and ``mask`` for output=both."""

    model: str
    version: str
    digest: str
    width: int
    height: int
    foreground: Foreground = Field("found", description="none: less than 0.1 % of the picture is a subject")
    uncertainty: float | None = Field(
        None,
        ge=0,
        le=1,
        description="the share of the subject that the mask is expected to get wrong; None: there was no mask to judge",
    )
    files: dict[str, BlobRef]
    timings: Timings = Timings()


class ResultView(Result):
    """A result in the API's answers."""

    arm: str = Field(description="the same as version")


EventType = Literal["queued", "position", "started", "progress", "preview", "retrying", "finished"]


class Event(Contract):
    """An event of a job; ``id`` (a Redis stream id) orders them."""

    id: str
    type: EventType
    at: float = Field(description="Unix seconds")
    data: dict[str, Any] = {}


class JobView(Contract):
    """The body of ``GET /v1/jobs/{id}``."""

    id: str
    state: JobState
    position: int | None = Field(None, description="number of jobs ahead; None once it left the queue")
    queue_length: int = Field(0, description="jobs queued for the model")
    eta_seconds: float | None = Field(None, description="seconds until it is done; None: not measured yet")
    attempts: int = 0
    model: str
    version: str | None = None
    created_at: float
    started_at: float | None = None
    finished_at: float | None = None
    result: ResultView | None = None
    error: dict[str, Any] | None = Field(None, description="an RFC 9457 document")
    links: dict[str, str] = {}
