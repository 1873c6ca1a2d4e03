"""A model version as a Serve deployment: makes a replica's parts, and passes Serve's calls on to them."""

from __future__ import annotations

import asyncio
import time
import uuid
from typing import Any

import cv2
from matte_core.allocator import keep_freed_memory
from matte_core.contracts.catalog import VersionConfig
from matte_core.contracts.job import JobSpec, Limits
from matte_jobs.catalog import CatalogStore
from matte_jobs.evidence import EvidenceStore
from matte_jobs.store import JobStore, instance_member
from matte_telemetry import logs, tracing
from matte_telemetry.metrics import Instruments

from matte_inference.downloads import DownloadReporter
from matte_inference.families.base import Segmenter, on_download
from matte_inference.families.registry import load
from matte_inference.loopback import keep_serve_on_loopback
from matte_inference.replica.announcer import Announcer
from matte_inference.replica.forwarder import Forwarder
from matte_inference.replica.golden import GoldenImages, built_in_images
from matte_inference.replica.service import ReplicaService
from matte_inference.replica.stages import warm_up
from matte_inference.router.route_plan import DispatchOptions
from matte_inference.settings import InferenceSettings
from matte_inference.telemetry import VERSION, RayMeter


async def load_and_report(version: VersionConfig, reporter: DownloadReporter) -> Segmenter:
    """The loaded version, warm; its download, or the error that this raises, is reported in the catalog."""
    async with reporter.running():
        on_download.set(reporter.on_progress(version))
        try:
            segmenter = await asyncio.to_thread(load, version)
            if not segmenter.remote:
                await asyncio.to_thread(warm_up, segmenter)
        except Exception as error:
            reporter.fail(version, str(error) or type(error).__name__)
            raise
        return segmenter


class ModelVersion:
    """Loads one version, warms it up, announces itself, and runs the jobs that routers dispatch."""

    async def __init__(self, config: dict[str, Any]) -> None:  # type: ignore[misc] # Serve awaits it
        keep_serve_on_loopback()
        settings = InferenceSettings()
        version = VersionConfig.model_validate(config)
        replica_id = instance_member(settings.instance, uuid.uuid4().hex)
        logs.set_up(settings.log_level)
        meter = RayMeter()
        tracer, self._shut_down_tracing = tracing.set_up("matte-replica", version=VERSION, instance=replica_id)
        keep_freed_memory()
        cv2.setNumThreads(1)  # a replica has the cores it was given; its neighbors have theirs
        self._store = JobStore.open(settings)
        catalog = CatalogStore(self._store)
        segmenter = await load_and_report(version, DownloadReporter(catalog, settings.pool))
        limits = Limits(max_pixels=settings.max_pixels, max_bytes=settings.max_bytes)
        forwarder = Forwarder(segmenter, version, meter, lambda: self._announcer.pause())  # noqa: PLW0108 - it is made below
        self._service = ReplicaService(
            self._store, version, segmenter, forwarder, clock=time.time, limits=limits,
            instruments=Instruments(meter, tracer),
        )  # fmt: skip
        golden = GoldenImages(
            EvidenceStore(self._store), version, segmenter, forwarder, limits=limits, images=built_in_images()
        )
        if not segmenter.remote:
            await golden.compute()
        self._announcer = Announcer(replica_id, catalog, version, segmenter, self._service, golden, settings)

    async def run(self, spec: str, token: str, *options: Any) -> None:
        """Runs a leased job; its outcome is stored when this returns. ``options``: of :class:`DispatchOptions`."""
        await self._service.run(JobSpec.model_validate_json(spec), token, DispatchOptions(*options))

    async def mirror(self, spec: str, stable: str) -> None:
        """Computes a job that ``stable`` answers, for its mask alone."""
        await self._service.mirror(JobSpec.model_validate_json(spec), stable)

    def check_health(self) -> None:
        """Raises if this replica no longer announces itself, so that Serve replaces it."""
        if not self._announcer.healthy():
            raise RuntimeError("the replica does not announce itself any more")

    async def __del__(self) -> None:
        await self._announcer.close()
        await self._service.close()
        await self._store.close()
        await asyncio.to_thread(self._shut_down_tracing)
