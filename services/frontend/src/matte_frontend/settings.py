"""What the frontend reads from the environment (``MATTE_…``)."""

from __future__ import annotations

from typing import Annotated, Literal

from matte_core.contracts.job import Limits
from matte_core.domain.addresses import is_loopback
from matte_jobs.settings import StoreSettings
from pydantic import AfterValidator, BeforeValidator, Field
from pydantic_settings import NoDecode

from matte_frontend.hosts import Networks
from matte_frontend.origins import canonical_origin


def _comma_list(value: object) -> object:
    return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value


def _networks(value: tuple[str, ...]) -> tuple[str, ...]:
    Networks(value)
    return value


#: separated by commas
Names = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_comma_list)]


class FrontendSettings(StoreSettings):
    """Where the frontend listens and what it accepts. Durations are seconds, sizes bytes."""

    host: str = Field("127.0.0.1", description="Address to listen on")
    port: int = Field(7860, ge=0, le=65535, description="Port to listen on; 0 picks a free one")
    drain_seconds: float = Field(
        0.0, ge=0, description="Seconds to keep serving after SIGTERM while /readyz already fails, so load balancers "
        "can stop sending",
    )  # fmt: skip
    ready_needs: Literal["model", "store"] = Field(
        "model",
        description="What /readyz requires. model: the default model can answer now; store: jobs can be accepted and "
        "kept, even while no router runs",
    )
    shutdown_seconds: int = Field(
        60, ge=0, description="Seconds that running requests and streams get to finish at shutdown"
    )
    allowed_hosts: Names = Field(
        (),
        description="Comma-separated host names to accept besides IP addresses and localhost: matte.example.org, "
        "*.example.org; * accepts any",
    )
    allowed_origins: Annotated[Names, AfterValidator(lambda names: tuple(map(canonical_origin, names)))] = Field(
        (),
        description="Comma-separated origins whose pages may call this server: https://app.example.org, "
        "https://*.example.org; * allows any, without credentials. A server on loopback always allows pages "
        "from loopback",
    )
    trusted_proxies: Annotated[Names, AfterValidator(_networks)] = Field(
        (),
        description="Comma-separated addresses and CIDRs of proxies whose Forwarded and X-Forwarded-* headers are "
        "trusted; other clients' are dropped",
    )
    max_connections: int = Field(8192, ge=1, description="Maximum open connections; further ones are refused with 503")
    max_connections_per_address: int = Field(
        256, ge=1, description="Maximum open connections per client address, trusted proxies excepted; further ones "
        "are refused with 429",
    )  # fmt: skip
    max_header_bytes: int = Field(
        65_536, ge=1024, description="Maximum size of the request line and headers in bytes; larger ones are refused "
        "with 431",
    )  # fmt: skip
    max_headers: int = Field(100, ge=1, description="Maximum number of headers per request; more are refused with 431")
    header_seconds: float = Field(10.0, gt=0, description="Seconds within which the headers of a request must arrive")
    min_body_rate: int = Field(
        1000, ge=0, description="Minimum rate of a request body in bytes per second, while it is being read"
    )
    body_grace_seconds: float = Field(
        20.0, gt=0, description="Seconds over which the rate of a body is averaged; shorter stalls are tolerated"
    )
    keep_alive_seconds: int = Field(
        75, ge=1, description="Seconds to keep an idle connection open; use more than the idle timeout of the load "
        "balancer",
    )  # fmt: skip
    heartbeat_seconds: float = Field(
        15.0, gt=0, description="Seconds between keep-alive comments on a silent event stream"
    )
    position_seconds: float = Field(1.0, gt=0, description="Seconds between position events of a queued job")
    catalog_seconds: float = Field(1.0, ge=0, description="Seconds to cache the catalog of models")
    upload_ttl_seconds: int = Field(3600, ge=1, description="Seconds to keep an uploaded picture that no job uses")
    admin: bool = Field(
        default=False,
        description="Serve /admin (job lists, dead letters). It has no authentication: use it on loopback only",
    )
    rollout_reports: bool = Field(
        default=False,
        description="Serve /v1/rollouts, which shows users' pictures. It has no authentication: use it only where "
        "nobody else reaches the frontend",
    )
    metrics_port: int = Field(0, ge=0, le=65535, description="Port for Prometheus metrics; 0 disables them")
    revision: str = Field("", description="Source revision that /version reports; set in the container images")
    log_level: str = Field("INFO", description="Log level: DEBUG, INFO, WARNING or ERROR")

    max_bytes: int = Field(
        30_000_000, ge=1, description="Maximum size in bytes of a picture, and of all pictures of a request together"
    )
    max_pixels: int = Field(50_000_000, ge=1, description="Maximum pixels of a picture (width × height)")
    max_side: int = Field(30_000, ge=1, description="Maximum width and height of a picture in pixels")
    max_wait_seconds: float = Field(
        600.0, gt=0, description="Maximum seconds that a synchronous call waits for its result"
    )
    job_ttl_seconds: float = Field(3600.0, gt=0, description="Seconds after which a job that is still queued expires")

    @property
    def on_loopback(self) -> bool:
        """Whether only this machine can reach the frontend."""
        return is_loopback(self.host)

    @property
    def limits(self) -> Limits:
        """The body of ``GET /v1/limits``."""
        return Limits.model_validate(self, from_attributes=True)
