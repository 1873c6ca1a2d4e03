"""The connection to Redis: retries ride over a restart, and its errors become problems."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import redis.exceptions as rex
from matte_core.errors import Problem
from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import ExponentialWithJitterBackoff
from redis.connection import HiredisRespSerializer

#: how long calls keep trying while Redis restarts: about 15 s in all
_RETRY = {"cap": 2.0, "base": 0.05}
_RETRIES = 12


def connect(url: str, *, max_connections: int = 64) -> Redis:
    """A client that retries over lost connections and a server that is still loading its file."""
    pool = BlockingConnectionPool.from_url(
        url,
        max_connections=max_connections,
        timeout=30,
        socket_connect_timeout=5,
        socket_timeout=None,  # redis-py's would wrap every send in a task; scripts have a time limit of their own
        retry=Retry(ExponentialWithJitterBackoff(**_RETRY), _RETRIES),
        retry_on_error=[rex.ConnectionError, rex.TimeoutError, rex.BusyLoadingError],
    )
    pool.connection_class = _packing(pool.connection_class)
    return Redis.from_pool(pool)


def _packing(kind: type[Any]) -> type[Any]:
    """A kind of connection that packs commands in C, as redis-py's own do that are not asynchronous."""
    serializer = HiredisRespSerializer()

    def pack_command(_: Any, *args: Any) -> list[bytes]:
        packed: list[bytes] = serializer.pack(*args)
        return packed

    return type(kind.__name__, (kind,), {"pack_command": pack_command})


@contextmanager
def translated() -> Iterator[None]:
    """Turns Redis' errors into problems: full, or out of reach."""
    try:
        yield
    except rex.OutOfMemoryError as error:
        raise Problem("storage_full", "Redis has no memory left for more jobs.", retry_after=10) from error
    except rex.ResponseError as error:
        if "OOM" in str(error):
            raise Problem("storage_full", "Redis has no memory left for more jobs.", retry_after=10) from error
        raise
    except (rex.ConnectionError, rex.TimeoutError, OSError) as error:
        raise Problem("storage_unavailable", f"Redis cannot be reached: {error}", retry_after=5) from error
