"""The Lua scripts beside this module, each with the common prelude before it."""

from __future__ import annotations

import asyncio
from importlib.resources import files
from typing import Any

from redis.asyncio import Redis
from redis.commands.core import AsyncScript

NAMES = (
    "admit", "cancel", "fail", "finish", "lease", "park", "release", "renew", "revive", "start", "sweep", "unassign",
    "view",
)  # fmt: skip

#: longer than a restart of Redis takes, shorter than anybody waits
SECONDS = 30.0


class Scripts:
    """Calls a script by name with the prefix and the caller's time."""

    def __init__(self, redis: Redis, prefix: str) -> None:
        folder = files("matte_jobs") / "lua"
        prelude = (folder / "_prelude.lua").read_text()
        self._prefix = prefix
        self._scripts: dict[str, AsyncScript] = {
            name: redis.register_script(prelude + (folder / f"{name}.lua").read_text()) for name in NAMES
        }

    async def __call__(self, name: str, now: float, *args: str | bytes | float) -> Any:
        """Runs one script; it is loaded again by itself after a restart of Redis.

        Raises:
            TimeoutError: no answer came in time.
        """
        async with asyncio.timeout(SECONDS):
            return await self._scripts[name](args=[self._prefix, f"{now:.3f}", *args])
