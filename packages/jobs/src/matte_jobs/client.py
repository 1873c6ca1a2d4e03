"""The connection to Redis: calls ride over a restart, and errors of Redis become problems."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import redis.exceptions as rex
from matte_core.errors import Problem
from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.client import Pipeline
from redis.asyncio.retry import Retry
from redis.backoff import ExponentialWithJitterBackoff
from redis.connection import HiredisRespSerializer

#: how long calls keep trying while Redis restarts: about 15 s in all
_BACKOFF = {"cap": 2.0, "base": 0.05}
_RETRIES = 12


@contextmanager
def redis_errors() -> Iterator[None]:
    """Raises storage_full or storage_unavailable for what Redis raises; the client does so in every call."""
    try:
        yield
    except rex.ResponseError as error:
        if isinstance(error, rex.OutOfMemoryError) or "OOM" in str(error):
            raise Problem("storage_full", "Redis has no memory left for more jobs.", retry_after=10) from error
        raise
    except (rex.ConnectionError, rex.TimeoutError, OSError) as error:
        raise Problem("storage_unavailable", f"Redis cannot be reached: {error}", retry_after=5) from error


class _ProblemPipeline(Pipeline):
    async def execute(self, raise_on_error: bool = True) -> list[Any]:  # noqa: FBT001, FBT002 - as redis-py has it
        with redis_errors():
            return await super().execute(raise_on_error)


class RedisClient(Redis):
    """A client whose commands and pipelines raise a :class:`Problem` where Redis is full or out of reach.

    Subscriptions (:meth:`pubsub`) raise Redis' own errors.
    """

    async def execute_command(self, *args: Any, **options: Any) -> Any:
        with redis_errors():
            return await super().execute_command(*args, **options)  # type: ignore[no-untyped-call]

    def pipeline(self, transaction: bool = True, shard_hint: str | None = None) -> Pipeline:  # noqa: FBT001, FBT002
        return _ProblemPipeline(self.connection_pool, self.response_callbacks, transaction, shard_hint)


def connect(url: str, *, max_connections: int = 64) -> RedisClient:
    """A client that retries over lost connections and a server that is still loading its file."""
    pool = BlockingConnectionPool.from_url(
        url,
        max_connections=max_connections,
        timeout=30,
        socket_connect_timeout=5,
        socket_timeout=None,  # redis-py's would wrap every send in a task; scripts have a time limit of their own
        retry=Retry(ExponentialWithJitterBackoff(**_BACKOFF), _RETRIES),
        retry_on_error=[rex.ConnectionError, rex.TimeoutError, rex.BusyLoadingError],
    )
    # packs commands in C, as redis-py's synchronous connections do
    serializer, connection_class = HiredisRespSerializer(), pool.connection_class
    pack = {"pack_command": lambda _, *args: serializer.pack(*args)}
    pool.connection_class = type(connection_class.__name__, (connection_class,), pack)
    return RedisClient(connection_pool=pool)  # whoever closes it closes the pool: see JobStore.close
