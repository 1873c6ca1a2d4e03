"""The Lua scripts beside this module, each with the functions of the keys and the common prelude before it."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from importlib.resources import files
from typing import Any

from redis.commands.core import AsyncScript
from redis.exceptions import NoScriptError

from matte_jobs.client import RedisClient, redis_errors
from matte_jobs.keys import Keyspace

#: longer than a restart of Redis takes, shorter than anybody waits
TIMEOUT_SECONDS = 30.0
#: the statement of a script that names its arguments in their order
_ARGUMENTS = re.compile(r"^local ([\w,\s]+) = unpack\(ARGV, 3\)$", re.MULTILINE)


class Scripts:
    """Calls a script by name, with its arguments by name."""

    def __init__(self, redis: RedisClient, keys: Keyspace) -> None:
        self._redis: Any = redis
        self._loaded = False
        self._prefix = keys.prefix
        self._scripts: dict[str, tuple[AsyncScript, list[str]]] = {}
        sources = {path.name.removesuffix(".lua"): path.read_text() for path in (files("matte_jobs") / "lua").iterdir()}
        prelude = "local PREFIX, NOW = unpack(ARGV)\n" + keys.lua() + sources.pop("_prelude")
        for name, source in sources.items():
            (arguments,) = _ARGUMENTS.findall(source)
            self._scripts[name] = redis.register_script(prelude + source), re.split(r",\s*", arguments)

    async def __call__(
        self, name: str, now: float, blobs: Sequence[tuple[str, bytes]] = (), **arguments: str | bytes | float
    ) -> Any:
        """Runs one script; it is loaded again by itself after a restart of Redis.

        Args:
            name: of the file.
            now: Unix seconds.
            blobs: keys and bytes that are set in the same transaction, before the script, which may delete them. They
                do not go through Lua: that would copy them three times.
            arguments: those that the script names, all of them.

        Raises:
            Problem: storage_full, storage_unavailable.
        """
        script, names = self._scripts[name]
        if arguments.keys() != set(names):
            raise TypeError(f"{name}.lua takes {names}, not {sorted(arguments)}")
        argv = [self._prefix, f"{now:.3f}", *(arguments[argument] for argument in names)]
        with redis_errors():  # also where no answer came in time
            async with asyncio.timeout(TIMEOUT_SECONDS):
                if not blobs:
                    return await script(args=argv)
                if not self._loaded:
                    await self._load()
                try:
                    return await self._set_and_run(script, argv, blobs)
                except NoScriptError:  # Redis came back without its scripts; nothing but the blobs was set
                    await self._load()
                    return await self._set_and_run(script, argv, blobs)

    async def _load(self) -> None:
        for script, _ in self._scripts.values():
            await self._redis.script_load(script.script)
        self._loaded = True

    async def _set_and_run(self, script: AsyncScript, argv: Sequence[Any], blobs: Sequence[tuple[str, bytes]]) -> Any:
        async with self._redis.pipeline(transaction=True) as pipe:
            for key, data in blobs:
                pipe.set(key, data)
            pipe.evalsha(script.sha, 0, *argv)
            return (await pipe.execute())[-1]
