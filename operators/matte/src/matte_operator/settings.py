"""Settings from environment variables (``MATTE_…``)."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, SecretStr
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from matte_operator.render.pods import CacheVolume, Release


def _comma_list(value: object) -> object:
    return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value


class OperatorSettings(BaseSettings):
    """Where the operator works, and what the Ray pods of the release are given."""

    model_config = SettingsConfigDict(env_prefix="MATTE_", extra="ignore", frozen=True)

    namespace: str = Field(description="Namespace to watch: the release's own")
    release: str = "matte"
    inference_image: str = "ghcr.io/matte-dev/inference:0.1.0"
    inference_pull_policy: Literal["Always", "IfNotPresent", "Never"] = "IfNotPresent"
    image_pull_secrets: Annotated[tuple[str, ...], NoDecode, BeforeValidator(_comma_list)] = ()
    redis_secret: str = Field("matte-redis", description="Secret with the keys url, address and password")
    redis_url: SecretStr = Field(
        SecretStr(""),
        description="Address of the job store: redis://, rediss:// or unix://; '': rollouts have no data and wait",
    )
    redis_prefix: str = Field("matte:", description="Prefix of all keys in Redis")
    prometheus_url: str = Field(
        "", description="Prometheus server for the queries of rollouts; '': the queries are inconclusive"
    )
    inference_env: dict[str, str] = Field({}, description="Additional environment variables of the Ray pods, as JSON")
    models_secret: str = Field("", description="Secret whose keys become environment variables of the workers")
    service_account: str = Field("", description="ServiceAccount of the workers; '': the default one of the namespace")
    cache_size: str = Field(
        "20Gi", pattern=r"^[0-9]+(\.[0-9]+)?[MGT]i?$", description="Size of the cache volume of a worker"
    )
    cache_claim: str = Field("", description="PersistentVolumeClaim to use as the cache volume")
    cache_host_path: str = Field("", description="Folder of the node to use as the cache volume")
    health_port: int = Field(8080, ge=1, le=65535)
    metrics_port: int = Field(9090, ge=1, le=65535)
    listen: str = Field("0.0.0.0", description="Address that both ports listen on")  # noqa: S104 - probes and Prometheus ask
    identity: str = Field("", description="Identity of the lease holder; '': host name and a random suffix")
    cleanup_seconds: float = Field(540.0, gt=0, description="Seconds that `cleanup` waits for all objects to be gone")

    def to_release(self) -> Release:
        return Release(
            namespace=self.namespace,
            name=self.release,
            image=self.inference_image,
            redis_secret=self.redis_secret,
            pull_policy=self.inference_pull_policy,
            pull_secrets=self.image_pull_secrets,
            env=self.inference_env,
            models_secret=self.models_secret,
            service_account=self.service_account,
            cache=CacheVolume(self.cache_size, self.cache_claim, self.cache_host_path),
        )
