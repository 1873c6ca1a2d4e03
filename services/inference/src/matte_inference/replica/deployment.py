"""A model version as a Serve replica; ``matte_inference.apps`` makes the deployment of it."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
import uuid
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import cv2
from matte_core.contracts.catalog import Replica, VersionConfig
from matte_core.contracts.job import JobSpec
from matte_core.contracts.limits import Limits
from matte_core.errors import Problem
from matte_jobs.allocator import keep_memory
from matte_jobs.catalog import CatalogStore
from matte_jobs.store import JobStore
from ray import serve

from matte_inference.families.batch import forward_safely
from matte_inference.families.registry import load
from matte_inference.replica.service import ReplicaService
from matte_inference.replica.stages import warm
from matte_inference.settings import InferenceSettings

log = logging.getLogger("ray.serve")


class ModelVersion:
    """Loads one version, warms it, announces itself, and runs the jobs that a router hands over."""

    async def __init__(self, config: dict[str, Any]) -> None:  # type: ignore[misc] # Serve awaits it
        self._settings = InferenceSettings()
        self._config = VersionConfig.model_validate(config)
        keep_memory()
        cv2.setNumThreads(1)  # a replica has the cores it was given; its neighbours have theirs
        self._segmenter = await asyncio.to_thread(load, self._config)
        await asyncio.to_thread(warm, self._segmenter)
        self._one_at_a_time = ThreadPoolExecutor(1, thread_name_prefix="forward")
        self._store = JobStore.open(self._settings)
        self._catalog = CatalogStore(self._store)
        limits = Limits(max_pixels=self._settings.max_pixels, max_bytes=self._settings.max_bytes)
        self._service = ReplicaService(
            self._store, self._config, self._segmenter, self._one, clock=time.time, limits=limits
        )
        self.forward.set_max_batch_size(self._config.max_batch_size)
        self.forward.set_batch_wait_timeout_s(self._config.batch_wait_seconds)
        self._id = uuid.uuid4().hex
        self._announcing = asyncio.create_task(self._announce(), name="announce")

    async def run(self, spec: str, token: str) -> None:
        """Runs a leased job; its outcome is in the store when this returns."""
        await self._service.run(JobSpec.model_validate_json(spec), token)

    @serve.batch(max_batch_size=8, batch_wait_timeout_s=0.0)  # type: ignore[untyped-decorator]
    async def forward(self, batch: Sequence[Any]) -> list[Any]:
        """Alphas, or a problem for the item that has one. One batch at a time holds the device."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._one_at_a_time, forward_safely, self._segmenter, batch)

    async def _one(self, prepared: Any) -> Any:
        alpha = await self.forward(prepared)
        if isinstance(alpha, Problem):
            raise alpha
        return alpha

    async def _announce(self) -> None:
        new = True
        while True:
            now = time.time()
            replica = Replica(
                id=self._id,
                model=self._config.model,
                version=self._config.version,
                family=self._config.family,
                digest=self._segmenter.digest,
                license=self._config.license,
                slots=self._config.slots,
                device=self._segmenter.device,
                expires_at=now + 3 * self._settings.announce_seconds,
            )
            try:
                await self._catalog.announce(replica, new=new)
                new = False
            except Problem as problem:
                log.warning("could not announce: %s", problem)
            await asyncio.sleep(self._settings.announce_seconds)

    def check_health(self) -> None:
        """Raises when this replica no longer announces itself, so that Serve replaces it."""
        if self._announcing.done():
            raise RuntimeError("the replica does not announce itself any more")

    async def __del__(self) -> None:
        self._announcing.cancel()
        with contextlib.suppress(Problem):
            await self._catalog.withdraw(self._id)
        self._service.close()
        await self._store.close()
