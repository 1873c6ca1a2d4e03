"""What routers and replicas report about rollouts, read from Redis; and the orders that the operator gives them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Coroutine, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, TypeVar

from matte_core.contracts.catalog import Replica
from matte_core.contracts.evidence import AppliedWeights, CheckOrder
from matte_core.errors import Problem
from matte_jobs.catalog import CatalogStore
from matte_jobs.evidence import EvidenceStore
from matte_jobs.settings import StoreSettings
from matte_jobs.store import JobStore
from redis.asyncio import BlockingConnectionPool, Redis

from matte_operator.aside import Aside
from matte_operator.asked import Asked, Question
from matte_operator.domain.rollout.evidence import ModelEvidence

log = logging.getLogger("matte.operator")

#: a pass waits so long for Redis (seconds)
SECONDS = 3.0
#: reads at once
_CONNECTIONS = 4
T = TypeVar("T")


class Reports:
    """Redis as the operator uses it: opened for a pass that needs it, never at rest.

    Args:
        aside: where it is read.
        url: redis://, rediss:// or unix://; '': there is none.
        prefix: every key begins with it.
        seconds: a pass waits so long.
    """

    def __init__(self, aside: Aside, url: str, prefix: str, seconds: float = SECONDS) -> None:
        self._aside = aside
        self._url = url
        self._prefix = prefix
        self._seconds = seconds

    def read(self, asked: Asked, now: float) -> dict[str, ModelEvidence]:
        """What is known, by model, ``now`` (Unix seconds). A model that could not be read is missing.

        Orders about versions that nobody knows any more are forgotten: a Model of the same name begins anew.
        """
        if not asked.questions or not self._url:
            return {}
        return self._wait(self._read(asked, now)) or {}

    def write(self, orders: Iterable[tuple[str, CheckOrder]], gone: Iterable[tuple[str, str, str]]) -> bool:
        """Gives the orders, by Pool, and forgets versions (Pool, model, version) that are gone.

        False where Redis did not take it: it is to be done again.
        """
        given, taken = list(orders), list(gone)
        if not given and not taken:
            return True
        return bool(self._url and self._wait(self._write(given, taken)))

    def _wait(self, work: Coroutine[Any, Any, T]) -> T | None:
        future = self._aside.start(_within(work, self._seconds))
        try:
            return future.result(self._seconds + 1)
        except Problem as error:
            log.warning("evidence of rollouts: %s", error.detail)
        except TimeoutError:
            future.cancel()
            log.warning("evidence of rollouts: Redis did not answer within %g s", self._seconds)
        except ValueError as error:
            log.warning("evidence of rollouts: it was written by another release: %s", error)
        return None

    async def _write(self, orders: list[tuple[str, CheckOrder]], gone: list[tuple[str, str, str]]) -> bool:
        async with self._store() as store:
            evidence = EvidenceStore(store)
            for pool, model, version in gone:
                await evidence.delete_version(pool, model, version)
            for pool, order in orders:
                await evidence.order_check(pool, order)
        return True

    async def _read(self, asked: Asked, now: float) -> dict[str, ModelEvidence]:
        questions = asked.questions
        pools = sorted({pool for question in questions for pool in (question.pool, *question.pools.values())})
        async with self._store() as store:
            evidence = EvidenceStore(store)
            await asyncio.gather(*(_forget(evidence, pool, asked.known) for pool in pools))
            replicas = tuple(await CatalogStore(store).replicas(now))
            applied = await asyncio.gather(*(evidence.applied_weights(pool, now) for pool in pools))
            shared = _Shared(replicas, {pool: tuple(one) for pool, one in zip(pools, applied, strict=True)})
            found = await asyncio.gather(*(_model(evidence, question, shared) for question in questions))
        return {question.model: one for question, one in zip(questions, found, strict=True)}

    @asynccontextmanager
    async def _store(self) -> AsyncIterator[JobStore]:
        pool = BlockingConnectionPool.from_url(
            self._url,
            max_connections=_CONNECTIONS,
            timeout=self._seconds,
            socket_connect_timeout=self._seconds,
            socket_timeout=self._seconds,
        )
        settings = StoreSettings(redis_url=self._url, redis_prefix=self._prefix, blob_url="")
        store = JobStore(Redis.from_pool(pool), settings)
        try:
            yield store
        finally:
            await store.close()


@dataclass(frozen=True, slots=True)
class _Shared:
    """What all models of a pass share."""

    replicas: tuple[Replica, ...]
    applied: Mapping[str, tuple[AppliedWeights, ...]]


async def _within(work: Coroutine[Any, Any, T], seconds: float) -> T:
    async with asyncio.timeout(seconds):
        return await work


async def _forget(evidence: EvidenceStore, pool: str, known: frozenset[tuple[str, str]]) -> None:
    for order in await evidence.check_orders(pool):
        if (order.model, order.version) not in known:
            await evidence.delete_version(pool, order.model, order.version)


async def _model(evidence: EvidenceStore, question: Question, shared: _Shared) -> ModelEvidence:
    model = question.model
    live = [replica for replica in shared.replicas if replica.model == model]
    checks, starts = {}, {}
    for version, pool in sorted(question.pools.items()):
        ids = {replica.id for replica in live if replica.version == version}
        starts[version] = tuple(start for start in await evidence.start_reports(model, version) if start.replica in ids)
        if report := await evidence.check_report(pool, model, version):
            checks[version] = report
    found = ModelEvidence(
        applied=tuple(one for pool in sorted(set(question.pools.values())) for one in shared.applied[pool]),
        checks=checks,
        starts=starts,
        replicas={version: sum(replica.version == version for replica in live) for version in question.pools},
    )
    return await _measured(evidence, question, found) if question.since else found


async def _measured(evidence: EvidenceStore, question: Question, found: ModelEvidence) -> ModelEvidence:
    since = datetime.fromisoformat(question.since).timestamp()
    answers = {
        version: tuple(await evidence.answers(question.model, version, since)) for version in sorted(question.pools)
    }
    pairs = await evidence.pairs(question.model, question.canary, since) if question.canary else ()
    return replace(found, since=question.since, answers=answers, pairs=tuple(pairs))
