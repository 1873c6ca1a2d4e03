"""The settings of inference, from environment variables ``MATTE_…``."""

from __future__ import annotations

import os
from pathlib import Path

from matte_core.contracts.catalog import PoolName
from matte_jobs.settings import StoreSettings
from pydantic import Field


class InferenceSettings(StoreSettings):
    config: Path | None = Field(
        None, description="YAML file with models, versions and traffic weights; unset: the built-in models"
    )
    model_version: str = Field(
        "",
        description="Versions to load at start, such as isnet@1.0.0,grabcut@2.0.0; '' loads everything in the config",
    )
    pool: PoolName = Field("default", description="Name of the Pool that the router and the replicas belong to")
    ray_storage: str = Field(
        "",
        pattern=r"^[a-z0-9-]*$",
        description="Name of the Ray cluster whose state is kept in this Redis; '' for none",
    )
    lease_seconds: float = Field(
        15.0, gt=0, description="Seconds without renewal after which a router's leases expire and its jobs are requeued"
    )
    max_run_seconds: float = Field(
        600.0, gt=0, description="Maximum seconds a job may run on a replica before it is retried"
    )
    announce_seconds: float = Field(5.0, gt=0, description="Seconds between heartbeats of a replica")
    ray_metrics_port: int = Field(
        0, ge=0, le=65535, description="Port of Ray's metrics, if this process starts Ray; 0 lets Ray choose"
    )
    instance: str = Field(
        "",
        pattern=r"^[a-z0-9]*$",
        description="Identifier of the `matte serve` that started this process, so that its next start can recover the "
        "jobs; '' for none",
    )
    replica_max_memory_bytes: int = Field(
        0,
        ge=0,
        description="Memory in bytes above which a replica finishes its jobs and is replaced. 0: a share of this "
        "machine's memory if Ray is started here, else no limit (the pod has its own)",
    )
    log_level: str = Field("INFO", description="Log level: DEBUG, INFO, WARNING or ERROR")
    max_pixels: int = Field(50_000_000, description="Maximum pixels of a picture (width × height)")
    max_bytes: int = Field(30_000_000, description="Maximum size of a picture in bytes")


def disable_gradio_analytics() -> None:
    """Stops Gradio's client from reporting the addresses that it calls."""
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"


def set_environment(**variables: str) -> None:
    """For the processes that this one starts from here on."""
    os.environ.update(variables)


def runtime_folder() -> Path | None:
    """``XDG_RUNTIME_DIR``: the user's own folder for sockets, if there is one."""
    folder = os.environ.get("XDG_RUNTIME_DIR", "")
    return Path(folder) if folder and Path(folder).is_dir() else None
