"""Downloads before a version is loaded, what is reported of them, and where they are kept."""

from __future__ import annotations

import asyncio
import queue
from pathlib import Path

import numpy as np
import pytest
from matte_core.contracts.catalog import Download, VersionConfig
from matte_inference import downloads
from matte_inference.downloads import DownloadReporter
from matte_inference.fetcher import Fetched, Fetcher, FetchError, needs_download
from matte_jobs.catalog import CatalogStore
from matte_jobs.store import JobStore
from matte_registry.progress import Progress
from matte_registry.registry import Registry
from matte_registry.settings import RegistrySettings, user_cache
from safetensors.numpy import save

HUB = "hf://o/m@" + "5" * 40


def version(source: str | None, number: str = "1.0.0") -> VersionConfig:
    return VersionConfig(model="m", version=number, family="unet", source=source)


def test_only_what_is_elsewhere_is_downloaded() -> None:
    assert [source for source in (None, "folder", "/folder", "file:///folder", "pvc://claim/m", HUB, "catalog://m@1.0.0")
            if needs_download(version(source))] == [HUB, "catalog://m@1.0.0"]  # fmt: skip


def test_the_cache_is_the_users(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    assert user_cache() == tmp_path / ".cache/matte"
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")  # to be ignored, as the specification says
    assert user_cache() == tmp_path / ".cache/matte"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert RegistrySettings().cache_dir == tmp_path / "xdg/matte"
    monkeypatch.setenv("MATTE_CACHE_DIR", str(tmp_path / "own"))
    assert RegistrySettings().cache_dir == tmp_path / "own"


async def test_a_source_that_is_away_is_tried_again_until_the_end(store: JobStore, tmp_path: Path) -> None:
    events: queue.SimpleQueue[Fetched | FetchError] = queue.SimpleQueue()
    settings = RegistrySettings(hub_url="http://127.0.0.1:1", cache_dir=tmp_path, download_attempts=1)
    fetcher = Fetcher(Registry(settings), DownloadReporter(CatalogStore(store), "default"), events.put)
    fetcher.fetch(version(HUB))
    away = await asyncio.to_thread(events.get, timeout=30)
    assert isinstance(away, FetchError)
    assert not away.final
    assert away.text.startswith("SourceUnavailable: ")
    fetcher.retry()
    await asyncio.sleep(0.5)
    assert fetcher.running()
    assert events.empty(), "the same error is told once"
    fetcher.stop()
    for _ in range(300):
        if not fetcher.running():
            break
        await asyncio.sleep(0.1)
    assert not fetcher.running()


async def test_what_trying_again_cannot_mend_ends_a_download(store: JobStore, tmp_path: Path) -> None:
    events: queue.SimpleQueue[Fetched | FetchError] = queue.SimpleQueue()
    fetcher = Fetcher(
        Registry(RegistrySettings(cache_dir=tmp_path)), DownloadReporter(CatalogStore(store), "default"), events.put
    )
    fetcher.fetch(version(f"file://{tmp_path}/none"))
    refused = await asyncio.to_thread(events.get, timeout=30)
    assert isinstance(refused, FetchError)
    assert refused.final
    (tmp_path / "m").mkdir()
    (tmp_path / "m/matte.yaml").write_text("family: unet\nlicense: Apache-2.0\n")
    (tmp_path / "m/model.safetensors").write_bytes(save({"a": np.ones(3, np.float32)}))
    fetcher.fetch(version(f"file://{tmp_path}/m"))
    found = await asyncio.to_thread(events.get, timeout=30)
    assert isinstance(found, Fetched)
    assert (found.ready.folder, found.downloaded) == (tmp_path / "m", False)


async def test_states_are_reported_repeated_and_cleared(store: JobStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(downloads, "REPORT_SECONDS", 0.02)
    monkeypatch.setattr(downloads, "REPEAT_SECONDS", 0.05)
    catalog, one = CatalogStore(store), version(HUB)
    reporter = DownloadReporter(catalog, "p")

    async def shows(expected: Download | None) -> None:
        async with asyncio.timeout(10):
            while await catalog.download("p", "m", "1.0.0") != expected:  # noqa: ASYNC110 - as others would read it
                await asyncio.sleep(0.01)

    async with reporter.running():
        reporter.on_progress(one)(Progress(3, 9))
        await shows(Download(done=3, total=9))
        await catalog.clear_download("p", "m", "1.0.0")  # as if it had been forgotten
        await shows(Download(done=3, total=9))
        reporter.fail(one, "offline")
        await shows(Download(done=3, total=9, error="offline"))
        reporter.clear(one)
        await shows(None)
        reporter.fail(one, "bad weights")
    assert await catalog.download("p", "m", "1.0.0") == Download(error="bad weights"), "the last word is reported"
