"""What every program that opens the job store reads from the environment (``MATTE_…``)."""

from __future__ import annotations

from typing import Literal

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

#: when what was accepted is on the disk: before it is answered, or within about a second
Durability = Literal["fsync", "second"]


class StoreSettings(BaseSettings):
    """Where jobs and blobs live, and for how long. Durations are seconds, sizes bytes."""

    model_config = SettingsConfigDict(env_prefix="MATTE_", extra="ignore")

    redis_url: str = Field(
        "redis://127.0.0.1:6379/0", description="Address of the job store: redis://, rediss:// or unix://"
    )
    redis_prefix: str = Field("matte:", description="Prefix of all keys in Redis")
    redis_max_connections: int = Field(64, ge=2, description="Maximum connections to Redis per process")
    blob_url: str = Field(
        "",
        description="Object store for large blobs: s3://BUCKET/PREFIX or file:///FOLDER; '' keeps all blobs in Redis",
    )
    blob_inline_max_bytes: int = Field(
        8_000_000, description="Blobs above this size in bytes go to the object store, if one is set"
    )
    durability: Durability = Field(
        "second",
        description="What a power failure can lose. second: about the last second of writes; fsync: nothing, at lower "
        "throughput",
    )
    result_ttl_seconds: int = Field(3600, ge=1, description="Seconds to keep a finished job and its result")
    delivered_ttl_seconds: int = Field(
        30,
        ge=1,
        description="Seconds to keep a result after a synchronous caller received it, unless the job has an "
        "Idempotency-Key",
    )
    dead_ttl_seconds: int = Field(7 * 86400, ge=1, description="Seconds to keep a dead-lettered job and its input")
    idempotency_ttl_seconds: int = Field(86400, ge=1, description="Seconds to remember an Idempotency-Key")
    max_queue_length: int = Field(
        200_000, ge=1, description="Maximum queued jobs per model; further jobs are refused with 429"
    )
