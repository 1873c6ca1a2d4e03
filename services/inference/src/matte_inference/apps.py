"""Serve applications by import path: ``matte_inference.apps:model_version`` and ``matte_inference.apps:router``."""

from __future__ import annotations

from typing import Any

from matte_core.contracts.base import Contract
from matte_core.contracts.catalog import VersionConfig
from pydantic import Field
from ray import serve
from ray.serve import Application, Deployment

from matte_inference.families.base import validated
from matte_inference.replica.deployment import ModelVersion
from matte_inference.router.deployment import Router

#: for every deployment. No line of Serve's per job, not even one that is made and dropped: the job's own events and
#: record tell more. A lost loop is noticed soon; one that a long step holds up is not ill.
COMMON = {
    "logging_config": {"enable_access_log": False, "log_level": "WARNING"},
    "health_check_period_s": 5,
    "health_check_timeout_s": 30,
}


class RouterConfig(Contract):
    """What a router is given, beside its table."""

    replicas: int = Field(1, ge=1)
    num_cpus: float = Field(0.1, ge=0, description="per replica, what Ray reserves")
    drain_seconds: float = Field(30.0, ge=0, description="jobs under way may end before a router goes")


def model_version(args: dict[str, Any]) -> Application:
    """One version of a model; ``args`` is a :class:`VersionConfig`."""
    config = validated(VersionConfig, args, "args")
    deployment = serve.deployment(
        ModelVersion,
        name="ModelVersion",
        graceful_shutdown_timeout_s=config.drain_seconds,
        num_replicas=config.replicas,
        # the routers count slots; one more, so that Serve does not ask a full replica anew for every job
        max_ongoing_requests=config.slots + 1,
        ray_actor_options={"num_cpus": config.num_cpus, "num_gpus": config.num_gpus},
        **COMMON,
    )
    return deployment.bind(config.model_dump(mode="json"))


def router(args: dict[str, Any]) -> Application:
    """The router; ``args`` is a :class:`RouterConfig`. Its table is the deployment's ``user_config``."""
    return router_deployment(validated(RouterConfig, args, "args")).bind()


def router_deployment(config: RouterConfig) -> Deployment:
    """The router, before it has a table."""
    return serve.deployment(
        Router,
        name="Router",
        graceful_shutdown_timeout_s=config.drain_seconds,
        num_replicas=config.replicas,
        ray_actor_options={"num_cpus": config.num_cpus},
        **COMMON,
    )
