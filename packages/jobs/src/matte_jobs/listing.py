"""Lists of jobs, for an administrator: nobody else may see what is not theirs."""

from __future__ import annotations

import re
from typing import Any

from matte_core.contracts.job import JobState

from matte_jobs.connect import translated
from matte_jobs.store import JobStore

#: keys that one step of a scan looks at, and steps of one page
_KEYS, _STEPS = 1000, 20
_GLOB = re.compile(rb"[*?\[\]\\]")


async def list_job_ids(store: JobStore, state: JobState | None, cursor: int, *, enough: int) -> tuple[list[str], int]:
    """Ids of some jobs in a state (None: any), in no order, and where the next page begins; 0: there is none.

    There is no index of all jobs: nothing but this asks for one, and every job would pay for it. So the keys are
    scanned, a bounded number per page; a job that is there from the first page to the last is listed, perhaps twice.

    Args:
        store: whose jobs.
        state: which ones.
        cursor: 0, or what the page before said.
        enough: the page ends with so many, or some more.
    """
    redis: Any = store.redis
    prefix = f"{store.prefix}job:".encode()
    pattern = _GLOB.sub(lambda found: b"\\" + found[0], prefix) + b"*"
    ids: list[str] = []
    with translated():
        for _ in range(_STEPS):
            cursor, keys = await redis.scan(cursor, match=pattern, count=_KEYS)
            pipe = redis.pipeline(transaction=False)
            for key in keys:
                pipe.hget(key, "state")
            states = await pipe.execute() if keys else []
            ids += [
                key.removeprefix(prefix).decode()
                for key, found in zip(keys, states, strict=True)
                if found is not None and state in (None, found.decode())
            ]
            if not cursor or len(ids) >= enough:
                break
    return ids, int(cursor)
