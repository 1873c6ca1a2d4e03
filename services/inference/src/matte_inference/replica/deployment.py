"""A model version as a Serve replica; ``matte_inference.apps`` makes the deployment of it."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import time
import uuid
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import cv2
from matte_core.allocator import keep_freed_memory
from matte_core.contracts.catalog import Replica, VersionConfig
from matte_core.contracts.job import JobSpec
from matte_core.contracts.limits import Limits
from matte_core.errors import Problem
from matte_jobs.catalog import CatalogStore
from matte_jobs.evidence import EvidenceStore
from matte_jobs.instances import named
from matte_jobs.store import JobStore
from matte_telemetry import logs, names, tracing
from matte_telemetry.instruments import Instruments

from matte_inference.families.batch import forward_safely
from matte_inference.families.registry import load
from matte_inference.loopback import keep_serve_on_loopback
from matte_inference.memory import held_bytes, outgrown
from matte_inference.replica.batcher import Batcher
from matte_inference.replica.course import Forwarded, Item, forwarded, on_thread
from matte_inference.replica.golden import Golden, built_in
from matte_inference.replica.handling import Handling
from matte_inference.replica.service import ReplicaService
from matte_inference.replica.stages import warm
from matte_inference.settings import InferenceSettings
from matte_inference.telemetry import VERSION, RayMeter

log = logging.getLogger("matte.replica")

#: a router looks for replicas once a second: after this many it knows that one has withdrawn
ROUTER_KNOWS_SECONDS = 2.0
#: exit status of a replica that held too much memory
OUTGROWN = 76


class ModelVersion:
    """Loads one version, warms it, announces itself, and runs the jobs that a router hands over."""

    async def __init__(self, config: dict[str, Any]) -> None:  # type: ignore[misc] # Serve awaits it
        keep_serve_on_loopback()
        self._settings = InferenceSettings()
        self._config = VersionConfig.model_validate(config)
        self._id = named(self._settings.instance, uuid.uuid4().hex)
        logs.set_up(self._settings.log_level)
        self._meter = RayMeter()
        tracer, self._shut_down_tracing = tracing.set_up("matte-replica", version=VERSION, instance=self._id)
        keep_freed_memory()
        cv2.setNumThreads(1)  # a replica has the cores it was given; its neighbors have theirs
        self._segmenter = await asyncio.to_thread(load, self._config)
        if not self._segmenter.remote:
            await asyncio.to_thread(warm, self._segmenter)
        at_once = self._config.slots if self._segmenter.remote else 1
        self._forwards = ThreadPoolExecutor(at_once, thread_name_prefix="forward")
        # a backend is asked for each picture on its own, as many at once as it has slots
        most = 1 if self._segmenter.remote else self._config.max_batch_size
        self._forward: Callable[[Item], Awaitable[Forwarded]] = (
            self._alone
            if most == 1
            else Batcher(self._through, most=most, wait_seconds=self._config.batch_wait_seconds)
        )
        self._store = JobStore.open(self._settings)
        self._catalog = CatalogStore(self._store)
        limits = Limits(max_pixels=self._settings.max_pixels, max_bytes=self._settings.max_bytes)
        self._service = ReplicaService(
            self._store, self._config, self._segmenter, self._one, clock=time.time, limits=limits,
            instruments=Instruments(self._meter, tracer),
        )  # fmt: skip
        self._golden = Golden(
            EvidenceStore(self._store), self._config, self._segmenter, self._alone, limits=limits, pictures=built_in()
        )
        self._reported = False
        if not self._segmenter.remote:
            await self._golden.answer()
        self._announced = False
        self._losses = 0
        self._running = 0
        self._held_at_start = held_bytes()
        self._announcing = asyncio.create_task(self._announce(), name="announce")

    async def run(self, spec: str, token: str, *handling: Any) -> None:
        """Runs a leased job; its outcome is in the store when this returns. ``handling``: of a :class:`Handling`."""
        self._running += 1
        try:
            await self._service.run(JobSpec.model_validate_json(spec), token, Handling(*handling))
        finally:
            self._running -= 1

    async def mirror(self, spec: str, stable: str) -> None:
        """Computes a job that ``stable`` answers; nobody sees the result."""
        await self._service.mirror(JobSpec.model_validate_json(spec), stable)

    async def _through(self, batch: list[Item]) -> list[Forwarded]:
        """Alphas, or a problem for the item that has one."""
        loop = asyncio.get_running_loop()
        prepared = [item.prepared for item in batch]
        outcomes, cpu = await loop.run_in_executor(self._forwards, on_thread, forward_safely, self._segmenter, prepared)
        self._meter.observe(names.BATCH_SIZE, len(batch), self._config.model, self._config.version)
        return forwarded(batch, outcomes, cpu)

    async def _one(self, item: Item) -> Forwarded:
        """One picture's alpha, or its problem."""
        done = await self._forward(item)
        if isinstance(done.outcome, Problem) and done.outcome.code == "backend_unavailable":
            await self._step_back()
        return done

    async def _alone(self, item: Item) -> Forwarded:
        return (await self._through([item]))[0]

    async def _step_back(self) -> None:
        """Takes no more jobs until the backend answers, so that the one that goes back waits for it in the queue."""
        self._announced = False
        self._losses += 1
        await self._catalog.withdraw_replica(self._id)
        await asyncio.sleep(ROUTER_KNOWS_SECONDS)

    async def _announce(self) -> None:
        while True:
            try:
                most = self._settings.replica_max_memory_bytes
                if outgrown(held_bytes(), at_start=self._held_at_start, most=most):
                    await self._leave()
                losses = self._losses
                if await asyncio.to_thread(self._segmenter.available):
                    if losses != self._losses:
                        continue  # it was lost while it was asked: ask again
                    await self._report()
                    await self._catalog.announce_replica(self._replica(), new=not self._announced)
                    self._announced = True
                elif self._announced:
                    await self._catalog.withdraw_replica(self._id)
                    self._announced = False
            except Problem as problem:
                log.warning("could not announce: %s", problem)
            await asyncio.sleep(self._settings.announce_seconds)

    async def _leave(self) -> None:
        """Ends this process once it has answered what it runs; Serve starts another one in its place."""
        log.warning(
            "replica of %s: it holds %d MB of memory and the bound is %d MB, so it finishes its jobs and is replaced",
            self._config.app, held_bytes() // 10**6, self._settings.replica_max_memory_bytes // 10**6,
        )  # fmt: skip
        await self._catalog.withdraw_replica(self._id)
        await asyncio.sleep(ROUTER_KNOWS_SECONDS)
        while self._running:  # noqa: ASYNC110 - once in a replica's life
            await asyncio.sleep(0.1)
        os._exit(OUTGROWN)

    async def _report(self) -> None:
        """That it has started, once; a backend is asked for the golden images as soon as it is there."""
        if self._reported:
            return
        if self._segmenter.remote:
            await self._golden.answer()
        await self._golden.report(self._id, time.time())
        self._reported = True

    def _replica(self) -> Replica:
        return Replica(
            id=self._id,
            model=self._config.model,
            version=self._config.version,
            pool=self._settings.pool,
            family=self._config.family,
            digest=self._segmenter.digest,
            license=self._config.license,
            slots=self._config.slots,
            device=self._segmenter.device,
            expires_at=time.time() + 3 * self._settings.announce_seconds,
        )

    def check_health(self) -> None:
        """Raises when this replica no longer announces itself, so that Serve replaces it."""
        if self._announcing.done():
            raise RuntimeError("the replica does not announce itself any more")

    async def __del__(self) -> None:
        self._announcing.cancel()
        with contextlib.suppress(Problem):
            await self._catalog.withdraw_replica(self._id)
        await self._service.close()
        await self._store.close()
        await asyncio.to_thread(self._shut_down_tracing)
