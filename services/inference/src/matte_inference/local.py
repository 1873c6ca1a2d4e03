"""Ray and Serve on this machine, for the embedded set-up, the tests and the bench."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import ray
from matte_core.contracts.catalog import RouteTable
from ray import serve
from ray.serve.api import RunTarget, run_many
from ray.serve.context import _get_global_client
from ray.serve.schema import ApplicationStatus, ServeDeploySchema

from matte_inference.apps import model_version
from matte_inference.config import ServeConfig, load_config
from matte_inference.settings import InferenceSettings

ROUTER = "router"
ROUTER_SECONDS = 120.0


def start_ray(num_cpus: int, *, metrics_port: int = 0) -> None:
    """A Ray of our own with Serve in it, bound to loopback; no ports are open."""
    ray.init(
        include_dashboard=False, log_to_driver=False, logging_level="warning", _node_ip_address="127.0.0.1",
        num_cpus=num_cpus, configure_logging=True, _metrics_export_port=metrics_port or None,
    )  # fmt: skip
    serve.start(proxy_location="Disabled")


def deploy(applications: Sequence[Mapping[str, Any]]) -> None:
    """Serve's own configuration, as KubeRay hands it over: everything that it deployed before and that is not named
    goes. What was deployed by imperative calls stays.
    """
    config = ServeDeploySchema.model_validate({"proxy_location": "Disabled", "applications": applications})
    _get_global_client().deploy_apps(config)


@dataclass(slots=True)
class LocalServe:
    """A Ray of our own, bound to loopback, that ends with :meth:`stop`."""

    config: ServeConfig

    @classmethod
    def start(cls, settings: InferenceSettings) -> LocalServe:
        """Starts Ray, then every version, then the router; returns when all of them run.

        Raises:
            ValueError: the configuration is wrong.
            RuntimeError: a version did not start; the message says which and why.
        """
        config = load_config(settings.config, settings.model_version)
        start_ray(max(2, len(config.versions)), metrics_port=settings.ray_metrics_port)
        run_many([RunTarget(model_version(app.model_dump()), app.app, None) for app in config.apps()])
        local = cls(config)
        local.route(config.table())
        return local

    def route(self, table: RouteTable) -> None:
        """Moves traffic as in production: a Serve config whose ``user_config`` alone changes keeps the router running.

        Versions are deployed by :meth:`start` with Serve's imperative calls, which such a config leaves alone.

        Raises:
            RuntimeError: the router did not start.
        """
        application = {
            "name": ROUTER,
            "route_prefix": None,
            "import_path": "matte_inference.apps:router",
            "deployments": [{"name": "Router", "user_config": table.model_dump(mode="json")}],
        }
        deploy([application])
        self._wait_for_router()

    def _wait_for_router(self) -> None:
        for _ in range(int(ROUTER_SECONDS / 0.1)):
            found = serve.status().applications.get(ROUTER)
            if found is not None and found.status == ApplicationStatus.RUNNING:
                return
            if found is not None and found.status == ApplicationStatus.DEPLOY_FAILED:
                raise RuntimeError(f"the router did not start: {found.message}")
            time.sleep(0.1)
        raise RuntimeError(f"the router did not start within {ROUTER_SECONDS:.0f} s")

    def reload(self, settings: InferenceSettings) -> str:
        """Moves traffic by the configuration as it is now; says what was done. A wrong one changes nothing."""
        try:
            self.route(load_config(settings.config, settings.model_version).table())
        except (OSError, ValueError) as error:
            return f"the configuration was refused, traffic stays as it is: {error}"
        return "the configuration was read again, traffic moves"

    def stop(self) -> None:
        """Drains and ends Serve, then Ray."""
        serve.shutdown()
        ray.shutdown()
