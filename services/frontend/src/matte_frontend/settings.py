"""What the frontend reads from the environment (``MATTE_…``)."""

from __future__ import annotations

from typing import Annotated, Literal

from matte_core.contracts.limits import Limits
from matte_core.domain.addresses import is_loopback
from matte_jobs.settings import StoreSettings
from pydantic import AfterValidator, BeforeValidator, Field
from pydantic_settings import NoDecode

from matte_frontend.addresses import Networks
from matte_frontend.origins import canonical


def _comma_list(value: object) -> object:
    return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value


def _networks(value: tuple[str, ...]) -> tuple[str, ...]:
    Networks(value)
    return value


def _origins(value: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(canonical(origin) for origin in value)


#: separated by commas
Names = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_comma_list)]


class FrontendSettings(StoreSettings):
    """Where the frontend listens and what it accepts. Durations are seconds, sizes bytes."""

    host: str = Field("127.0.0.1", description="address to listen on")
    port: int = Field(7860, ge=0, le=65535, description="port to listen on; 0: a free one")
    drain_seconds: float = Field(
        0.0, ge=0, description="after SIGTERM /readyz says no and requests are still taken for this long"
    )
    ready_needs: Literal["model", "store"] = Field(
        "model",
        description="/readyz says yes when the default model would answer now (model), or as soon as jobs are taken and"
        " kept (store), as behind a balancer, which else took the queue away with the last router",
    )
    shutdown_seconds: int = Field(60, ge=0, description="requests and streams that run may finish for this long")
    allowed_hosts: Names = Field(
        (),
        description="host names, separated by commas, that requests may name besides IP addresses and localhost: "
        "matte.example.org, *.example.org, * for any",
    )
    allowed_origins: Annotated[Names, AfterValidator(_origins)] = Field(
        (),
        description="origins, separated by commas, whose pages may call this one: https://app.example.org, "
        "https://*.example.org, * for any without credentials; on loopback, loopback's pages always may",
    )
    trusted_proxies: Annotated[Names, AfterValidator(_networks)] = Field(
        (),
        description="addresses and CIDRs, separated by commas, whose Forwarded and X-Forwarded-… headers are believed; "
        "from others they are dropped",
    )
    max_connections: int = Field(8192, ge=1, description="connections at once; more are refused with 503")
    max_connections_per_address: int = Field(
        256, ge=1, description="connections of one client, unless it is a trusted proxy; more are refused with 429"
    )
    max_header_bytes: int = Field(65_536, ge=1024, description="request line and headers; more are refused with 431")
    max_headers: int = Field(100, ge=1, description="headers of a request; more are refused with 431")
    header_seconds: float = Field(10.0, gt=0, description="a request's headers must be complete after this long")
    min_body_rate: int = Field(
        1000, ge=0, description="bytes per second of a request's body at least, while it is being read"
    )
    body_grace_seconds: float = Field(
        20.0, gt=0, description="the rate of a body is taken over stretches of this length; a shorter stall is no fault"
    )
    keep_alive_seconds: int = Field(
        75, ge=1, description="an idle connection is kept this long; more than the balancer before it keeps one"
    )
    heartbeat_seconds: float = Field(15.0, gt=0, description="a quiet event stream sends a sign of life this often")
    position_seconds: float = Field(1.0, gt=0, description="a stream of a waiting job tells its position this often")
    catalog_seconds: float = Field(1.0, ge=0, description="the catalog of models is read again after this long")
    upload_ttl_seconds: int = Field(3600, ge=1, description="an uploaded picture that no job took is kept this long")
    admin: bool = Field(
        default=False, description="serve /admin (lists of jobs, dead letters); there is no login, so loopback only"
    )
    rollout_reports: bool = Field(
        default=False,
        description="serve /v1/rollouts, with pictures that people sent; there is no login, so only where nobody else"
        " reaches the frontend",
    )
    metrics_port: int = Field(0, ge=0, le=65535, description="port of /metrics, for Prometheus; 0: none")
    revision: str = Field("", description="revision of the source, as /version says it; the images set it")
    log_level: str = Field("INFO", description="DEBUG, INFO, WARNING or ERROR")

    max_bytes: int = Field(30_000_000, ge=1, description="bytes of one picture, and of all pictures of one request")
    max_pixels: int = Field(50_000_000, ge=1, description="width × height of one picture")
    max_side: int = Field(30_000, ge=1, description="pixels along one side")
    max_wait_seconds: float = Field(600.0, gt=0, description="a synchronous call waits at most this long")
    job_ttl_seconds: float = Field(3600.0, gt=0, description="a job that waited this long expires")

    @property
    def on_loopback(self) -> bool:
        """Whether only this machine reaches it."""
        return is_loopback(self.host)

    @property
    def limits(self) -> Limits:
        """The body of ``GET /v1/limits``."""
        return Limits(
            max_bytes=self.max_bytes,
            max_pixels=self.max_pixels,
            max_side=self.max_side,
            max_queue_length=self.max_queue_length,
            max_wait_seconds=self.max_wait_seconds,
            job_ttl_seconds=self.job_ttl_seconds,
            result_ttl_seconds=float(self.result_ttl_seconds),
        )
