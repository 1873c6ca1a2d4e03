"""Ray and Serve on this machine: for ``matte serve``, the tests and the bench."""

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
    node.connect()
    serve.start(proxy_location="Disabled")


@dataclass(slots=True)
class LocalServe:
    """Ray and Serve bound to loopback, until :meth:`stop`."""

    config: ServeConfig
    node: LoopbackNode

    @classmethod
    def start(cls, config: ServeConfig, node: LoopbackNode, on_exit: Callable[[str], None]) -> LocalServe:
        """Starts Serve, the router and the default model's versions, then the rest; returns when all of it runs.

        ``on_exit`` is called with a reason, from another thread, if a process of Ray ends that Ray does not restart.
        Raises RuntimeError if a version did not start; the message says which and why.
        """
        node.watch(on_exit)
        start_serve(node)
        local = cls(config, node)
        first, rest = config.waves()
        local.route(config.table(), first)
        _run([_target(version) for version in rest])
        return local

    def route(self, table: RouteTable, versions: Sequence[VersionConfig] = ()) -> None:
        """Gives the router a new table and starts ``versions``. Returns when the router and they run; raises
        RuntimeError if one of them did not start.
        """
        # the same version with another user_config keeps its replicas. Serve's configuration files do that too, but
        # start a process first that imports the application
        router = router_deployment(RouterConfig()).options(
            user_config=table.model_dump(mode="json"), version=VERSION, _internal=True
        )
        _run([*(_target(version) for version in versions), RunTarget(router.bind(), ROUTER, None)])

    def reload(self, settings: InferenceSettings) -> str:
        """Reloads the route table from the configuration; returns a log message. A wrong one changes nothing."""
        try:
            self.route(load_config(settings.config, settings.model_version).table())
        except (OSError, ValueError) as error:
            return f"the configuration was refused, traffic stays as it is: {error}"
        return "the configuration was read again, traffic moves"

    def stop(self) -> None:
        self.node.watched = False
        serve.shutdown()
        ray.shutdown()
        self.node.end()


def _target(version: VersionConfig) -> RunTarget:
    return RunTarget(model_version(version.model_dump()), version.app, None)


def _run(targets: Sequence[RunTarget]) -> None:
    if targets:
        run_many(targets, wait_for_applications_running=False)
    names = [target.name for target in targets]
    for _ in range(int(START_SECONDS / 0.1)):
        apps = {name: app for name, app in serve.status().applications.items() if name in names}
        for name, app in apps.items():
            if app.status == ApplicationStatus.DEPLOY_FAILED:
                raise RuntimeError(f"{name} did not start: {app.message}")
        if len(apps) == len(names) and all(app.status == ApplicationStatus.RUNNING for app in apps.values()):
            return
        time.sleep(0.1)
    raise RuntimeError(f"{', '.join(names)} did not start within {START_SECONDS:.0f} s")
