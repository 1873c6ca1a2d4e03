"""Settings of the ``matte`` command from the environment (``MATTE_…``)."""

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

    url: str = Field("http://127.0.0.1:7860", description="Server that `matte cut`, `jobs` and `models` talk to")
    host: str = Field("127.0.0.1", description="Address to listen on")
    port: int = Field(7860, ge=1, le=65535, description="Port of the first frontend; further ones count up from it")
    data_dir: Path = Field(Path(".matte"), description="Folder where `matte serve` keeps jobs and logs")
    config: Path | None = Field(
        None, description="YAML file with models, versions and traffic weights; unset: the built-in models"
    )
    redis_url: str | None = Field(None, description="Redis that `matte serve` uses instead of starting its own")
    durability: Durability = Field("second", description=StoreSettings.model_fields["durability"].description)
    pool: str = Field("default", description="Name of the Pool that the router and the replicas belong to")
    stop_seconds: float = Field(
        30.0, gt=0, description="Seconds that `matte serve` waits for a process to stop before killing it"
    )


def child_environment(defaults: Mapping[str, str], own: Mapping[str, str]) -> dict[str, str]:
    """Of a process that ``matte serve`` starts: ``defaults`` yield to this process's environment, ``own`` do not."""
    return {**defaults, **os.environ, "PYTHONUNBUFFERED": "1", **own}
