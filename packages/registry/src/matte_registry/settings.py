"""What the registry reads from the environment (``MATTE_…``).

Credentials of buckets are read by their own client from where their field keeps them: ``AWS_…`` and
``GOOGLE_…`` variables, web identity tokens, the metadata server. MLflow reads ``MLFLOW_TRACKING_TOKEN`` or
``…_USERNAME`` and ``…_PASSWORD``.
"""

from __future__ import annotations

import os
from pathlib import Path

from pydantic import AliasChoices, Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

_GB = 1_000_000_000


def user_cache() -> Path:
    """The user's own folder for what can be downloaded again, as the XDG Base Directory Specification names it."""
    base = Path(os.environ.get("XDG_CACHE_HOME", ""))
    return (base if base.is_absolute() else Path.home() / ".cache") / "matte"


class RegistrySettings(BaseSettings):
    """Sources, bounds and the node's cache. Sizes are bytes, durations seconds."""

    model_config = SettingsConfigDict(env_prefix="MATTE_", extra="ignore", populate_by_name=True)

    cache_dir: Path = Field(
        default_factory=user_cache,
        description="Cache folder for model versions, shared by the pods of a node; unset: `matte` in `XDG_CACHE_HOME`,"
        " else `~/.cache/matte`",
    )
    cache_max_bytes: int = Field(50 * _GB, ge=1, description="Maximum size of the cache in bytes")
    cache_partial_seconds: float = Field(
        86400.0, gt=0, description="Seconds to keep an incomplete download so that it can be resumed"
    )
    source_max_files: int = Field(200, ge=1, description="Maximum number of files in a model version")
    source_max_bytes: int = Field(20 * _GB, ge=1, description="Maximum size of a model version in bytes")
    download_parallel: int = Field(8, ge=1, le=64, description="Parts of model files to download in parallel")
    download_block_bytes: int = Field(8 << 20, ge=1024, le=1 << 30, description="Size of one part in bytes")
    download_attempts: int = Field(5, ge=1, le=20, description="Attempts per part")
    download_timeout_seconds: float = Field(
        60.0, gt=0, description="Seconds without data after which a source counts as unavailable"
    )
    claims: dict[str, Path] = Field(
        {}, description="Mount points of the PersistentVolumeClaims named by pvc:// sources, as JSON: {claim: folder}"
    )
    plain_http_hosts: tuple[str, ...] = Field(
        (), description="Hosts of oci:// and mlflow:// sources to reach without TLS, as a JSON list; loopback always is"
    )
    bucket_plain_http: bool = Field(
        default=False,
        validation_alias=AliasChoices("MATTE_BUCKET_PLAIN_HTTP", "AWS_ALLOW_HTTP"),
        description="Allow an http:// address in AWS_ENDPOINT",
    )
    hub_url: str = Field(
        "https://huggingface.co", pattern=r"^https?://\S+$", description="Hugging Face Hub for hf:// sources"
    )
    hub_token: SecretStr | None = Field(
        None,
        validation_alias=AliasChoices("MATTE_HUB_TOKEN", "HF_TOKEN"),
        description="Access token for the Hugging Face Hub",
    )
    mlflow_url: str | None = Field(
        None,
        validation_alias=AliasChoices("MATTE_MLFLOW_URL", "MLFLOW_TRACKING_URI"),
        description="MLflow server for mlflow:///models/… sources",
    )
    npm_registry: SecretStr | None = Field(
        None,
        description="npm registry for npm:// sources and the catalog, which may hold a user and password. Unset: the"
        " `matte` command takes it from the npm client (`npm config get registry`)",
    )
    npm_token: SecretStr | None = Field(None, description="Access token for the npm registry")
    oci_config: Path | None = Field(None, description="Docker config.json with registry credentials")
    oci_username: str | None = Field(None, description="User name for OCI registries that config.json does not list")
    oci_password: SecretStr | None = Field(None, description="Password or token for that user")

    def is_plain(self, host: str) -> bool:
        """Whether ``host`` (with or without port) is spoken to without TLS."""
        name = host.rpartition(":")[0] or host
        return name in {"127.0.0.1", "localhost"} or host in self.plain_http_hosts or name in self.plain_http_hosts
