"""Fixtures for every test: a real Redis, one per session, and a store with a prefix of its own per test."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Iterator

import pytest
from matte_jobs.embedded import EmbeddedRedis
from matte_jobs.settings import StoreSettings
from matte_jobs.store import JobStore


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedRedis]:
    server = EmbeddedRedis(tmp_path_factory.mktemp("redis"))
    server.start()
    yield server
    server.stop()


@pytest.fixture
def store_settings(redis_server: EmbeddedRedis) -> StoreSettings:
    return StoreSettings(redis_url=redis_server.url, redis_prefix=f"t{uuid.uuid4().hex[:8]}:")


@pytest.fixture
async def store(store_settings: StoreSettings) -> AsyncIterator[JobStore]:
    opened = JobStore.open(store_settings)
    yield opened
    await opened.close()
