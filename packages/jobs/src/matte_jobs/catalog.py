"""What is live: replicas announce themselves, every pool's router publishes its table, frontends read both."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from typing import Any

from matte_core.contracts.catalog import Arm, Catalog, ModelView, Replica, Route, RouteTable, VersionView
from matte_core.domain.eta import Cost
from matte_core.errors import Problem

from matte_jobs.connect import translated
from matte_jobs.samples import cost_of, samples_key
from matte_jobs.store import JobStore

log = logging.getLogger("matte.catalog")

#: a pool whose routers are all silent this long (seconds) is gone; until then its models are asleep, not unknown
FORGET_SECONDS = 86400.0


class CatalogStore:
    """Replicas and the pools' route tables in Redis."""

    def __init__(self, store: JobStore) -> None:
        self._store = store
        self._raw: Any = store.redis
        self._replicas = f"{store.prefix}replicas"
        self._tables = f"{store.prefix}tables"
        self._pools = f"{store.prefix}pools"
        self._clashes: frozenset[str] = frozenset()

    async def announce_replica(self, replica: Replica, *, new: bool) -> None:
        """Says that a replica lives until ``replica.expires_at``; a new one wakes the routers."""
        with translated():
            async with self._raw.pipeline(transaction=True) as pipe:
                pipe.hset(self._replicas, replica.id, replica.model_dump_json())
                if new:
                    pipe.publish(f"{self._store.prefix}wakeup", "")
                await pipe.execute()

    async def announce_router(self, pool: str, name: str, *, expires_at: float, now: float) -> int:
        """Says that a router lives; returns how many do in its pool."""
        key = f"{self._store.prefix}routers:{pool}"
        with translated():
            async with self._raw.pipeline(transaction=True) as pipe:
                pipe.zadd(key, {name: expires_at})
                pipe.zremrangebyscore(key, "-inf", now)
                pipe.zcard(key)
                return int((await pipe.execute())[-1])

    async def withdraw_router(self, pool: str, name: str) -> None:
        """Says that a router is gone. Its pool's table stays: another router, or the next one, answers for it."""
        with translated():
            await self._raw.zrem(f"{self._store.prefix}routers:{pool}", name)

    async def withdraw_replica(self, replica_id: str) -> None:
        """Says that a replica is gone."""
        with translated():
            await self._raw.hdel(self._replicas, replica_id)

    async def replicas(self, now: float) -> list[Replica]:
        """The live replicas; those silent for a day are forgotten."""
        with translated():
            found = await self._raw.hgetall(self._replicas)
        every = [Replica.model_validate_json(text) for text in found.values()]
        for old in (r for r in every if r.expires_at < now - 86400):
            await self.withdraw_replica(old.id)
        return [replica for replica in every if replica.expires_at > now]

    async def publish(self, pool: str, table: RouteTable, now: float) -> None:
        """The table that the pool's routers use now; an empty one takes its models away."""
        with translated():
            async with self._raw.pipeline(transaction=True) as pipe:
                pipe.hset(self._tables, pool, table.model_dump_json())
                pipe.zadd(self._pools, {pool: now + FORGET_SECONDS})
                await pipe.execute()

    async def refresh(self, pool: str, table: RouteTable, now: float) -> None:
        """Says that the pool lives. Its table is only put back where it was lost: another router may be ahead."""
        with translated():
            async with self._raw.pipeline(transaction=True) as pipe:
                pipe.hsetnx(self._tables, pool, table.model_dump_json())
                pipe.zadd(self._pools, {pool: now + FORGET_SECONDS})
                await pipe.execute()

    async def delete_pool(self, pool: str) -> None:
        """The pool is gone for good."""
        with translated():
            async with self._raw.pipeline(transaction=True) as pipe:
                pipe.hdel(self._tables, pool)
                pipe.zrem(self._pools, pool)
                await pipe.execute()

    async def route_tables(self, now: float) -> dict[str, RouteTable]:
        """The table of every pool whose routers lived within a day, by the pool's name; older ones are forgotten."""
        with translated():
            async with self._raw.pipeline(transaction=True) as pipe:
                pipe.hgetall(self._tables)
                pipe.zrangebyscore(self._pools, f"({now}", "+inf")
                found, alive = await pipe.execute()
        for old in found.keys() - set(alive):
            await self.delete_pool(old.decode())
        return {pool.decode(): RouteTable.model_validate_json(found[pool]) for pool in sorted(alive) if pool in found}

    async def route_table(self, now: float) -> RouteTable | None:
        """The tables of all pools as one, or None before the first one."""
        return self._merged(await self.route_tables(now))

    def _merged(self, tables: Mapping[str, RouteTable]) -> RouteTable | None:
        if not tables:
            return None
        merged, clashes = merge(tables)
        if clashes - self._clashes:
            log.error("in more than one pool, the first by name has them: %s", ", ".join(sorted(clashes)))
        self._clashes = clashes
        return merged

    async def catalog(self, now: float) -> Catalog:
        """Models with their versions, weights and readiness.

        Raises:
            Problem: model_not_ready, before any router published a table.
        """
        return (await self.routes_and_catalog(now))[1]

    async def routes_and_catalog(self, now: float) -> tuple[RouteTable, Catalog]:
        """:meth:`catalog`, with the routes that it was made from.

        Raises:
            Problem: as :meth:`catalog`.
        """
        tables = await self.route_tables(now)
        table = self._merged(tables)
        if table is None:
            raise Problem("model_not_ready", "Inference has not started yet.", retry_after=5)
        replicas = await self.replicas(now)
        served = await self._served(tables, now)
        models = [
            await self._model(route, replicas, served=route.model in served, default=table.default_model)
            for route in table.routes
        ]
        return table, Catalog(default_model=table.default_model, models=tuple(models))

    async def _served(self, tables: Mapping[str, RouteTable], now: float) -> set[str]:
        """Models that a live router takes jobs for."""
        with translated():
            async with self._raw.pipeline(transaction=False) as pipe:
                for pool in tables:
                    pipe.zcount(f"{self._store.prefix}routers:{pool}", f"({now}", "+inf")
                alive = await pipe.execute()
        return {
            route.model
            for table, routers in zip(tables.values(), alive, strict=True)
            if routers
            for route in table.routes
        }

    async def _model(
        self, route: Route, replicas: Sequence[Replica], *, served: bool, default: str | None
    ) -> ModelView:
        costs, length = await self._measured(route)
        live = [replica for replica in replicas if replica.model == route.model]
        versions = tuple(
            _version(arm, [replica for replica in live if replica.version == arm.version], cost)
            for arm, cost in zip(route.arms, costs, strict=True)
        )
        return ModelView(
            name=route.model,
            default=route.model == default,
            ready=served and any(version.ready and version.weight for version in versions),
            served=served,
            queue_length=length,
            versions=versions,
        )

    async def _measured(self, route: Route) -> tuple[list[Cost | None], int]:
        """What a job costs on each arm, and the queue's length."""
        prefix = self._store.prefix
        with translated():
            async with self._raw.pipeline(transaction=False) as pipe:
                for arm in route.arms:
                    pipe.hgetall(samples_key(prefix, route.model, arm.version))
                    pipe.zcard(f"{prefix}q:{route.model}@{arm.version}")
                pipe.zcard(f"{prefix}q:{route.model}")
                found = await pipe.execute()
        return [cost_of(held) for held in found[:-1:2]], int(sum(found[1::2]) + found[-1])


def merge(tables: Mapping[str, RouteTable]) -> tuple[RouteTable, frozenset[str]]:
    """All pools' routes as one table, and the models that more than one pool has.

    The pool whose name sorts first wins such a model. The default is that of the first table that names one.
    """
    routes: dict[str, Route] = {}
    clashes: set[str] = set()
    ordered = [tables[pool] for pool in sorted(tables)]
    for route in (route for table in ordered for route in table.routes):
        if routes.setdefault(route.model, route) is not route:
            clashes.add(route.model)
    default = next((table.default_model for table in ordered if table.default_model is not None), None)
    return RouteTable(default_model=default, routes=tuple(routes.values())), frozenset(clashes)


def _version(arm: Arm, live: Sequence[Replica], cost: Cost | None) -> VersionView:
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
    )
