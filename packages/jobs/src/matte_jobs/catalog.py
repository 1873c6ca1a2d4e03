"""What is live: replicas announce themselves, routers publish their table, gateways read both."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from matte_core.contracts.catalog import Arm, Catalog, ModelView, Replica, Route, RouteTable, VersionView
from matte_core.errors import Problem

from matte_jobs.connect import translated
from matte_jobs.store import JobStore


class CatalogStore:
    """Replicas and the route table in Redis."""

    def __init__(self, store: JobStore) -> None:
        self._store = store
        self._raw: Any = store.redis
        self._replicas = f"{store.prefix}replicas"
        self._table = f"{store.prefix}table"

    async def announce(self, replica: Replica, *, new: bool) -> None:
        """Says that a replica lives until ``replica.expires_at``; a new one rings the routers' bell."""
        with translated():
            async with self._raw.pipeline(transaction=True) as pipe:
                pipe.hset(self._replicas, replica.id, replica.model_dump_json())
                if new:
                    pipe.publish(f"{self._store.prefix}bell", "")
                await pipe.execute()

    async def announce_router(self, name: str, *, expires_at: float, now: float) -> int:
        """Says that a router lives; returns how many do."""
        key = f"{self._store.prefix}routers"
        with translated():
            async with self._raw.pipeline(transaction=True) as pipe:
                pipe.zadd(key, {name: expires_at})
                pipe.zremrangebyscore(key, "-inf", now)
                pipe.zcard(key)
                return int((await pipe.execute())[-1])

    async def withdraw_router(self, name: str) -> None:
        """Says that a router is gone."""
        with translated():
            await self._raw.zrem(f"{self._store.prefix}routers", name)

    async def withdraw(self, replica_id: str) -> None:
        """Says that a replica is gone."""
        with translated():
            await self._raw.hdel(self._replicas, replica_id)

    async def replicas(self, now: float) -> list[Replica]:
        """The live replicas; those silent for a day are forgotten."""
        with translated():
            found = await self._raw.hgetall(self._replicas)
        every = [Replica.model_validate_json(text) for text in found.values()]
        for old in (r for r in every if r.expires_at < now - 86400):
            await self.withdraw(old.id)
        return [replica for replica in every if replica.expires_at > now]

    async def publish(self, table: RouteTable) -> None:
        """The table that routers use now."""
        with translated():
            await self._raw.set(self._table, table.model_dump_json())

    async def table(self) -> RouteTable | None:
        """The table that routers use now, or None before the first one."""
        with translated():
            text = await self._raw.get(self._table)
        return RouteTable.model_validate_json(text) if text else None

    async def catalog(self, now: float) -> Catalog:
        """Models with their versions, weights and readiness.

        Raises:
            Problem: model_not_ready, before any router published a table.
        """
        table = await self.table()
        if table is None:
            raise Problem("model_not_ready", "Inference has not started yet.", retry_after=5)
        replicas = await self.replicas(now)
        models = [await self._model(route, replicas, default=table.default_model) for route in table.routes]
        return Catalog(default_model=table.default_model, models=tuple(models))

    async def _model(self, route: Route, replicas: Sequence[Replica], *, default: str) -> ModelView:
        seconds, length = await self._measured(route)
        live = [replica for replica in replicas if replica.model == route.model]
        versions = tuple(
            _version(arm, [replica for replica in live if replica.version == arm.version], spmp)
            for arm, spmp in zip(route.arms, seconds, strict=True)
        )
        return ModelView(
            name=route.model,
            default=route.model == default,
            ready=any(version.ready and version.weight for version in versions),
            queue_length=length,
            versions=versions,
        )

    async def _measured(self, route: Route) -> tuple[list[float | None], int]:
        """Seconds per megapixel of each arm, and the queue's length."""
        prefix = self._store.prefix
        with translated():
            async with self._raw.pipeline(transaction=False) as pipe:
                for arm in route.arms:
                    pipe.hget(f"{prefix}stats:{route.model}@{arm.version}", "spmp")
                    pipe.zcard(f"{prefix}q:{route.model}@{arm.version}")
                pipe.zcard(f"{prefix}q:{route.model}")
                found = await pipe.execute()
        return [float(text) if text else None for text in found[:-1:2]], int(sum(found[1::2]) + found[-1])


def _version(arm: Arm, live: Sequence[Replica], spmp: float | None) -> VersionView:
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
        seconds_per_megapixel=spmp,
    )
