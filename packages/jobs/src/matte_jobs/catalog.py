"""What is live: replicas and routers announce themselves, routers publish their pool's table, frontends read all."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from functools import lru_cache

from matte_core.contracts.catalog import Arm, Catalog, Download, ModelView, Replica, Route, RouteTable, VersionView
from matte_core.domain.eta import Cost, fit
from matte_core.errors import Problem

from matte_jobs.store import JobStore

log = logging.getLogger("matte.catalog")

#: a replica, or a pool whose routers are all silent, is forgotten after so long; until then its models are asleep, not
#: unknown
FORGET_SECONDS = 86400.0
#: a download whose process no longer reports it is forgotten after so long
DOWNLOAD_FORGET_SECONDS = 60
#: the error of a process that ended with it: the next one may take a while to start
FAILURE_FORGET_SECONDS = 900


class CatalogStore:
    """Replicas, routers and the pools' route tables in Redis. Times are Unix seconds."""

    def __init__(self, store: JobStore) -> None:
        self._redis = store.redis
        self._keys = store.keys
        self._conflicts: frozenset[str] = frozenset()

    async def announce_replica(self, replica: Replica, *, new: bool) -> None:
        """Says that a replica lives until ``replica.expires_at``. A new one wakes the routers, and what was reported of
        its version's download is over.
        """
        async with self._redis.pipeline(transaction=True) as pipe:
            pipe.hset(self._keys.replicas(), replica.id, replica.model_dump_json())
            if new:
                pipe.delete(self._keys.download(replica.pool, replica.model, replica.version))
                pipe.publish(self._keys.wakeup_channel(), "")
            await pipe.execute()

    async def withdraw_replica(self, replica_id: str) -> None:
        await self._redis.hdel(self._keys.replicas(), replica_id)

    async def replicas(self, now: float) -> list[Replica]:
        """The live replicas; those silent for a day are forgotten."""
        announced = await self._redis.hgetall(self._keys.replicas())
        replicas = [Replica.model_validate_json(text) for text in announced.values()]
        for replica in replicas:
            if replica.expires_at < now - FORGET_SECONDS:
                await self.withdraw_replica(replica.id)
        return [replica for replica in replicas if replica.expires_at > now]

    async def announce_router(self, pool: str, name: str, *, expires_at: float, now: float) -> int:
        """Says that a router lives; returns how many do in its pool."""
        key = self._keys.routers(pool)
        async with self._redis.pipeline(transaction=True) as pipe:
            pipe.zadd(key, {name: expires_at})
            pipe.zremrangebyscore(key, "-inf", now)
            pipe.zcard(key)
            return int((await pipe.execute())[-1])

    async def withdraw_router(self, pool: str, name: str) -> None:
        """Its pool's table stays: another router, or the next one, answers for it."""
        await self._redis.zrem(self._keys.routers(pool), name)

    async def publish(self, pool: str, table: RouteTable, now: float) -> None:
        """Writes the table that the pool's routers use now; an empty one takes its models away."""
        async with self._redis.pipeline(transaction=True) as pipe:
            pipe.hset(self._keys.route_tables(), pool, table.model_dump_json())
            pipe.zadd(self._keys.pools(), {pool: now + FORGET_SECONDS})
            await pipe.execute()

    async def refresh(self, pool: str, table: RouteTable, now: float) -> None:
        """Says that the pool lives. Its table is only put back where it was lost: another router may be ahead."""
        async with self._redis.pipeline(transaction=True) as pipe:
            pipe.hsetnx(self._keys.route_tables(), pool, table.model_dump_json())
            pipe.zadd(self._keys.pools(), {pool: now + FORGET_SECONDS})
            await pipe.execute()

    async def delete_pool(self, pool: str) -> None:
        async with self._redis.pipeline(transaction=True) as pipe:
            pipe.hdel(self._keys.route_tables(), pool)
            pipe.zrem(self._keys.pools(), pool)
            await pipe.execute()

    async def route_tables(self, now: float) -> dict[str, RouteTable]:
        """The table of every pool whose routers lived within a day, by the pool's name; older ones are forgotten."""
        async with self._redis.pipeline(transaction=True) as pipe:
            pipe.hgetall(self._keys.route_tables())
            pipe.zrangebyscore(self._keys.pools(), f"({now}", "+inf")
            tables, live = await pipe.execute()
        for pool in tables.keys() - set(live):
            await self.delete_pool(pool.decode())
        return {pool.decode(): RouteTable.model_validate_json(tables[pool]) for pool in sorted(live) if pool in tables}

    async def report_download(self, pool: str, model: str, version: str, download: Download) -> None:
        """Says how far a version is; to be repeated within ``DOWNLOAD_FORGET_SECONDS``, unless it is an error."""
        expires = FAILURE_FORGET_SECONDS if download.error else DOWNLOAD_FORGET_SECONDS
        await self._redis.set(self._keys.download(pool, model, version), download.model_dump_json(), ex=expires)

    async def clear_download(self, pool: str, model: str, version: str) -> None:
        await self._redis.delete(self._keys.download(pool, model, version))

    async def download(self, pool: str, model: str, version: str) -> Download | None:
        """What was reported last; None if nothing is being downloaded, and nothing failed."""
        return _download(await self._redis.get(self._keys.download(pool, model, version)))

    async def routes_and_catalog(self, now: float) -> tuple[RouteTable, Catalog]:
        """Models with their versions, weights and readiness, and the routes that this was made from.

        Raises model_not_ready before any router published a table.
        """
        tables = await self.route_tables(now)
        if not tables:
            raise Problem("model_not_ready", "Inference has not started yet.", retry_after=5)
        table, conflicts = merge(tables)
        if conflicts - self._conflicts:
            log.error("in more than one pool, the first by name has them: %s", ", ".join(sorted(conflicts)))
        self._conflicts = conflicts

        replicas = await self.replicas(now)
        async with self._redis.pipeline(transaction=False) as pipe:
            for pool in tables:
                pipe.zcount(self._keys.routers(pool), f"({now}", "+inf")
            routers = await pipe.execute()
        routed = [pool_table for pool_table, count in zip(tables.values(), routers, strict=True) if count]
        served = {route.model for pool_table in routed for route in pool_table.routes}
        pools = {route.model: pool for pool in sorted(tables, reverse=True) for route in tables[pool].routes}
        models = [
            await self._model(
                route, pools[route.model], replicas, served=route.model in served, default=table.default_model
            )
            for route in table.routes
        ]
        catalog = Catalog(
            default_model=table.default_model,
            pending_default_model=table.pending_default_model,
            models=tuple(models),
        )
        return table, catalog

    async def _model(
        self, route: Route, pool: str, replicas: Sequence[Replica], *, served: bool, default: str | None
    ) -> ModelView:
        async with self._redis.pipeline(transaction=False) as pipe:
            for arm in route.arms:
                pipe.hgetall(self._keys.samples(route.model, arm.version))
            pipe.mget([self._keys.download(pool, route.model, arm.version) for arm in route.arms])
            for version in ("", *(arm.version for arm in route.arms)):
                pipe.zcard(self._keys.subqueue(route.model, version))
            replies = await pipe.execute()
        samples, downloads, lengths = (
            replies[: len(route.arms)],
            replies[len(route.arms)],
            replies[len(route.arms) + 1 :],
        )
        live = [replica for replica in replicas if replica.model == route.model]
        versions = tuple(
            _version_view(
                arm,
                [r for r in live if r.version == arm.version],
                _fit(tuple(sorted(by_size.values()))),
                _download(download),
            )
            for arm, by_size, download in zip(route.arms, samples, downloads, strict=True)
        )
        return ModelView(
            name=route.model,
            default=route.model == default,
            ready=served and any(version.ready and version.weight for version in versions),
            served=served,
            queue_length=sum(lengths),
            versions=versions,
        )


def merge(tables: Mapping[str, RouteTable]) -> tuple[RouteTable, frozenset[str]]:
    """All pools' routes as one table, and the models that more than one pool has.

    The pool whose name sorts first wins such a model. The default is that of the first table that names one.
    """
    routes: dict[str, Route] = {}
    conflicts: set[str] = set()
    ordered = [tables[pool] for pool in sorted(tables)]
    for route in (route for table in ordered for route in table.routes):
        if routes.setdefault(route.model, route) is not route:
            conflicts.add(route.model)
    first = next((table for table in ordered if table.default_model is not None), RouteTable())
    merged = RouteTable(
        default_model=first.default_model,
        pending_default_model=first.pending_default_model,
        routes=tuple(routes.values()),
    )
    return merged, frozenset(conflicts)


def _download(text: bytes | None) -> Download | None:
    return None if text is None else Download.model_validate_json(text)


def _version_view(arm: Arm, live: Sequence[Replica], cost: Cost | None, download: Download | None) -> VersionView:
    first = live[0] if live else None
    return VersionView(
        version=arm.version,
        weight=arm.weight,
        ready=bool(live),
        replicas=len(live),
        slots=sum(replica.slots for replica in live),
        family=first.family if first else None,
        digest=first.digest if first else None,
        license=first.license if first else None,
        device=first.device if first else None,
        seconds_per_picture=round(cost.fixed, 4) if cost else None,
        seconds_per_megapixel=round(cost.per_megapixel, 4) if cost else None,
        most_seconds_per_megapixel=(
            round(cost.max_per_megapixel, 4) if cost and math.isfinite(cost.max_per_megapixel) else None
        ),
        download=download,
    )


@lru_cache(maxsize=256)  # most versions' samples are the same as a second ago
def _fit(samples_by_size: tuple[bytes, ...]) -> Cost | None:
    """What a version's jobs cost, from texts 'megapixels:seconds …'; None before the first one."""
    pairs = [sample.split(b":") for text in samples_by_size for sample in text.split()]
    return fit((float(megapixels), float(seconds)) for megapixels, seconds in pairs)
