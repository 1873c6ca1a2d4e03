"""Sends the pictures of a run and polls the weights."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import Callable

import httpx
from matte_core.contracts.catalog import ModelView
from matte_core.errors import Problem

from matte_cli.client import problem_of
from matte_cli.traffic.log import Answer, Failure, Log, Sample
from matte_cli.traffic.workload import Workload

#: between two requests for the weights
SAMPLE_SECONDS = 0.5


class _LostError(Exception):
    """No whole answer came: a code, and the detail."""


class Drive:
    """One run. ``clock`` gives seconds since the start."""

    def __init__(self, http: httpx.AsyncClient, workload: Workload, log: Log, clock: Callable[[], float]) -> None:
        self._http, self._workload, self._log, self._clock = http, workload, log, clock
        self._stop = asyncio.Event()

    def stop(self) -> None:
        """Sends nothing more; what is in flight may finish."""
        self._stop.set()

    @property
    def stopping(self) -> bool:
        return self._stop.is_set()

    async def run(self) -> None:
        """Sends everything, waits for the answers, and then until the last weights have settled."""
        await self._sample()
        async with asyncio.TaskGroup() as group:
            sampling = group.create_task(self._keep_sampling())
            async with asyncio.TaskGroup() as pictures:
                await self._send_all(pictures)
            await asyncio.sleep(self._workload.settle)
            sampling.cancel()
        await self._sample()

    async def _send_all(self, pictures: asyncio.TaskGroup) -> None:
        slots, schedule = asyncio.Semaphore(self._workload.concurrency), self._workload.schedule
        for number in itertools.count():
            due = schedule.due(number, self._clock())
            if due is None:
                return
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stop.wait(), max(0.0, due - self._clock()))
            if self.stopping:
                return
            await slots.acquire()
            now = self._clock()
            # without a rate a picture is due when there is a slot for it; with one, the time may be over by now
            due = schedule.due(number, now)
            if due is None or self.stopping:
                return
            self._log.send(due, now)
            pictures.create_task(self._send(number, due)).add_done_callback(lambda _: slots.release())

    async def _send(self, number: int, due: float) -> None:
        """Sends one picture, and again only where the server gives a Retry-After."""
        for attempt in itertools.count(1):
            sent = self._clock()
            try:
                version = await self._predict(number)
            except Problem as problem:
                delay = None
                if problem.retry_after is not None and problem.retryable:
                    delay = self._workload.retry.delay(attempt, problem.retry_after)
                if delay is None:
                    job = problem.extensions.get("job")
                    self._log.failures.append(Failure(self._clock(), problem.code, problem.detail, job))
                    return
                self._log.retried += attempt == 1
                self._log.retries[problem.code] += 1
                await asyncio.sleep(delay)
            except _LostError as error:
                self._log.failures.append(Failure(self._clock(), *error.args))
                return
            else:
                self._log.answers.append(Answer(due, sent, self._clock(), version, self._workload.user(number)))
                return

    async def _predict(self, number: int) -> str:
        """The version that answered, once its whole answer is here. Raises the server's Problem, or _LostError."""
        workload = self._workload
        body = workload.pictures[number % len(workload.pictures)]
        headers = {"Content-Type": body.media_type}
        if (user := workload.user(number)) is not None and workload.key_header:
            headers[workload.key_header] = user
        try:
            response = await self._http.post(f"/models/{workload.model}/predict", content=body.data, headers=headers)
        except httpx.TimeoutException as error:
            raise _LostError("timeout", f"no answer within the client's patience ({type(error).__name__})") from error
        except httpx.RequestError as error:
            raise _LostError("connection_lost", f"{type(error).__name__}: {error}") from error
        if not response.is_success:
            raise problem_of(response)
        version = response.headers.get("X-Model-Version")
        if response.status_code != httpx.codes.OK or not version or not response.content:
            raise _LostError("not_a_result", f"status {response.status_code} without a picture or its X-Model-Version")
        return str(version)

    async def _keep_sampling(self) -> None:
        while True:
            await asyncio.sleep(SAMPLE_SECONDS)
            await self._sample()

    async def _sample(self) -> None:
        """Logs the weights now; a server that does not say them leaves a gap."""
        asked = self._clock()
        try:
            response = await self._http.get(f"/models/{self._workload.model}")
            model = ModelView.model_validate_json(response.raise_for_status().content)
        except (httpx.HTTPError, ValueError):
            self._log.unseen += 1
            return
        weights = {version.version: version.weight for version in model.versions}
        self._log.samples.append(Sample(asked, self._clock(), weights))
