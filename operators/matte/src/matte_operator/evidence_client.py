"""Reads from Redis what routers and replicas report about rollouts, and writes the check orders for routers."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Coroutine, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any, TypeVar

from matte_core.contracts.catalog import Replica
from matte_core.contracts.evidence import AppliedWeights, CheckOrder
from matte_core.errors import Problem
from matte_jobs.catalog import CatalogStore
from matte_jobs.client import RedisClient
from matte_jobs.evidence import EvidenceStore
from matte_jobs.settings import StoreSettings
from matte_jobs.store import JobStore
from redis.asyncio import BlockingConnectionPool

from matte_operator.background_loop import BackgroundLoop
from matte_operator.domain.rollout.observation import ModelEvidence
from matte_operator.required_evidence import ModelQuery, RequiredEvidence

log = logging.getLogger("matte.operator")

#: a pass waits this long for Redis
TIMEOUT_SECONDS = 3.0
_MAX_CONNECTIONS = 4
T = TypeVar("T")


class EvidenceClient:
    """Connects to Redis only for a pass that needs it, never at rest.

    ``url`` is redis://, rediss:// or unix://, or '' where there is no Redis; ``timeout`` is in seconds.
    """

    def __init__(self, background: BackgroundLoop, url: str, prefix: str, timeout: float = TIMEOUT_SECONDS) -> None:
        self._background = background
        self._url = url
        self._prefix = prefix
        self._timeout = timeout

    def read(self, required: RequiredEvidence, now: float) -> dict[str, ModelEvidence]:
        """The evidence by Model, at ``now`` (Unix seconds); empty where Redis is away.

        Orders about versions that no longer exist are deleted, so that a Model of the same name starts anew.
        """
        if not required.models or not self._url:
            return {}
        return self._run(self._read(required, now)) or {}

    def write(self, orders: Sequence[tuple[str, CheckOrder]], gone: Sequence[tuple[str, str, str]]) -> bool:
        """Writes the orders, each with its Pool, and forgets versions that are gone (Pool, model, version).

        False where Redis did not take it: it is to be repeated.
        """
        if not orders and not gone:
            return True
        return bool(self._url and self._run(self._write(orders, gone)))

    def _run(self, work: Coroutine[Any, Any, T]) -> T | None:
        """None where Redis is away or holds what this release cannot read."""
        future = self._background.start(asyncio.wait_for(work, self._timeout))
        try:
            return future.result(self._timeout + 1)
        except Problem as error:
            log.warning("evidence of rollouts: %s", error.detail)
        except TimeoutError:
            future.cancel()
            log.warning("evidence of rollouts: Redis did not answer within %g s", self._timeout)
        except ValueError as error:
            log.warning("evidence of rollouts: another release wrote it: %s", error)
        return None

    async def _write(self, orders: Sequence[tuple[str, CheckOrder]], gone: Sequence[tuple[str, str, str]]) -> bool:
        async with self._store() as store:
            evidence = EvidenceStore(store)
            for pool, model, version in gone:
                await evidence.delete_version(pool, model, version)
            for pool, order in orders:
                await evidence.order_check(pool, order)
        return True

    async def _read(self, required: RequiredEvidence, now: float) -> dict[str, ModelEvidence]:
        pools = sorted({pool for query in required.models for pool in (query.pool, *query.pools.values())})
        async with self._store() as store:
            evidence = EvidenceStore(store)
            for pool in pools:
                for order in await evidence.check_orders(pool):
                    if (order.model, order.version) not in required.known_versions:
                        await evidence.delete_version(pool, order.model, order.version)
            catalog = CatalogStore(store)
            replicas = await catalog.replicas(now)
            applied = {pool: tuple(await evidence.applied_weights(pool, now)) for pool in pools}
            reads = (_read_model(evidence, catalog, query, replicas, applied) for query in required.models)
            return {
                query.model: model for query, model in zip(required.models, await asyncio.gather(*reads), strict=True)
            }

    @asynccontextmanager
    async def _store(self) -> AsyncIterator[JobStore]:
        pool = BlockingConnectionPool.from_url(
            self._url,
            max_connections=_MAX_CONNECTIONS,
            timeout=self._timeout,
            socket_connect_timeout=self._timeout,
            socket_timeout=self._timeout,
        )
        settings = StoreSettings(redis_url=self._url, redis_prefix=self._prefix, blob_url="")
        store = JobStore(RedisClient(connection_pool=pool), settings)
        try:
            yield store
        finally:
            await store.close()


async def _read_model(
    evidence: EvidenceStore,
    catalog: CatalogStore,
    query: ModelQuery,
    replicas: Sequence[Replica],
    applied: Mapping[str, tuple[AppliedWeights, ...]],
) -> ModelEvidence:
    model = query.model
    living = [replica for replica in replicas if replica.model == model]
    checks, downloads, starts = {}, {}, {}
    for version, pool in sorted(query.pools.items()):
        ids = {replica.id for replica in living if replica.version == version}
        starts[version] = tuple(start for start in await evidence.start_reports(model, version) if start.replica in ids)
        if report := await evidence.check_report(pool, model, version):
            checks[version] = report
        if download := await catalog.download(pool, model, version):
            downloads[version] = download
    answers, pairs = {}, []
    if query.since:
        since = datetime.fromisoformat(query.since).timestamp()
        answers = {version: tuple(await evidence.answers(model, version, since)) for version in sorted(query.pools)}
        pairs = list(await evidence.pairs(model, query.canary, since)) if query.canary else []
    return ModelEvidence(
        applied=tuple(one for pool in sorted(set(query.pools.values())) for one in applied[pool]),
        checks=checks,
        downloads=downloads,
        starts=starts,
        replicas={version: sum(replica.version == version for replica in living) for version in query.pools},
        since=query.since,
        answers=answers,
        pairs=tuple(pairs),
    )
