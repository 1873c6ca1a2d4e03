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
        "redis://127.0.0.1:6379/0", description="redis://, rediss:// or unix:// address of the store"
    )
    redis_prefix: str = Field("matte:", description="every key begins with it")
    redis_max_connections: int = Field(64, ge=2, description="connections one process opens at most")
    blob_url: str = Field("", description="object store for large blobs: s3://bucket/prefix, file:///folder; '': none")
    blob_inline_max_bytes: int = Field(8_000_000, description="larger blobs go to the object store, if there is one")
    durability: Durability = Field(
        "second", description="what a power failure may take: second: the last second or so; fsync: nothing, and slower"
    )
    result_ttl_seconds: int = Field(3600, ge=1, description="a finished job and its result are kept this long")
    delivered_ttl_seconds: int = Field(
        30, ge=1, description="a result that its waiting caller got is kept this long, unless it has an idempotency key"
    )
    dead_ttl_seconds: int = Field(7 * 86400, ge=1, description="a dead job and its input are kept this long")
    idempotency_ttl_seconds: int = Field(86400, ge=1, description="an Idempotency-Key is remembered this long")
    max_queue_length: int = Field(200_000, ge=1, description="jobs queued per model; more are refused with 429")
