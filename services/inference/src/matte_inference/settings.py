"""What inference reads from the environment (``MATTE_…``)."""

from __future__ import annotations

import os
from pathlib import Path

from matte_core.contracts.catalog import PoolName
from matte_jobs.settings import StoreSettings
from pydantic import Field


class InferenceSettings(StoreSettings):
    """The store's settings and inference's own. Durations are seconds."""

    config: Path | None = Field(None, description="YAML file with models and versions; none: the built-in ones")
    model_version: str = Field(
        "", description="what is loaded at start, such as grabcut@2.0.0,unet@2.0.0; '': everything in the config"
    )
    pool: PoolName = Field("default", description="whose router and replicas these are")
    ray_storage: str = Field(
        "", pattern=r"^[a-z0-9-]*$", description="Ray cluster whose state in this Redis is kept; '': none is there"
    )
    lease_seconds: float = Field(15.0, gt=0, description="a router that is silent this long loses its jobs")
    max_run_seconds: float = Field(
        600.0, gt=0, description="a replica that holds a job this long has lost it: the job is tried again"
    )
    announce_seconds: float = Field(5.0, gt=0, description="how often a replica says that it lives")
    ray_metrics_port: int = Field(
        0, ge=0, le=65535, description="port of Ray's metrics where Ray is started here; 0: one that Ray chooses"
    )
    instance: str = Field(
        "",
        pattern=r"^[a-z0-9]*$",
        description="names what one matte serve runs, for its next start to know what died; '': not of one",
    )
    replica_max_memory_bytes: int = Field(
        0,
        ge=0,
        description="a replica above it finishes what it runs and is replaced; 0: a share of this machine where Ray is"
        " started here, else none (a pod has its limit)",
    )
    log_level: str = Field("INFO", description="DEBUG, INFO, WARNING or ERROR")
    max_pixels: int = Field(50_000_000, description="width × height of a picture")
    max_bytes: int = Field(30_000_000, description="bytes of a picture")


def keep_to_ourselves() -> None:
    """Else Gradio's client reports the addresses it calls to its makers."""
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"


def hand_down(**variables: str) -> None:
    """Sets variables for what this process starts from here on."""
    os.environ.update(variables)


def runtime_folder() -> Path | None:
    """The user's own folder for sockets, where the system gives one."""
    found = os.environ.get("XDG_RUNTIME_DIR", "")
    return Path(found) if found and Path(found).is_dir() else None
