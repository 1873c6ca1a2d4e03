"""Serve applications by import path: ``matte_inference.apps:model_version`` and ``matte_inference.apps:router``."""

from __future__ import annotations

from typing import Any

from matte_core.contracts.base import Contract
from matte_core.contracts.catalog import VersionConfig
from pydantic import Field
from ray import serve
from ray.serve import Application, Deployment

from matte_inference.families.base import validate
from matte_inference.replica.deployment import ModelVersion
from matte_inference.router.deployment import Router

#: options of both deployments. Serve's access log costs time even at a level that is not logged. A long step may delay
#: the health check, so its timeout is long.
COMMON_OPTIONS = {
    "logging_config": {"enable_access_log": False, "log_level": "WARNING"},
    "health_check_period_s": 5,
    "health_check_timeout_s": 30,
}


class RouterConfig(Contract):
    replicas: int = Field(1, ge=1)
    num_cpus: float = Field(0.1, ge=0, description="CPUs that Ray reserves for each replica")
    drain_seconds: float = Field(30.0, ge=0, description="seconds that a router waits for its jobs when it stops")


def model_version(args: dict[str, Any]) -> Application:
    """One version of a model; ``args`` is a :class:`VersionConfig`."""
    config = validate(VersionConfig, args, "args")
    deployment = serve.deployment(
        ModelVersion,
        name="ModelVersion",
        graceful_shutdown_timeout_s=config.drain_seconds,
        num_replicas=config.replicas,
        # the routers count slots; with one more, Serve does not probe a full replica again for every job
        max_ongoing_requests=config.slots + 1,
        ray_actor_options={"num_cpus": config.num_cpus, "num_gpus": config.num_gpus},
        **COMMON_OPTIONS,
    )
    return deployment.bind(config.model_dump(mode="json"))


def router(args: dict[str, Any]) -> Application:
    """The router; ``args`` is a :class:`RouterConfig`. Its table is the deployment's ``user_config``."""
    return router_deployment(validate(RouterConfig, args, "args")).bind()


def router_deployment(config: RouterConfig) -> Deployment:
    return serve.deployment(
        Router,
        name="Router",
        graceful_shutdown_timeout_s=config.drain_seconds,
        num_replicas=config.replicas,
        ray_actor_options={"num_cpus": config.num_cpus},
        **COMMON_OPTIONS,
    )
