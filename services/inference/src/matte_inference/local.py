"""Ray and Serve on this machine, for the embedded set-up, the tests and the bench."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import ray
from matte_core.contracts.catalog import RouteTable, VersionConfig
from ray import serve
from ray.serve.api import RunTarget, run_many
from ray.serve.schema import ApplicationStatus

from matte_inference.apps import RouterConfig, model_version, router_deployment
from matte_inference.config import ServeConfig, load_config
from matte_inference.node import LoopbackNode
from matte_inference.settings import InferenceSettings
from matte_inference.telemetry import VERSION

ROUTER = "router"
#: a large model on a busy machine may take minutes
START_SECONDS = 600.0


def start_serve(node: LoopbackNode) -> None:
    """Makes this process a driver of the node, and starts Serve there."""
    node.connect()
    serve.start(proxy_location="Disabled")


@dataclass(slots=True)
class LocalServe:
    """A Ray of our own, bound to loopback, that ends with :meth:`stop`."""

    config: ServeConfig
    node: LoopbackNode

    @classmethod
    def start(cls, config: ServeConfig, node: LoopbackNode, lost: Callable[[str], None]) -> LocalServe:
        """Starts Serve, what the default model needs to answer, then the rest; returns when all of it runs.

        Args:
            config: what to serve.
            node: Ray, which has just been started.
            lost: called with a reason, from another thread, when a part of Ray has ended that is not started again.

        Raises:
            RuntimeError: a version did not start; the message says which and why.
        """
        node.watch(lost)
        start_serve(node)
        local = cls(config, node)
        first, rest = config.waves()
        local.route(config.table(), first)
        _run([_target(version) for version in rest])
        _wait_running(*(version.app for version in rest))
        return local

    def route(self, table: RouteTable, versions: Sequence[VersionConfig] = ()) -> None:
        """Moves traffic, and starts ``versions``; returns when the router and they run.

        Raises:
            RuntimeError: one of them did not start.
        """
        # one of the same version with another user_config keeps its replicas. Serve's configuration files do that too,
        # but first start a process that imports the application
        router = router_deployment(RouterConfig()).options(
            user_config=table.model_dump(mode="json"), version=VERSION, _internal=True
        )
        _run([*(_target(version) for version in versions), RunTarget(router.bind(), ROUTER, None)])
        _wait_running(ROUTER, *(version.app for version in versions))

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


def _target(version: VersionConfig) -> RunTarget:
    return RunTarget(model_version(version.model_dump()), version.app, None)


def _run(targets: Sequence[RunTarget]) -> None:
    if targets:
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
