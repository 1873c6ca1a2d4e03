"""The router as a Serve deployment. All of the router that knows Ray is here.

The route table is the deployment's ``user_config``, so traffic moves without a restart.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
import uuid
from collections.abc import Iterable
from typing import Any

from matte_core.contracts.catalog import RouteTable, app_name
from matte_core.contracts.job import JobSpec
from matte_core.errors import Problem
from matte_jobs.store import JobStore, Lease, instance_member
from matte_telemetry import logs, tracing
from matte_telemetry.metrics import Instruments
from pydantic import ValidationError
from ray import serve
from ray.exceptions import RayTaskError
from ray.serve.handle import DeploymentHandle

from matte_inference.loopback import keep_serve_on_loopback
from matte_inference.router.background import BackgroundTasks
from matte_inference.router.route_plan import DispatchOptions
from matte_inference.router.service import RouterService
from matte_inference.settings import InferenceSettings
from matte_inference.telemetry import VERSION, RayMeter

log = logging.getLogger("matte.router")

#: a table that names an application that does not exist yet is tried again after so many seconds
RETRY_SECONDS = 2.0


class ServeVersions:
    """The Serve applications of the model versions. A job that takes ``max_run_seconds`` is given up."""

    def __init__(self, max_run_seconds: float) -> None:
        self._max_run_seconds = max_run_seconds
        self._handles: dict[str, DeploymentHandle] = {}

    async def find(self, apps: Iterable[str]) -> list[str]:
        """Looks up the handles of applications; returns the names of those that do not exist."""
        missing = []
        for app in sorted(apps):
            try:
                self._handles[app] = await asyncio.to_thread(serve.get_app_handle, app)
            except Exception as error:  # absent, or the controller is away: both pass
                log.info("application %s: %s", app, error)
                missing.append(app)
        return missing

    async def run(self, model: str, version: str, lease: Lease, options: DispatchOptions) -> None:
        """Raises the replica's Problem, or any other exception if the replica was lost or took too long."""
        handle, spec = await self._handle(model, version), lease.spec.model_dump_json()
        response = handle.run.remote(spec, lease.token, *(options if any(options) else ()))
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

    async def mirror(self, model: str, version: str, spec: JobSpec, stable: str) -> None:
        handle = await self._handle(model, version)
        async with asyncio.timeout(self._max_run_seconds):
            await handle.mirror.remote(spec.model_dump_json(), stable)

    async def _handle(self, model: str, version: str) -> DeploymentHandle:
        app = app_name(model, version)
        if app not in self._handles and await self.find([app]):
            raise RuntimeError(f"there is no application {app}")
        return self._handles[app]


def applications(table: RouteTable) -> set[str]:
    return {app_name(route.model, arm.version) for route in table.routes for arm in route.arms}


class Router:
    """Serves no requests but ``status``: jobs come from the store."""

    async def __init__(self) -> None:  # type: ignore[misc] # Serve awaits it, so that tasks find their loop
        keep_serve_on_loopback()
        settings = InferenceSettings()
        logs.set_up(settings.log_level)
        name = instance_member(settings.instance, f"router-{uuid.uuid4().hex[:8]}")
        tracer, self._shut_down_tracing = tracing.set_up("matte-router", version=VERSION, instance=name)
        self._versions = ServeVersions(settings.max_run_seconds)
        self._table: RouteTable | None = None
        self._pending: RouteTable | None = None
        self._refused: str | None = None
        store = JobStore.open(settings)
        self._service = RouterService(
            store, self._versions, name=name, pool=settings.pool, clock=time.time, draw=random.random,
            lease_seconds=settings.lease_seconds, instruments=Instruments(RayMeter(), tracer),
        )  # fmt: skip
        await self._service.start()
        self._retrying = asyncio.create_task(self._retry(), name="retry")
        self._background = BackgroundTasks(store, settings)

    async def reconfigure(self, user_config: dict[str, Any]) -> None:
        """Takes a new table, or keeps the old one: an exception here would end the replica."""
        try:
            self._pending = RouteTable.model_validate(user_config)
        except ValidationError as error:
            self._pending, self._refused = None, str(error)
            log.error("the route table was refused, the old one stays: %s", error)
            return
        await self._apply_pending()

    async def _apply_pending(self) -> None:
        """Applies the pending table once the applications exist that it adds to the one in use.

        The first table is applied at once: the router may be the first to come back after a restart, and must not
        wait for a version that is broken or still being downloaded. An application that does not exist has no replica,
        so it gets no job.
        """
        if (pending := self._pending) is None:
            return
        missing = await self._versions.find(applications(pending))
        if self._pending is not pending:
            return  # a newer one came meanwhile
        if self._table is not None and (missing := sorted(set(missing) - applications(self._table))):
            refused = f"no such application yet: {', '.join(missing)}"
            if refused != self._refused:
                log.error("the route table is not applied, the old one stays: %s", refused)
            self._refused = refused
            return
        self._table, self._pending, self._refused = pending, None, None
        self._service.apply(pending)

    async def _retry(self) -> None:
        while True:
            await asyncio.sleep(RETRY_SECONDS)
            await self._apply_pending()

    async def status(self) -> dict[str, Any]:
        """The table in use, and why the last one was refused."""
        return {"table": self._table.model_dump() if self._table else None, "refused": self._refused}

    def check_health(self) -> None:
        """Raises if a loop has ended, so that Serve starts a new router."""
        if self._retrying.done() or not self._background.healthy() or not self._service.healthy():
            raise RuntimeError("a loop of the router has ended")

    async def __del__(self) -> None:
        self._retrying.cancel()
        self._background.close()
        await self._service.close()
        await asyncio.to_thread(self._shut_down_tracing)
