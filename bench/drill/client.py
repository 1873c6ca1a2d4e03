"""A client that repeats requests at any frontend until they succeed."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any

import httpx

PAUSE_SECONDS = 0.3
#: problems that a retry does not fix
PERMANENT_CODES = frozenset({"attempts_exhausted", "out_of_memory", "result_expired"})
RETRIED_STATUSES = frozenset({409, 429, 502, 503, 504})


class FinalAnswerError(Exception):
    """The server's answer is final, and not the requested one."""


class RetryingClient:
    """Uses the frontends in turn. ``retried``: counts of retries by reason; ``broken``: of answers that no fault
    excuses, such as a 500, which are retried, too.
    """

    def __init__(self, urls: list[str]) -> None:
        self._urls = itertools.cycle(urls)
        self._http = httpx.AsyncClient(
            timeout=httpx.Timeout(30.0, connect=5.0), limits=httpx.Limits(max_connections=None), trust_env=False
        )
        self.retried: Counter[str] = Counter()
        self.broken: Counter[str] = Counter()

    async def close(self) -> None:
        await self._http.aclose()

    async def request(self, method: str, path: str, *, within: float = 30.0, **request: Any) -> httpx.Response:
        """A successful answer; each attempt may take ``within`` seconds. Raises FinalAnswerError for any other."""
        while True:
            try:
                answer = await self._http.request(method, next(self._urls) + path, timeout=within, **request)
            except httpx.TransportError as error:
                self.retried[type(error).__name__] += 1
            else:
                if answer.is_success:
                    return answer
                self._note_failure(method, path, answer)
            await asyncio.sleep(PAUSE_SECONDS)

    async def events(
        self, path: str, last_id: str = "", *, resumed: bool = True
    ) -> AsyncIterator[tuple[str, str, dict[str, Any] | list[Any]]]:
        """Id, type and data of each server-sent event after ``last_id``, across lost connections, up to the final one.

        ``resumed``: whether the server supports ``Last-Event-ID``; otherwise the stream restarts.
        """
        while True:
            try:
                headers = {"Last-Event-ID": last_id} if last_id and resumed else {}
                async with self._http.stream("GET", next(self._urls) + path, headers=headers) as answer:
                    if answer.status_code == 204:
                        return
                    if answer.is_success:
                        async for id_, kind, data in _blocks(answer):
                            last_id = id_ or last_id
                            yield id_, kind, data
                            if kind in {"finished", "complete", "error"}:
                                return
                    else:
                        await answer.aread()
                        self._note_failure("GET", path, answer)
            except httpx.TransportError as error:
                self.retried[type(error).__name__] += 1
            await asyncio.sleep(PAUSE_SECONDS)

    def _note_failure(self, method: str, path: str, answer: httpx.Response) -> None:
        with contextlib.suppress(ValueError):
            code = str(answer.json().get("code", ""))
            if answer.status_code in RETRIED_STATUSES and code not in PERMANENT_CODES:
                self.retried[f"{answer.status_code} {code}".strip()] += 1
                return
        if answer.status_code in {502, 504}:
            self.retried[str(answer.status_code)] += 1
        elif answer.status_code >= 500 and answer.status_code != 503:
            self.broken[f"{answer.status_code} to {method} {path.partition('?')[0]}: {answer.text[:200]}"] += 1
        else:
            raise FinalAnswerError(f"{answer.status_code} to {method} {path}: {answer.text[:300]}")


async def _blocks(answer: httpx.Response) -> AsyncIterator[tuple[str, str, Any]]:
    block: dict[str, str] = {}
    async for line in answer.aiter_lines():
        if not line and "data" in block:
            yield block.get("id", ""), block.get("event", ""), json.loads(block["data"])
        if not line:
            block = {}
            continue
        name, _, value = line.partition(":")
        block[name] = value.removeprefix(" ")
