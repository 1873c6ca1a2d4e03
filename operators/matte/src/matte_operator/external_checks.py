"""Prometheus queries and webhooks that judge a rollout. A missing answer is a result too, never an error."""

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

from matte_operator.background_loop import BackgroundLoop
from matte_operator.domain.rollout.observation import ExternalResult
from matte_operator.required_evidence import QUERY_SECONDS, ExternalCheckRequest

log = logging.getLogger("matte.operator")

#: longer answers are not read (bytes)
MAX_ANSWER_BYTES = 65_536
#: a pass that makes a check waits this long for outstanding answers
WAIT_SECONDS = 1.5
_PLACEHOLDER = re.compile(r"\{\{\s*(\w*)\s*\}\}")
Results = Mapping[str, ExternalResult]


class _Series(BaseModel):
    value: tuple[float, str]


class _Vector(BaseModel):
    resultType: Literal["vector"]  # noqa: N815 - Prometheus' name
    result: list[_Series]


class _Scalar(BaseModel):
    resultType: Literal["scalar"]  # noqa: N815
    result: tuple[float, str]


class _QuerySuccess(BaseModel):
    status: Literal["success"]
    data: _Vector | _Scalar


class _QueryError(BaseModel):
    status: Literal["error"]
    error: str


class _WebhookAnswer(BaseModel):
    verdict: Verdict
    message: str = ""


_QUERY_ANSWER: TypeAdapter[_QuerySuccess | _QueryError] = TypeAdapter(_QuerySuccess | _QueryError)


class _NoAnswerError(Exception):
    """Why there is no answer, for people."""


class ExternalChecks:
    """Makes every external check once per check of the rollout, in the background. A restart repeats pending ones."""

    def __init__(self, background: BackgroundLoop, prometheus_url: str, wait_seconds: float = WAIT_SECONDS) -> None:
        self._background = background
        self._prometheus_url = prometheus_url
        self._wait_seconds = wait_seconds
        self._pending: dict[tuple[object, ...], Future[Results]] = {}

    def results(self, requests: Iterable[ExternalCheckRequest]) -> dict[str, Results]:
        """The results for the checks that are due, by Model; waits ``wait_seconds`` for outstanding ones.

        Requests that are not due yet are only started, those that are no longer requested are canceled.
        """
        futures = {
            request: self._pending.get(request.key) or self._background.start(run_checks(request, self._prometheus_url))
            for request in requests
        }
        for key in self._pending.keys() - {request.key for request in futures}:
            self._pending[key].cancel()
        self._pending = {request.key: future for request, future in futures.items()}
        due = {request: future for request, future in futures.items() if request.due_in <= 0}
        wait(due.values(), self._wait_seconds)
        results: dict[str, Results] = {}
        for request, future in due.items():
            if not future.done():
                late = ExternalResult(message="no answer until the check was due")
                results[request.model] = dict.fromkeys(request.names, late)
            elif error := future.exception():
                log.error("model/%s: external checks failed", request.model, exc_info=error)
                results[request.model] = {}
            else:
                results[request.model] = future.result()
        return results


async def run_checks(request: ExternalCheckRequest, prometheus_url: str) -> Results:
    """Every check's result by name, all made at once; without an answer its message says why."""

    async def answer_or_reason(check: Awaitable[ExternalResult]) -> ExternalResult:
        try:
            return await check
        except _NoAnswerError as error:
            return ExternalResult(message=str(error)[:TEXT_MAX])

    async with httpx.AsyncClient(trust_env=False, headers={"Accept-Encoding": "identity"}) as client:
        queries = [_query(client, prometheus_url, check, request) for check in request.queries]
        checks = [*queries, *(_webhook(client, webhook, request) for webhook in request.webhooks)]
        return dict(zip(request.names, await asyncio.gather(*map(answer_or_reason, checks)), strict=True))


async def _query(
    client: httpx.AsyncClient, url: str, check: QueryCheck, request: ExternalCheckRequest
) -> ExternalResult:
    if not url:
        raise _NoAnswerError("no Prometheus is known: set operator.prometheusUrl")
    parameters = {"query": fill_placeholders(check.query, request), "timeout": f"{QUERY_SECONDS:g}s"}
    http_request = client.build_request("GET", f"{url.rstrip('/')}/api/v1/query", params=parameters)
    body = await _fetch(client, http_request, QUERY_SECONDS, accepted_errors={400, 422})
    try:
        answer = _QUERY_ANSWER.validate_json(body)
    except ValidationError as error:
        raise _NoAnswerError("what answers is no Prometheus, or the query gives no vector and no scalar") from error
    if isinstance(answer, _QueryError):
        raise _NoAnswerError(f"Prometheus refuses the query: {answer.error}")
    data = answer.data
    values = [series.value[1] for series in data.result] if isinstance(data, _Vector) else [data.result[1]]
    if len(values) != 1:
        raise _NoAnswerError(f"the query gives {len(values)} numbers, one is needed" if values else "no data")
    try:
        value = float(values[0])
    except ValueError as error:
        raise _NoAnswerError("the query gives no number") from error
    if not math.isfinite(value):
        raise _NoAnswerError(f"the query gives {value}")
    return ExternalResult(value=value)


async def _webhook(client: httpx.AsyncClient, webhook: WebhookCheck, request: ExternalCheckRequest) -> ExternalResult:
    status = request.status
    payload: dict[str, Any] = {
        "model": request.model,
        "version": status.canary,
        "stable": status.stable,
        "weight": status.weight,
        "attempt": status.attempt,
        "phase": status.phase.value,
    }
    http_request = client.build_request("POST", webhook.url, json=payload)
    body = await _fetch(client, http_request, webhook.timeout_seconds)
    try:
        answer = _WebhookAnswer.model_validate_json(body)
    except ValidationError as error:
        raise _NoAnswerError('the answer is not {"verdict": "pass" | "fail" | "inconclusive", "message": …}') from error
    return ExternalResult(verdict=answer.verdict, message=answer.message[:TEXT_MAX])


async def _fetch(
    client: httpx.AsyncClient, request: httpx.Request, seconds: float, accepted_errors: Iterable[int] = ()
) -> bytes:
    """The body of an answer with status 2xx, or with one of ``accepted_errors``; no redirect is followed."""
    try:
        async with asyncio.timeout(seconds):
            response = await client.send(request, stream=True)
            try:
                if not response.is_success and response.status_code not in accepted_errors:
                    raise _NoAnswerError(f"answered with HTTP {response.status_code}")
                body = b""
                async for chunk in response.aiter_raw():
                    body += chunk
                    if len(body) > MAX_ANSWER_BYTES:
                        raise _NoAnswerError(f"the answer is longer than {MAX_ANSWER_BYTES} bytes")
                return body
            finally:
                await response.aclose()
    except TimeoutError as error:
        raise _NoAnswerError(f"no answer within {seconds:g} s") from error
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise _NoAnswerError(f"cannot be reached: {error or type(error).__name__}") from error


def fill_placeholders(query: str, request: ExternalCheckRequest) -> str:
    """The query with its placeholders filled by DNS labels, SemVer versions and a duration: nothing can break out."""
    values = {
        "model": request.model,
        "version": request.status.canary or "",
        "stable": request.status.stable or "",
        "window": f"{max(1, math.ceil(request.step_seconds))}s",
    }

    def value(placeholder: re.Match[str]) -> str:
        if placeholder[1] not in values:
            raise _NoAnswerError(f"the query names {placeholder[0]}; there is {', '.join(values)}")
        return values[placeholder[1]]

    return _PLACEHOLDER.sub(value, query)
