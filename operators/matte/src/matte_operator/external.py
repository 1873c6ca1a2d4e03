"""Judges of one's own: Prometheus queries and webhooks. Whatever they answer, or do not, is a fact and no error."""

from __future__ import annotations

import asyncio
import logging
import math
import re
from collections.abc import Awaitable, Iterable, Mapping
from concurrent.futures import Future, wait
from typing import Any, Literal

import httpx
from matte_core.contracts.k8s.rollout import TEXT_MAX, QueryCheck, Verdict, WebhookCheck
from pydantic import BaseModel, TypeAdapter, ValidationError

from matte_operator.aside import Aside
from matte_operator.asked import QUERY_SECONDS, Inquiry
from matte_operator.domain.rollout.observe import ExternalSeen

log = logging.getLogger("matte.operator")

#: an answer that is longer is none (bytes)
ANSWER_MAX = 65_536
#: a pass that makes a check waits so long for answers that are outstanding (seconds)
PATIENCE = 1.5
_PLACEHOLDER = re.compile(r"\{\{\s*(\w*)\s*\}\}")
Answers = Mapping[str, ExternalSeen]


class _Series(BaseModel):
    value: tuple[float, str]


class _Vector(BaseModel):
    resultType: Literal["vector"]  # noqa: N815 - Prometheus' name
    result: list[_Series]


class _Scalar(BaseModel):
    resultType: Literal["scalar"]  # noqa: N815
    result: tuple[float, str]


class _Found(BaseModel):
    status: Literal["success"]
    data: _Vector | _Scalar


class _Refused(BaseModel):
    status: Literal["error"]
    error: str


class _Judged(BaseModel):
    verdict: Verdict
    message: str = ""


_PROMETHEUS: TypeAdapter[_Found | _Refused] = TypeAdapter(_Found | _Refused)


class _AnswerError(Exception):
    """Why there is no answer, for people."""


class Judges:
    """Asks all judges, once per check and in the background. What is under way at a restart is asked again."""

    def __init__(self, aside: Aside, prometheus_url: str, patience: float = PATIENCE) -> None:
        self._aside = aside
        self._prometheus_url = prometheus_url
        self._patience = patience
        self._asked: dict[tuple[object, ...], Future[Answers]] = {}

    def answers(self, inquiries: Iterable[Inquiry]) -> dict[str, Answers]:
        """The answers for the checks that are due, by model; it waits ``patience`` for those outstanding."""
        asked = {one: self._asked.get(one.about) or self._ask(one) for one in inquiries}
        for about in self._asked.keys() - {one.about for one in asked}:
            self._asked[about].cancel()
        self._asked = {one.about: future for one, future in asked.items()}
        due = {one: future for one, future in asked.items() if one.due_in <= 0}
        wait(due.values(), self._patience)
        return {one.model: _settled(one, future) for one, future in due.items()}

    def _ask(self, one: Inquiry) -> Future[Answers]:
        return self._aside.start(ask(one, self._prometheus_url))


def _settled(one: Inquiry, future: Future[Answers]) -> Answers:
    if not future.done():
        return {name: ExternalSeen(message="no answer until the check was due") for name in one.names}
    if error := future.exception():
        log.error("judges of %s", one.model, exc_info=error)
        return {}
    return future.result()


async def ask(one: Inquiry, prometheus_url: str) -> Answers:
    """Every judge's answer by name, all asked at once; without an answer its message says why."""
    async with httpx.AsyncClient(trust_env=False, headers={"Accept-Encoding": "identity"}) as client:
        pending = [
            *(_query(client, prometheus_url, check, one) for check in one.queries),
            *(_webhook(client, hook, one) for hook in one.webhooks),
        ]
        return dict(zip(one.names, await asyncio.gather(*map(_told, pending)), strict=True))


async def _told(pending: Awaitable[ExternalSeen]) -> ExternalSeen:
    try:
        return await pending
    except _AnswerError as error:
        return ExternalSeen(message=str(error)[:TEXT_MAX])


async def _query(client: httpx.AsyncClient, url: str, check: QueryCheck, one: Inquiry) -> ExternalSeen:
    if not url:
        raise _AnswerError("no Prometheus is known: set operator.prometheusUrl")
    asked = {"query": filled(check.query, one), "timeout": f"{QUERY_SECONDS:g}s"}
    target = f"{url.rstrip('/')}/api/v1/query"
    body = await _fetched(client, client.build_request("GET", target, params=asked), QUERY_SECONDS, refusals={400, 422})
    try:
        found = _PROMETHEUS.validate_json(body)
    except ValidationError as error:
        raise _AnswerError("what answers is no Prometheus, or the query gives no vector and no scalar") from error
    if isinstance(found, _Refused):
        raise _AnswerError(f"Prometheus refuses the query: {found.error}")
    return _number(found.data)


def _number(data: _Vector | _Scalar) -> ExternalSeen:
    values = [series.value[1] for series in data.result] if isinstance(data, _Vector) else [data.result[1]]
    if len(values) != 1:
        raise _AnswerError(f"the query gives {len(values)} numbers, one is needed" if values else "no data")
    try:
        value = float(values[0])
    except ValueError as error:
        raise _AnswerError("the query gives no number") from error
    if not math.isfinite(value):
        raise _AnswerError(f"the query gives {value}")
    return ExternalSeen(value=value)


async def _webhook(client: httpx.AsyncClient, hook: WebhookCheck, one: Inquiry) -> ExternalSeen:
    status = one.status
    about: dict[str, Any] = {
        "model": one.model,
        "version": status.canary,
        "stable": status.stable,
        "weight": status.weight,
        "attempt": status.attempt,
        "phase": status.phase.value,
    }
    body = await _fetched(client, client.build_request("POST", hook.url, json=about), hook.timeout_seconds)
    try:
        judged = _Judged.model_validate_json(body)
    except ValidationError as error:
        raise _AnswerError('the answer is not {"verdict": "pass" | "fail" | "inconclusive", "message": …}') from error
    return ExternalSeen(verdict=judged.verdict, message=judged.message[:TEXT_MAX])


async def _fetched(
    client: httpx.AsyncClient, request: httpx.Request, seconds: float, refusals: Iterable[int] = ()
) -> bytes:
    """The body of a 2xx, or of one of ``refusals``; no redirect is followed."""
    try:
        async with asyncio.timeout(seconds):
            answer = await client.send(request, stream=True)
            try:
                if not answer.is_success and answer.status_code not in refusals:
                    raise _AnswerError(f"answered with HTTP {answer.status_code}")
                return await _bounded(answer)
            finally:
                await answer.aclose()
    except TimeoutError as error:
        raise _AnswerError(f"no answer within {seconds:g} s") from error
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise _AnswerError(f"cannot be reached: {error or type(error).__name__}") from error


async def _bounded(answer: httpx.Response) -> bytes:
    body = b""
    async for chunk in answer.aiter_raw():
        body += chunk
        if len(body) > ANSWER_MAX:
            raise _AnswerError(f"the answer is longer than {ANSWER_MAX} bytes")
    return body


def filled(query: str, one: Inquiry) -> str:
    """The query with its placeholders filled: DNS labels, SemVer versions and a duration, so nothing can break out."""
    known = {
        "model": one.model,
        "version": one.status.canary or "",
        "stable": one.status.stable or "",
        "window": f"{max(1, math.ceil(one.seconds))}s",
    }

    def value(found: re.Match[str]) -> str:
        if found[1] not in known:
            raise _AnswerError(f"the query names {found[0]}; there is {', '.join(known)}")
        return known[found[1]]

    return _PLACEHOLDER.sub(value, query)
