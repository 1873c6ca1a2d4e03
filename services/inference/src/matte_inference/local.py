"""Ray and Serve on this machine, for the embedded set-up, the tests and the bench."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import ray
from matte_core.contracts.catalog import RouteTable, VersionConfig
from ray import serve
from ray.serve.api import RunTarget, run_many
from ray.serve.context import _get_global_client
from ray.serve.schema import ApplicationStatus, ServeDeploySchema

from matte_inference.apps import model_version
from matte_inference.config import ServeConfig, load_config
from matte_inference.memory import default_bound
from matte_inference.node import LoopbackNode, private_folder, start_node
from matte_inference.settings import InferenceSettings, hand_down

ROUTER = "router"
#: a large model on a busy machine may take minutes
START_SECONDS = 600.0


def start_ray(num_cpus: int, *, metrics_port: int = 0, instance: str = "") -> LoopbackNode:
    """A Ray of our own with Serve in it, that only this machine can reach.

    Raises:
        InsecureFolderError: another user holds the folder for its files.
    """
    node = start_node(private_folder(instance), num_cpus=num_cpus, metrics_port=metrics_port)
    node.connect()
    serve.start(proxy_location="Disabled")
    return node


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
    node: LoopbackNode

    @classmethod
    def start(cls, settings: InferenceSettings, lost: Callable[[str], None]) -> LocalServe:
        """Starts Ray, what the default model needs to answer, then the rest; returns when all of it runs.

        Args:
            settings: of this process.
            lost: called with a reason, from another thread, when a part of Ray has ended that is not started again.

        Raises:
            ValueError: the configuration is wrong.
            RuntimeError: a version did not start; the message says which and why.
        """
        config = load_config(settings.config, settings.model_version)
        if not settings.replica_max_memory_bytes:  # before Ray starts: replicas inherit it
            bound = default_bound(sum(version.replicas for version in config.versions))
            hand_down(MATTE_REPLICA_MAX_MEMORY_BYTES=str(bound))
        cpus = max(2, len(config.versions))
        node = start_ray(cpus, metrics_port=settings.ray_metrics_port, instance=settings.instance)
        node.watch(lost)
        local = cls(config, node)
        first, rest = config.waves()
        _run(first)
        local.route(config.table(), *(version.app for version in first))
        _run(rest)
        _wait_running(*(version.app for version in rest))
        return local

    def route(self, table: RouteTable, *also: str) -> None:
        """Moves traffic as in production: a Serve config whose ``user_config`` alone changes keeps the router running.

        Returns when the router runs, and the applications in ``also``. Versions are deployed by :meth:`start` with
        Serve's imperative calls, which such a config leaves alone.

        Raises:
            RuntimeError: one of them did not start.
        """
        application = {
            "name": ROUTER,
            "route_prefix": None,
            "import_path": "matte_inference.apps:router",
            "deployments": [{"name": "Router", "user_config": table.model_dump(mode="json")}],
        }
        deploy([application])
        _wait_running(ROUTER, *also)

    def reload(self, settings: InferenceSettings) -> str:
        """Moves traffic by the configuration as it is now; says what was done. A wrong one changes nothing."""
        try:
            self.route(load_config(settings.config, settings.model_version).table())
        except (OSError, ValueError) as error:
            return f"the configuration was refused, traffic stays as it is: {error}"
        return "the configuration was read again, traffic moves"

    def stop(self) -> None:
        """Drains and ends Serve, then Ray."""
        self.node.watched = False
        serve.shutdown()
        ray.shutdown()
        self.node.end()


def _run(versions: Sequence[VersionConfig]) -> None:
    if versions:
        targets = [RunTarget(model_version(version.model_dump()), version.app, None) for version in versions]
        run_many(targets, wait_for_applications_running=False)


def _wait_running(*names: str) -> None:
    for _ in range(int(START_SECONDS / 0.1)):
        found = {name: app for name, app in serve.status().applications.items() if name in names}
        for name, app in found.items():
            if app.status == ApplicationStatus.DEPLOY_FAILED:
                raise RuntimeError(f"{name} did not start: {app.message}")
        if len(found) == len(names) and all(app.status == ApplicationStatus.RUNNING for app in found.values()):
            return
        time.sleep(0.1)
    raise RuntimeError(f"{', '.join(names)} did not start within {START_SECONDS:.0f} s")
