"""The router as a Serve replica; ``matte_inference.apps`` makes the deployment of it.

Its table is the ``user_config``, so traffic moves without a restart.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
import uuid
from typing import Any

from matte_core.contracts.catalog import RouteTable, app_name
from matte_jobs.store import JobStore, Lease
from pydantic import ValidationError
from ray import serve
from ray.serve.exceptions import RayServeException
from ray.serve.handle import DeploymentHandle

from matte_inference.router.service import RouterService
from matte_inference.settings import InferenceSettings

log = logging.getLogger("ray.serve")


class Router:
    """Pulls jobs and hands them to model versions. Answers nothing itself but ``status``."""

    async def __init__(self) -> None:  # type: ignore[misc] # Serve awaits it, so that tasks find their loop
        settings = InferenceSettings()
        self._handles: dict[str, DeploymentHandle] = {}
        self._max_run_seconds = settings.max_run_seconds
        self._refused: str | None = None
        self._table: RouteTable | None = None
        self._service = RouterService(
            JobStore.open(settings),
            self._run,
            name=f"router-{uuid.uuid4().hex[:8]}",
            clock=time.time,
            draw=random.random,
            lease_seconds=settings.lease_seconds,
        )
        await self._service.start()

    async def reconfigure(self, user_config: dict[str, Any]) -> None:
        """Takes a new table, or keeps the old one: an exception here would end the replica."""
        try:
            table = RouteTable.model_validate(user_config)
            handles = {name: serve.get_app_handle(name) for name in _apps(table)}
            await self._service.apply(table)
        except (ValidationError, RayServeException) as error:
            self._refused = str(error)
            log.error("the route table was refused, the old one stays: %s", error)
            return
        self._handles, self._table, self._refused = handles, table, None

    async def status(self) -> dict[str, Any]:
        """The table in use, and why the last one was refused."""
        table = self._table.model_dump() if self._table else None
        return {"table": table, "refused": self._refused}

    def check_health(self) -> None:
        """Raises when a loop has ended, so that Serve starts a fresh router."""
        if not self._service.healthy():
            raise RuntimeError("a loop of the router has ended")

    async def _run(self, model: str, version: str, lease: Lease) -> None:
        spec = lease.spec.model_dump_json()
        async with asyncio.timeout(self._max_run_seconds):
            await self._handles[app_name(model, version)].run.remote(spec, lease.token)

    async def __del__(self) -> None:
        await self._service.close()


def _apps(table: RouteTable) -> list[str]:
    return [app_name(route.model, arm.version) for route in table.routes for arm in route.arms]
