"""What the ``matte`` command reads from the environment (``MATTE_…``)."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from matte_jobs.settings import Durability, StoreSettings
from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict


class CliSettings(BaseSettings):
    """Defaults of the command's options; an option that is given wins."""

    model_config = SettingsConfigDict(env_prefix="MATTE_", extra="ignore")

    url: str = Field("http://127.0.0.1:7860", description="the server that matte cut, jobs and models talk to")
    host: str = Field("127.0.0.1", description="address that a frontend listens on")
    port: int = Field(7860, ge=1, le=65535, description="port of a frontend; matte serve counts up from it")
    data_dir: Path = Field(Path(".matte"), description="where matte serve keeps jobs and logs")
    config: Path | None = Field(None, description="file that says which models inference loads, and their traffic")
    redis_url: str | None = Field(None, description="matte serve uses this Redis in place of one of its own")
    durability: Durability = Field("second", description=StoreSettings.model_fields["durability"].description)
    pool: str = Field("default", description="whose router and replicas these are")
    stop_seconds: float = Field(30.0, gt=0, description="matte serve ends a part that takes longer to stop")


def child_environment(extra: Mapping[str, str], defaults: Mapping[str, str]) -> dict[str, str]:
    """The environment of a process that ``matte serve`` starts: this one's over ``defaults``, ``extra`` over both."""
    return {**defaults, **os.environ, "PYTHONUNBUFFERED": "1", **extra}
