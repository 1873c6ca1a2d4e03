"""Client of Matte's REST API. Requests of jobs survive a lost connection."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

import httpx
import httpx_sse
from matte_core.contracts.job import Event, JobState, JobView, Limits
from matte_core.domain.backoff import exponential_backoff
from matte_core.errors import Problem

#: attempts of one step without any progress between them
ATTEMPTS = 8
FIRST_WAIT_SECONDS, LONGEST_WAIT_SECONDS = 0.25, 15.0
Sleep = Callable[[float], Awaitable[None]]


class UnreachableError(RuntimeError):
    def __init__(self, url: str, cause: Exception) -> None:
        super().__init__(
            f"no Matte server answers at {url} ({cause or type(cause).__name__}). "
            "Start one with make run (or matte serve), or name another with --url."
        )


@dataclass(frozen=True, slots=True)
class Retry:
    """How often, and how patiently, a request is repeated."""

    attempts: int = ATTEMPTS

    def delay(self, attempt: int, retry_after: float | None = None) -> float | None:
        """Seconds to wait after attempt ``attempt`` (from 1): ``retry_after``, else 0.25, 0.5, 1 … 15; None: stop."""
        if attempt >= self.attempts:
            return None
        if retry_after is not None:
            return min(LONGEST_WAIT_SECONDS, retry_after)
        return exponential_backoff(attempt, FIRST_WAIT_SECONDS, LONGEST_WAIT_SECONDS)


def problem_of(response: httpx.Response) -> Problem:
    """The problem in a response; one without a problem (from a proxy) gets ``internal_error``."""
    try:
        document = response.json()
    except ValueError:
        document = None
    if isinstance(document, Mapping) and "code" in document:
        problem = Problem.from_document(document)
    else:
        problem = Problem("internal_error", f"the server answered {response.status_code} {response.reason_phrase}")
    if problem.retry_after is None and response.headers.get("Retry-After", "").isdigit():
        problem.retry_after = float(response.headers["Retry-After"])
    return problem


class Api:
    def __init__(self, http: httpx.AsyncClient, *, retry: Retry | None = None, sleep: Sleep = asyncio.sleep) -> None:
        self._http, self._retry, self._sleep = http, retry or Retry(), sleep

    @classmethod
    def at(cls, url: str) -> Api:
        # a picture may be long under way, an event stream silent for a heartbeat (15 s)
        timeout = httpx.Timeout(60, connect=5)
        return cls(httpx.AsyncClient(base_url=url.rstrip("/"), timeout=timeout, follow_redirects=True))

    async def __aenter__(self) -> Api:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._http.aclose()

    async def get(self, path: str) -> httpx.Response:
        """A response, without retries. Raises UnreachableError, or the server's Problem."""
        return await self._request("GET", path)

    async def limits(self) -> Limits:
        return Limits.model_validate_json((await self.get("/v1/limits")).content)

    async def post(self, path: str) -> httpx.Response:
        return await self._request("POST", path)

    async def delete(self, path: str) -> httpx.Response:
        return await self._request("DELETE", path)

    async def submit(self, picture: bytes, media_type: str, parameters: Mapping[str, str], key: str) -> JobView:
        """Submits a picture as a job. ``key`` is the Idempotency-Key, which makes retries harmless."""
        headers = {"Content-Type": media_type, "Idempotency-Key": key}
        response = await self._request_with_retries(
            "POST", "/v1/jobs", params=dict(parameters), content=picture, headers=headers
        )
        return JobView.model_validate_json(response.content)

    async def view(self, job_id: str) -> JobView:
        return JobView.model_validate_json((await self._request_with_retries("GET", f"/v1/jobs/{job_id}")).content)

    async def result(self, job_id: str, parameters: Mapping[str, str] | None = None) -> bytes:
        params = dict(parameters or {})
        return (await self._request_with_retries("GET", f"/v1/jobs/{job_id}/result", params=params)).content

    async def follow(self, job_id: str) -> AsyncIterator[Event]:
        """The job's events up to the last; after a lost connection it continues after the last one received.

        Raises UnreachableError if the server stays unreachable, and the server's Problem, such as not_found.
        """
        last_id, attempt = "", 0
        while True:
            attempt += 1
            cause: Exception = ConnectionError("the stream of events ended early")
            try:
                headers, url = {"Last-Event-ID": last_id} if last_id else {}, f"/v1/jobs/{job_id}/events"
                async with httpx_sse.aconnect_sse(self._http, "GET", url, headers=headers) as source:
                    if source.response.status_code == httpx.codes.NO_CONTENT:
                        return  # the job has ended, and its last event was sent earlier
                    if source.response.status_code != httpx.codes.OK:
                        await source.response.aread()
                        raise problem_of(source.response)
                    async for message in source.aiter_sse():
                        event = _event(message)
                        if event is None:
                            continue
                        last_id, attempt = event.id or last_id, 0
                        yield event
                        if event.type == "finished":
                            return
            except httpx.TransportError as error:
                cause = error
            except Problem as problem:
                if not problem.retryable:
                    raise
                cause = problem
            await self._wait_or_raise(attempt, cause)

    async def _request(self, method: str, path: str, **more: Any) -> httpx.Response:
        try:
            response = await self._http.request(method, path, **more)
        except httpx.TransportError as error:
            raise UnreachableError(str(self._http.base_url), error) from error
        if response.is_error:
            raise problem_of(response)
        return response

    async def _request_with_retries(self, method: str, path: str, **more: Any) -> httpx.Response:
        """Retries while the server is unreachable, full or not ready; for idempotent requests only."""
        attempt = 0
        while True:
            attempt += 1
            try:
                return await self._request(method, path, **more)
            except UnreachableError as error:
                await self._wait_or_raise(attempt, error)
            except Problem as problem:
                if not problem.retryable:
                    raise
                await self._wait_or_raise(attempt, problem, problem.retry_after)

    async def _wait_or_raise(self, attempt: int, cause: Exception, retry_after: float | None = None) -> None:
        delay = self._retry.delay(attempt, retry_after)
        if delay is None:
            if isinstance(cause, Problem | UnreachableError):
                raise cause
            raise UnreachableError(str(self._http.base_url), cause) from cause
        await self._sleep(delay)


def _event(message: httpx_sse.ServerSentEvent) -> Event | None:
    """The event, or None for a type that only a newer server knows."""
    try:
        data = json.loads(message.data)
        at = data.pop("at", 0.0)
        return Event.model_validate({"id": message.id, "type": message.event, "at": at, "data": data})
    except (ValueError, AttributeError):
        return None


def failure_of(view: JobView) -> Problem | None:
    """Why a job has no result; None if it has one."""
    if view.state is JobState.SUCCEEDED:
        return None
    if view.error is not None:
        return Problem.from_document(view.error)
    codes = {JobState.CANCELED: "job_canceled", JobState.EXPIRED: "job_expired", JobState.DEAD: "attempts_exhausted"}
    return Problem(codes.get(view.state, "internal_error"), f"job {view.id} is {view.state}")
