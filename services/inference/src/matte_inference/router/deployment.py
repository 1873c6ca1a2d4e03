"""The router as a Serve replica; ``matte_inference.apps`` makes the deployment of it.

Its table is the ``user_config``, so traffic moves without a restart.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import time
import uuid
from typing import Any

from matte_core.contracts.catalog import RouteTable, app_name
from matte_core.contracts.job import JobSpec
from matte_core.errors import Problem
from matte_jobs.evidence import EvidenceStore
from matte_jobs.instances import named
from matte_jobs.store import JobStore, Lease
from matte_registry.registry import Registry
from matte_telemetry import logs, tracing
from matte_telemetry.instruments import Instruments
from pydantic import ValidationError
from ray import serve
from ray.exceptions import RayTaskError
from ray.serve.handle import DeploymentHandle

from matte_inference.loopback import keep_serve_on_loopback
from matte_inference.replica.handling import Handling
from matte_inference.router import ray_state
from matte_inference.router.checks import Checks
from matte_inference.router.hand_over import Versions
from matte_inference.router.service import RouterService
from matte_inference.settings import InferenceSettings
from matte_inference.telemetry import VERSION, RayMeter

log = logging.getLogger("matte.router")


#: seconds after which a table that names an application that is not there yet is tried again
RETRY_SECONDS = 2.0
#: Ray's state in Redis is told to live on this often (seconds)
KEEP_SECONDS = 600.0


class Router:
    """Pulls jobs and hands them to model versions. Answers nothing itself but ``status``."""

    async def __init__(self) -> None:  # type: ignore[misc] # Serve awaits it, so that tasks find their loop
        keep_serve_on_loopback()
        settings = InferenceSettings()
        logs.set_up(settings.log_level)
        name = named(settings.instance, f"router-{uuid.uuid4().hex[:8]}")
        tracer, self._shut_down_tracing = tracing.set_up("matte-router", version=VERSION, instance=name)
        self._handles: dict[str, DeploymentHandle] = {}
        self._max_run_seconds = settings.max_run_seconds
        self._refused: str | None = None
        self._table: RouteTable | None = None
        self._wanted: RouteTable | None = None
        store = JobStore.open(settings)
        self._service = RouterService(
            store,
            Versions(self._run, self._mirror),
            name=name,
            pool=settings.pool,
            clock=time.time,
            draw=random.random,
            lease_seconds=settings.lease_seconds,
            instruments=Instruments(RayMeter(), tracer),
        )
        await self._service.start()
        self._retrying = asyncio.create_task(self._retry(), name="retry")
        self._keeping = asyncio.create_task(self._keep(store, settings.ray_storage), name="keep")
        checks = Checks(EvidenceStore(store), settings.pool, Registry(), clock=time.time)
        self._checking = asyncio.create_task(checks.run(), name="checks")

    async def reconfigure(self, user_config: dict[str, Any]) -> None:
        """Takes a new table, or keeps the old one: an exception here would end the replica."""
        try:
            self._wanted = RouteTable.model_validate(user_config)
        except ValidationError as error:
            self._wanted, self._refused = None, str(error)
            log.error("the route table was refused, the old one stays: %s", error)
            return
        await self._take()

    async def _take(self) -> None:
        """The wanted table, once its applications are there.

        Without an old one it is taken at once: the router may be the first to come back after a restart, and must
        not wait for a version that is broken. An application that is missing has no replica, so it gets no job.
        """
        wanted = self._wanted
        missing = [] if wanted is None else await self._find(_apps(wanted))
        if wanted is None or self._wanted is not wanted:
            return  # a newer one came meanwhile
        if missing and self._table is not None:
            refused = f"no such application yet: {', '.join(missing)}"
            if refused != self._refused:
                log.error("the route table is not taken, the old one stays: %s", refused)
            self._refused = refused
            return
        self._table, self._wanted, self._refused = wanted, None, None
        self._service.apply(wanted)

    async def _find(self, apps: set[str]) -> list[str]:
        """Looks up applications; returns those that are not there."""
        missing = []
        for app in sorted(apps):
            try:
                self._handles[app] = await asyncio.to_thread(serve.get_app_handle, app)
            except Exception as error:  # absent, or the controller is away: both pass
                log.info("application %s: %s", app, error)
                missing.append(app)
        return missing

    async def _retry(self) -> None:
        while True:
            await asyncio.sleep(RETRY_SECONDS)
            await self._take()

    async def _keep(self, store: JobStore, storage: str) -> None:
        while storage:
            with contextlib.suppress(Problem):
                await ray_state.refresh(store.redis, storage)
            await asyncio.sleep(KEEP_SECONDS)

    async def status(self) -> dict[str, Any]:
        """The table in use, and why the last one was refused."""
        table = self._table.model_dump() if self._table else None
        return {"table": table, "refused": self._refused}

    def check_health(self) -> None:
        """Raises when a loop has ended, so that Serve starts a fresh router."""
        if self._retrying.done() or self._checking.done() or not self._service.healthy():
            raise RuntimeError("a loop of the router has ended")

    async def _run(self, model: str, version: str, lease: Lease, handling: Handling) -> None:
        handle, spec = await self._handle(model, version), lease.spec.model_dump_json()
        response = handle.run.remote(spec, lease.token, *(handling if any(handling) else ()))
        try:
            async with asyncio.timeout(self._max_run_seconds):
                await response
        except asyncio.CancelledError:
            response.cancel()  # Serve does not pass it on by itself
            raise
        except RayTaskError as error:
            if isinstance(error.cause, Problem):
                raise error.cause from error
            raise

    async def _mirror(self, model: str, version: str, spec: JobSpec, stable: str) -> None:
        handle = await self._handle(model, version)
        async with asyncio.timeout(self._max_run_seconds):
            await handle.mirror.remote(spec.model_dump_json(), stable)

    async def _handle(self, model: str, version: str) -> DeploymentHandle:
        app = app_name(model, version)
        if app not in self._handles and await self._find({app}):
            raise RuntimeError(f"there is no application {app}")
        return self._handles[app]

    async def __del__(self) -> None:
        self._retrying.cancel()
        self._keeping.cancel()
        self._checking.cancel()
        await self._service.close()
        await asyncio.to_thread(self._shut_down_tracing)


def _apps(table: RouteTable) -> set[str]:
    return {app_name(route.model, arm.version) for route in table.routes for arm in route.arms}
