"""The Lua scripts beside this module, each with the common prelude before it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from importlib.resources import files
from typing import Any

from redis.asyncio import Redis
from redis.commands.core import AsyncScript
from redis.exceptions import NoScriptError

NAMES = (
    "admit", "cancel", "defer", "emit_event", "end_instance", "fail", "fall_back", "finish", "lease", "release",
    "remove", "renew", "requeue_dead", "start", "sweep", "unassign", "view",
)  # fmt: skip

#: longer than a restart of Redis takes, shorter than anybody waits
SECONDS = 30.0


class Scripts:
    """Calls a script by name with the prefix and the caller's time."""

    def __init__(self, redis: Redis, prefix: str) -> None:
        folder = files("matte_jobs") / "lua"
        prelude = (folder / "_prelude.lua").read_text()
        self._redis: Any = redis
        self._loaded = False
        self._prefix = prefix
        self._scripts: dict[str, AsyncScript] = {
            name: redis.register_script(prelude + (folder / f"{name}.lua").read_text()) for name in NAMES
        }

    async def __call__(
        self, name: str, now: float, *args: str | bytes | float, blobs: Sequence[tuple[str, bytes]] = ()
    ) -> Any:
        """Runs one script; it is loaded again by itself after a restart of Redis.

        Args:
            name: the script.
            now: Unix seconds.
            args: what the script takes after prefix and time.
            blobs: keys and bytes that are set in the same transaction, before the script, which may delete them. They
                do not go through Lua: that would copy them three times.

        Raises:
            TimeoutError: no answer came in time.
        """
        script, full = self._scripts[name], [self._prefix, f"{now:.3f}", *args]
        async with asyncio.timeout(SECONDS):
            if not blobs:
                return await script(args=full)
            return await self._with_blobs(script, full, blobs)

    async def _with_blobs(self, script: AsyncScript, args: Sequence[Any], blobs: Sequence[tuple[str, bytes]]) -> Any:
        if not self._loaded:
            await self._load()
        try:
            return await self._transaction(script, args, blobs)
        except NoScriptError:  # Redis came back without its scripts; nothing but the blobs was set
            await self._load()
            return await self._transaction(script, args, blobs)

    async def _load(self) -> None:
        for script in self._scripts.values():
            await self._redis.script_load(script.script)
        self._loaded = True

    async def _transaction(self, script: AsyncScript, args: Sequence[Any], blobs: Sequence[tuple[str, bytes]]) -> Any:
        async with self._redis.pipeline(transaction=True) as pipe:
            for key, data in blobs:
                pipe.set(key, data)
            pipe.evalsha(script.sha, 0, *args)
            return (await pipe.execute())[-1]
