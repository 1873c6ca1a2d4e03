"""Reports in the catalog how far versions are that are not ready yet, and why they cannot be loaded."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
import time
from collections.abc import AsyncIterator

from matte_core.contracts.catalog import Download, VersionConfig
from matte_core.errors import Problem
from matte_jobs.catalog import DOWNLOAD_FORGET_SECONDS, CatalogStore
from matte_jobs.settings import StoreSettings
from matte_jobs.store import JobStore
from matte_registry.progress import OnProgress, Progress

log = logging.getLogger("matte.downloads")

#: between two reports of a download that moves
REPORT_SECONDS = 0.5
#: between two reports of the same state, so that it is not forgotten
REPEAT_SECONDS = DOWNLOAD_FORGET_SECONDS / 3

Key = tuple[str, str]


class DownloadReporter:
    """The state of the versions that this process loads. Any thread may change it; :meth:`running` reports it."""

    def __init__(self, catalog: CatalogStore, pool: str) -> None:
        self._catalog = catalog
        self._pool = pool
        self._states: dict[Key, Download] = {}
        self._reported: dict[Key, tuple[Download, float]] = {}

    def on_progress(self, version: VersionConfig) -> OnProgress:
        """For the download of ``version``."""

        def report(progress: Progress) -> None:
            self._states[_key(version)] = Download(done=progress.done, total=progress.total)

        return report

    def fail(self, version: VersionConfig, error: str) -> None:
        """The version cannot be loaded, for now or for good; ``error`` says why, and what to do."""
        last = self._states.get(_key(version), Download())
        self._states[_key(version)] = last.model_copy(update={"error": error})

    def clear(self, version: VersionConfig) -> None:
        """The version is ready."""
        self._states.pop(_key(version), None)

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Reports within, and once more at the end."""
        task = asyncio.create_task(self._repeat(), name="downloads")
        try:
            yield
        finally:
            task.cancel()
            with contextlib.suppress(Problem):
                await self._report()

    async def _repeat(self) -> None:
        while True:
            try:
                await self._report()
            except Problem as problem:
                log.warning("downloads: %s", problem)
            await asyncio.sleep(REPORT_SECONDS)

    async def _report(self) -> None:
        states, now = dict(self._states), time.monotonic()
        for key, state in states.items():
            last, at = self._reported.get(key, (None, 0.0))
            if state != last or now - at >= REPEAT_SECONDS:
                await self._catalog.report_download(self._pool, *key, state)
                self._reported[key] = (state, now)
        for key in self._reported.keys() - states.keys():
            await self._catalog.clear_download(self._pool, *key)
            del self._reported[key]


class BackgroundReporter:
    """A :class:`DownloadReporter` for a process without an event loop: it reports from a thread, once started."""

    def __init__(self, settings: StoreSettings, pool: str) -> None:
        self._store = JobStore.open(settings)
        self.downloads = DownloadReporter(CatalogStore(self._store), pool)
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=asyncio.run, args=[self._run()], name="downloads", daemon=True)
            self._thread.start()

    async def _run(self) -> None:
        async with self.downloads.running():
            await asyncio.Event().wait()


def _key(version: VersionConfig) -> Key:
    return version.model, version.version
