"""A replica's place in the catalog, from which routers learn that it takes jobs."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import time
from dataclasses import dataclass

from matte_core.contracts.catalog import Replica, VersionConfig
from matte_core.errors import Problem
from matte_jobs.catalog import CatalogStore

from matte_inference.families.base import Segmenter
from matte_inference.memory import exceeds_bound, resident_bytes
from matte_inference.replica.golden import GoldenImages
from matte_inference.replica.service import ReplicaService
from matte_inference.settings import InferenceSettings

log = logging.getLogger("matte.replica")

#: routers read the catalog once a second: after so many seconds they know that a replica has withdrawn
ROUTER_REFRESH_SECONDS = 2.0
#: exit status of a replica that holds too much memory
EXIT_OUT_OF_MEMORY = 76


@dataclass(eq=False)
class Announcer:
    """Announces the replica ``id`` from its creation until :meth:`close`, while its segmenter is available."""

    id: str
    catalog: CatalogStore
    config: VersionConfig
    segmenter: Segmenter
    service: ReplicaService
    golden: GoldenImages
    settings: InferenceSettings

    def __post_init__(self) -> None:
        self._initial_bytes = resident_bytes()
        self._announced = False
        self._reported = False
        self._pauses = 0
        self._task = asyncio.create_task(self._run(), name="announce")

    def healthy(self) -> bool:
        return not self._task.done()

    async def pause(self) -> None:
        """Takes no more jobs until the segmenter is available again, so that a job that is returned to the queue waits
        there; returns when the routers know.
        """
        self._announced = False
        self._pauses += 1
        await self.catalog.withdraw_replica(self.id)
        await asyncio.sleep(ROUTER_REFRESH_SECONDS)

    async def close(self) -> None:
        self._task.cancel()
        with contextlib.suppress(Problem):
            await self.catalog.withdraw_replica(self.id)

    async def _run(self) -> None:
        while True:
            try:
                bound = self.settings.replica_max_memory_bytes
                if exceeds_bound(resident_bytes(), initial=self._initial_bytes, bound=bound):
                    await self._drain_and_exit()
                pauses = self._pauses
                if await asyncio.to_thread(self.segmenter.available):
                    if pauses != self._pauses:
                        continue  # the backend was lost during the call
                    await self._announce()
                elif self._announced:
                    await self.catalog.withdraw_replica(self.id)
                    self._announced = False
            except Problem as problem:
                log.warning("could not announce: %s", problem)
            await asyncio.sleep(self.settings.announce_seconds)

    async def _drain_and_exit(self) -> None:
        """Finishes the running jobs and ends this process; Serve starts a new replica."""
        log.warning(
            "replica of %s: it holds %d MB of memory and the bound is %d MB, so it finishes its jobs and is replaced",
            self.config.app, resident_bytes() // 10**6, self.settings.replica_max_memory_bytes // 10**6,
        )  # fmt: skip
        await self.catalog.withdraw_replica(self.id)
        await asyncio.sleep(ROUTER_REFRESH_SECONDS)
        while self.service.running:  # noqa: ASYNC110 - once in a replica's life
            await asyncio.sleep(0.1)
        os._exit(EXIT_OUT_OF_MEMORY)

    async def _announce(self) -> None:
        if not self._reported:
            if self.segmenter.remote:  # as soon as its backend is there
                await self.golden.compute()
            await self.golden.report(self.id, time.time())
            self._reported = True
        config, settings, segmenter = self.config, self.settings, self.segmenter
        replica = Replica(
            id=self.id, model=config.model, version=config.version, pool=settings.pool, family=config.family,
            digest=segmenter.digest, license=config.license, slots=config.slots, device=segmenter.device,
            expires_at=time.time() + 3 * settings.announce_seconds,
        )  # fmt: skip
        await self.catalog.announce_replica(replica, new=not self._announced)
        self._announced = True
