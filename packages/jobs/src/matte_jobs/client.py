"""The connection to Redis and its Lua scripts: calls ride over a restart, and errors of Redis become problems."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.resources import files
from typing import Any

import redis.exceptions as rex
from matte_core.errors import Problem
from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.client import Pipeline
from redis.asyncio.retry import Retry
from redis.backoff import ExponentialWithJitterBackoff
from redis.commands.core import AsyncScript
from redis.connection import HiredisRespSerializer

from matte_jobs.keys import Keyspace
from matte_jobs.settings import StoreSettings

#: how long calls keep trying while Redis restarts: about 15 s in all
_BACKOFF = {"cap": 2.0, "base": 0.05}
_RETRIES = 12
#: longer than a restart of Redis takes, shorter than anybody waits
SCRIPT_TIMEOUT_SECONDS = 30.0
#: the statement of a script that names its arguments in their order
_ARGUMENTS = re.compile(r"^local ([\w,\s]+) = unpack\(ARGV, 3\)$", re.MULTILINE)


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


class Scripts:
    """Calls a script of the folder ``lua`` by name, with its arguments by name; those that are named like a setting are
    filled in here. Each script has the functions of the keys and the common prelude before it.
    """

    def __init__(self, redis: RedisClient, keys: Keyspace, settings: StoreSettings) -> None:
        self._redis: Any = redis
        self._loaded = False
        self._prefix = keys.prefix
        #: by name: the script, the names of its arguments in their order, and those that are settings
        self._scripts: dict[str, tuple[AsyncScript, list[str], dict[str, Any]]] = {}
        sources = {path.name.removesuffix(".lua"): path.read_text() for path in (files("matte_jobs") / "lua").iterdir()}
        prelude = sources.pop("_prelude")
        for name, source in sources.items():
            (arguments,) = _ARGUMENTS.findall(source)
            names = re.split(r",\s*", arguments)
            body = prelude + source
            script = redis.register_script("local PREFIX, NOW = unpack(ARGV)\n" + keys.lua(body) + body)
            self._scripts[name] = script, names, settings.model_dump(include=set(names))

    async def __call__(
        self, name: str, now: float, blobs: Sequence[tuple[str, bytes]] = (), **arguments: str | bytes | float
    ) -> Any:
        """Runs one script at ``now`` (Unix seconds); it is loaded again by itself after a restart of Redis.

        ``blobs`` (keys and bytes) are set in the same transaction, before the script, which may delete them. They do
        not go through Lua: that would copy them three times. ``arguments`` are all others that the script names. Raises
        storage_full or storage_unavailable.
        """
        script, names, from_settings = self._scripts[name]
        arguments |= from_settings
        if arguments.keys() != set(names):
            raise TypeError(f"{name}.lua takes {names}, not {sorted(arguments)}")
        argv = [self._prefix, f"{now:.3f}", *(arguments[argument] for argument in names)]
        with redis_errors():  # also where no answer came in time
            async with asyncio.timeout(SCRIPT_TIMEOUT_SECONDS):
                if not blobs:
                    return await script(args=argv)
                if not self._loaded:
                    await self._load()
                try:
                    return await self._set_and_run(script, argv, blobs)
                except rex.NoScriptError:  # Redis came back without its scripts; nothing but the blobs was set
                    await self._load()
                    return await self._set_and_run(script, argv, blobs)

    async def _load(self) -> None:
        for script, _, _ in self._scripts.values():
            await self._redis.script_load(script.script)
        self._loaded = True

    async def _set_and_run(self, script: AsyncScript, argv: Sequence[Any], blobs: Sequence[tuple[str, bytes]]) -> Any:
        async with self._redis.pipeline(transaction=True) as pipe:
            for key, data in blobs:
                pipe.set(key, data)
            pipe.evalsha(script.sha, 0, *argv)
            return (await pipe.execute())[-1]
