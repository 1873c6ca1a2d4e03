"""What inference reads from the environment (``MATTE_…``)."""

from __future__ import annotations

from pathlib import Path

from matte_jobs.settings import StoreSettings
from pydantic import Field


class InferenceSettings(StoreSettings):
    """The store's settings and inference's own. Durations are seconds."""

    config: Path | None = Field(None, description="YAML file with models and versions; none: the built-in ones")
    model_version: str = Field(
        "", description="what is loaded at start, such as grabcut@2.0.0,unet@2.0.0; '': everything in the config"
    )
    lease_seconds: float = Field(15.0, gt=0, description="a router that is silent this long loses its jobs")
    max_run_seconds: float = Field(
        600.0, gt=0, description="a replica that holds a job this long has lost it: the job is tried again"
    )
    announce_seconds: float = Field(5.0, gt=0, description="how often a replica says that it lives")
    max_pixels: int = Field(50_000_000, description="width × height of a picture")
    max_bytes: int = Field(30_000_000, description="bytes of a picture")
