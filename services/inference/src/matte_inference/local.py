"""Ray and Serve on this machine, for the embedded set-up, the tests and the bench."""

from __future__ import annotations

from dataclasses import dataclass

import ray
from matte_core.contracts.catalog import RouteTable
from ray import serve
from ray.serve.api import RunTarget, run_many

from matte_inference.apps import model_version, router
from matte_inference.config import ServeConfig, load_config
from matte_inference.settings import InferenceSettings

ROUTER = "router"


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
        ray.init(
            include_dashboard=False, log_to_driver=False, logging_level="warning", _node_ip_address="127.0.0.1",
            num_cpus=max(2, len(config.versions)), configure_logging=True,
        )  # fmt: skip
        serve.start(proxy_location="Disabled")
        run_many([RunTarget(model_version(app.model_dump()), app.app, None) for app in config.apps()])
        local = cls(config)
        local.route(config.table())
        return local

    def route(self, table: RouteTable) -> None:
        """Moves traffic: a new ``user_config`` for the running router."""
        serve.run(router({"table": table.model_dump()}), name=ROUTER, route_prefix=None)

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
