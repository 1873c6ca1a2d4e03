"""Serve applications by import path: ``matte_inference.apps:model_version`` and ``matte_inference.apps:router``."""

from __future__ import annotations

from typing import Any

from matte_core.contracts.catalog import VersionConfig
from ray import serve
from ray.serve import Application

from matte_inference.replica.deployment import ModelVersion
from matte_inference.router.deployment import Router

#: no line per job: the job's own events and record tell more
QUIET = {"enable_access_log": False}


def model_version(args: dict[str, Any]) -> Application:
    """One version of a model; ``args`` is a :class:`VersionConfig`."""
    config = VersionConfig.model_validate(args)
    deployment = serve.deployment(
        ModelVersion,
        name="ModelVersion",
        graceful_shutdown_timeout_s=60,
        logging_config=QUIET,
        num_replicas=config.replicas,
        max_ongoing_requests=config.slots,
        ray_actor_options={"num_cpus": config.num_cpus, "num_gpus": config.num_gpus},
    )
    return deployment.bind(config.model_dump())


def router(args: dict[str, Any]) -> Application:
    """The router; ``args`` may set ``replicas`` and ``num_cpus``. Its table is the deployment's ``user_config``."""
    deployment = serve.deployment(
        Router,
        name="Router",
        graceful_shutdown_timeout_s=30,
        logging_config=QUIET,
        num_replicas=int(args.get("replicas", 1)),
        ray_actor_options={"num_cpus": float(args.get("num_cpus", 0.1))},
    )
    return deployment.bind()
