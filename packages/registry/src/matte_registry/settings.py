"""What the registry reads from the environment (``MATTE_…``).

Credentials of buckets are read by their own client from where their field keeps them: ``AWS_…`` and
``GOOGLE_…`` variables, web identity tokens, the metadata server. MLflow reads ``MLFLOW_TRACKING_TOKEN`` or
``…_USERNAME`` and ``…_PASSWORD``.
"""

from __future__ import annotations

from pathlib import Path

from pydantic import AliasChoices, Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

_GB = 1_000_000_000


class RegistrySettings(BaseSettings):
    """Sources, bounds and the node's cache. Sizes are bytes, durations seconds."""

    model_config = SettingsConfigDict(env_prefix="MATTE_", extra="ignore", populate_by_name=True)

    cache_dir: Path = Field(Path(".matte/cache"), description="folder of model versions, shared by a node's pods")
    cache_max_bytes: int = Field(50 * _GB, ge=1, description="bytes of model versions kept on a node")
    cache_partial_seconds: float = Field(86400.0, gt=0, description="a download given up is kept so long for resuming")
    source_max_files: int = Field(200, ge=1, description="files of one model version")
    source_max_bytes: int = Field(20 * _GB, ge=1, description="bytes of one model version")
    download_parallel: int = Field(8, ge=1, le=64, description="parts of model files fetched at once")
    download_block_bytes: int = Field(8 << 20, ge=1024, le=1 << 30, description="a part of a model file")
    download_attempts: int = Field(5, ge=1, le=20, description="tries of each part of a model file")
    download_timeout_seconds: float = Field(60.0, gt=0, description="silence after which a source counts as away")
    claims: dict[str, Path] = Field({}, description="where the claims of pvc:// are mounted: JSON, claim to folder")
    plain_http_hosts: tuple[str, ...] = Field(
        (), description="hosts of oci:// and mlflow:// without TLS: JSON list; loopback needs none"
    )
    bucket_plain_http: bool = Field(
        default=False,
        validation_alias=AliasChoices("MATTE_BUCKET_PLAIN_HTTP", "AWS_ALLOW_HTTP"),
        description="AWS_ENDPOINT may be an http:// address",
    )
    hub_url: str = Field("https://huggingface.co", pattern=r"^https?://\S+$", description="the hub of hf://")
    hub_token: SecretStr | None = Field(
        None, validation_alias=AliasChoices("MATTE_HUB_TOKEN", "HF_TOKEN"), description="token of the hub"
    )
    mlflow_url: str | None = Field(
        None,
        validation_alias=AliasChoices("MATTE_MLFLOW_URL", "MLFLOW_TRACKING_URI"),
        description="server of mlflow:///models/…",
    )
    oci_config: Path | None = Field(None, description="Docker's config.json with credentials of registries")
    oci_username: str | None = Field(None, description="user of the OCI registry, where no config.json names one")
    oci_password: SecretStr | None = Field(None, description="its password or token")

    def is_plain(self, host: str) -> bool:
        """Whether ``host`` (with or without port) is spoken to without TLS."""
        name = host.rpartition(":")[0] or host
        return name in {"127.0.0.1", "localhost"} or host in self.plain_http_hosts or name in self.plain_http_hosts
