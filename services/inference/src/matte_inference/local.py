"""Ray and Serve on this machine: for ``matte serve``, the tests and the bench.

A version whose weights must be downloaded is deployed once they are in the cache; nothing else waits for it. Until the
default model can answer, the fallback model does.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Callable

import ray
from matte_core.contracts.catalog import RouteTable, VersionConfig
from matte_core.errors import Problem
from matte_jobs.catalog import CatalogStore
from matte_jobs.store import JobStore
from matte_registry.registry import Ready
from ray import serve
from ray.serve.api import RunTarget, run_many
from ray.serve.schema import ApplicationStatus

from matte_inference.apps import RouterConfig, model_version, router_deployment
from matte_inference.config import ServeConfig, load_config, stable_app
from matte_inference.downloads import BackgroundReporter
from matte_inference.fetcher import Fetched, Fetcher, FetchError, needs_download
from matte_inference.loading import State, next_to_load
from matte_inference.node import LoopbackNode
from matte_inference.settings import InferenceSettings
from matte_inference.telemetry import VERSION

ROUTER = "router"
#: a large model on a busy machine may take minutes
START_SECONDS = 600.0


def start_serve(node: LoopbackNode) -> None:
    node.connect()
    serve.start(proxy_location="Disabled")


class LocalServe:
    """Ray and Serve bound to loopback, until :meth:`stop`. Used by one thread, which calls :meth:`advance` again and
    again while :attr:`loading`, and after every event of the fetcher.

    ``on_exit`` is called with a reason, from another thread, if a process of Ray ends that Ray does not restart.
    """

    def __init__(
        self, config: ServeConfig, settings: InferenceSettings, node: LoopbackNode, fetcher: Fetcher,
        reporter: BackgroundReporter, on_exit: Callable[[str], None],
    ) -> None:  # fmt: skip
        node.watch(on_exit)
        start_serve(node)
        self._config = config
        self._settings = settings
        self._node = node
        self._fetcher = fetcher
        self._reporter = reporter
        self._versions = {version.app: version for wave in config.waves() for version in wave}
        self._states = {
            app: State.DOWNLOADING if needs_download(version) else State.HERE for app, version in self._versions.items()
        }
        #: cannot answer, after a download or a failure
        self._unavailable = {app for app, state in self._states.items() if state is State.DOWNLOADING}
        self._pinned: dict[str, VersionConfig] = {}
        self._leases: dict[str, Ready] = {}
        self._began: dict[str, float] = {}
        self._table: RouteTable | None = None
        self._routed = False
        self._answered = False

    @property
    def loading(self) -> bool:
        return not self._routed or State.LOADING in self._states.values()

    @property
    def settled(self) -> bool:
        """Everything runs that can without a download."""
        return self._answered and not {State.HERE, State.LOADING} & set(self._states.values())

    def handle(self, event: Fetched | FetchError) -> None:
        """Takes in what came of a download; :meth:`advance` does what follows from it."""
        app = event.version.app
        if isinstance(event, FetchError):
            self._states[app] = State.FAILED if event.final else State.DOWNLOADING
            _say(f"{app}: {event.text}{'' if event.final else ' (trying again)'}")
            if event.final:
                self._check_first(app, event.text)
            return
        # the replica finds the same content in the cache without asking the source
        self._pinned[app] = event.version.model_copy(update={"digest": event.ready.digest})
        self._leases[app] = event.ready
        self._states[app] = State.HERE
        if self._table is None and not event.downloaded:  # a first start answers with the fallback model at once
            self._unavailable.discard(app)

    def advance(self) -> None:
        """Notices what runs and what failed, deploys what can be loaded now, and moves the default model.

        Raises RuntimeError if the router, or the version that should give the first answer, did not start.
        """
        self._notice()
        table = self._config.table(self._unavailable)
        first = [version.app for version in self._config.waves(self._unavailable)[0]]
        apps = next_to_load(self._states, [app for app in first if app in self._states])
        versions = {app: self._pinned.get(app, self._versions[app]) for app in apps}
        targets = [RunTarget(model_version(version.model_dump()), app, None) for app, version in versions.items()]
        for app in apps:
            self._states[app] = State.LOADING
            self._began[app] = time.monotonic()
        if table != self._table:
            targets.append(self._router(table))
        if targets:
            run_many(targets, wait_for_applications_running=False)

    def reload(self) -> str:
        """Reloads the route table from the configuration, and tries what failed again; returns a log message. A wrong
        configuration changes nothing.
        """
        try:
            self._config = load_config(self._settings.config, self._settings.model_version)
        except (OSError, ValueError) as error:
            return f"the configuration was refused, traffic stays as it is: {error}"
        self._fetcher.retry()
        for app in [app for app, state in self._states.items() if state is State.FAILED]:
            version = self._versions[app]
            self._states[app] = State.DOWNLOADING if needs_download(version) else State.HERE
            if needs_download(version):
                self._fetcher.fetch(version)
        return "the configuration was read again, traffic moves"

    def stop(self) -> None:
        """Ends all of it at once: the next start resumes downloads, and runs the jobs again that are running."""
        self._fetcher.stop()
        self._node.watched = False
        ray.shutdown()
        self._node.end()

    def _router(self, table: RouteTable) -> RunTarget:
        """The router with a new table. The same version with another ``user_config`` keeps its replicas; Serve's
        configuration files do that too, but start a process first that imports the application.
        """
        self._table, self._routed = table, False
        self._began[ROUTER] = time.monotonic()
        options = {"user_config": table.model_dump(mode="json"), "version": VERSION}
        return RunTarget(router_deployment(RouterConfig()).options(**options, _internal=True).bind(), ROUTER, None)

    def _notice(self) -> None:
        loading = [app for app, state in self._states.items() if state is State.LOADING]
        if not loading and (self._routed or self._table is None):
            return
        apps = serve.status().applications
        for app in [*loading, *([] if self._routed else [ROUTER])]:
            status = apps[app].status if app in apps else ApplicationStatus.DEPLOYING
            if status is ApplicationStatus.RUNNING:
                self._runs(app)
            elif status is ApplicationStatus.DEPLOY_FAILED:
                self._fails(app, apps[app].message)
            elif time.monotonic() - self._began[app] > START_SECONDS:
                self._fails(app, f"not loaded within {START_SECONDS:.0f} s")
        if self._routed and self._table and self._states.get(stable_app(self._table) or "") is State.RUNNING:
            self._answered = True

    def _runs(self, app: str) -> None:
        if app == ROUTER:
            self._routed = True
            return
        self._states[app] = State.RUNNING
        self._unavailable.discard(app)
        self._reporter.downloads.clear(self._versions[app])
        if lease := self._leases.pop(app, None):
            lease.release()

    def _fails(self, app: str, message: str) -> None:
        if app == ROUTER:
            raise RuntimeError(f"{app} did not start: {message}")
        error = asyncio.run(self._reported_error(self._versions[app])) or message
        self._states[app] = State.FAILED
        if lease := self._leases.pop(app, None):
            lease.release()
        serve.delete(app, _blocking=False)  # else Serve keeps what is left of it
        self._check_first(app, error)
        self._reporter.start()
        self._reporter.downloads.fail(self._versions[app], error)
        _say(f"{app} did not start: {error}")

    def _check_first(self, app: str, error: str) -> None:
        """A version that failed. Raises RuntimeError if nothing else can give the first answer."""
        self._unavailable.add(app)
        if not self._answered and app == stable_app(self._config.table(self._unavailable)):
            raise RuntimeError(f"{app} did not start: {error}")

    async def _reported_error(self, version: VersionConfig) -> str | None:
        """What the version's replica told; Serve's message has tracebacks around it."""
        store = JobStore.open(self._settings)
        try:
            found = await CatalogStore(store).download(self._settings.pool, version.model, version.version)
        except Problem:
            return None
        finally:
            await store.close()
        return found.error if found else None


def _say(text: str) -> None:
    sys.stderr.write(f"matte-inference: {text}\n")
