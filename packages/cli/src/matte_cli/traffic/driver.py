"""Sending pictures and asking for the weights: the I/O of a run."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable
from dataclasses import dataclass, field

import httpx
from matte_core.contracts.catalog import ModelView
from matte_core.errors import Problem

from matte_cli.client import Retry, problem_of
from matte_cli.traffic.log import Failure, Log
from matte_cli.traffic.pictures import Body
from matte_cli.traffic.schedule import Plan
from matte_cli.traffic.windows import Answer, Sample

#: between two questions for the weights
SAMPLE_SECONDS = 0.5


@dataclass(frozen=True, slots=True)
class Order:
    """What is sent where. ``key_header`` names whose picture it is, if there are ``users`` and the server cares."""

    model: str
    pictures: tuple[Body, ...]
    plan: Plan
    concurrency: int
    users: int | None = None
    key_header: str | None = None
    settle: float = 2.0
    retry: Retry = field(default_factory=Retry)

    def user(self, number: int) -> str | None:
        """Whose picture number ``number`` is: the users take turns."""
        return f"drive-{number % self.users}" if self.users and self.key_header else None


class _LostError(Exception):
    """No whole answer came; ``code`` says what kind of fault it was."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(detail)
        self.code = code


class Drive:
    """One run. ``clock`` gives seconds since the start."""

    def __init__(self, http: httpx.AsyncClient, order: Order, log: Log, clock: Callable[[], float]) -> None:
        self._http = http
        self._order = order
        self._log = log
        self._clock = clock
        self._stop = asyncio.Event()

    def stop(self) -> None:
        """Nothing more is sent; what is in flight may end."""
        self._stop.set()

    @property
    def stopping(self) -> bool:
        """Whether :meth:`stop` was called."""
        return self._stop.is_set()

    async def run(self) -> None:
        """Sends everything and waits for the answers, and until the last weights are sure."""
        await self._sample()
        async with asyncio.TaskGroup() as group:
            watching = group.create_task(self._watch())
            async with asyncio.TaskGroup() as pictures:
                await self._send_all(pictures)
            await asyncio.sleep(self._order.settle)
            watching.cancel()
        await self._sample()

    async def _send_all(self, pictures: asyncio.TaskGroup) -> None:
        free = asyncio.Semaphore(self._order.concurrency)
        for number in itertools.count():
            due = self._order.plan.due(number, self._clock())
            if due is None or await self._stopped_before(due):
                return
            await free.acquire()
            now = self._clock()
            # without a rate a picture is due when there is room for it; with one, the time may be over by now
            due = self._order.plan.due(number, now)
            if due is None or self.stopping:
                return
            self._log.send(due, now)
            pictures.create_task(self._one(number, due)).add_done_callback(lambda _: free.release())

    async def _stopped_before(self, due: float) -> bool:
        try:
            await asyncio.wait_for(self._stop.wait(), max(0.0, due - self._clock()))
        except TimeoutError:
            return self.stopping
        return True

    async def _one(self, number: int, due: float) -> None:
        """One picture, sent again only where the server says when."""
        for attempt in itertools.count(1):
            sent = self._clock()
            try:
                version = await self._predict(number)
            except Problem as problem:
                delay = self._delay(problem, attempt)
                if delay is None:
                    self._fail(problem.code, problem.detail, problem.extensions.get("job"))
                    return
                self._log.retried += attempt == 1
                self._log.retries[problem.code] += 1
                await asyncio.sleep(delay)
            except _LostError as error:
                self._fail(error.code, str(error))
                return
            else:
                self._log.answers.append(Answer(due, sent, self._clock(), version, self._order.user(number)))
                return

    def _delay(self, problem: Problem, attempt: int) -> float | None:
        if problem.retry_after is None or not problem.retryable:
            return None
        return self._order.retry.delay(attempt, problem.retry_after)

    def _fail(self, code: str, detail: str, job: str | None = None) -> None:
        self._log.failures.append(Failure(self._clock(), code, detail, job))

    async def _predict(self, number: int) -> str:
        """The version that answered, once its whole answer is here.

        Raises:
            Problem: what the server says.
            _LostError: it said nothing, or nothing that a frontend says.
        """
        body = self._order.pictures[number % len(self._order.pictures)]
        headers = {"Content-Type": body.media_type}
        if (user := self._order.user(number)) is not None and self._order.key_header:
            headers[self._order.key_header] = user
        try:
            answer = await self._http.post(
                f"/models/{self._order.model}/predict", content=body.data, headers=headers
            )  # fmt: skip
        except httpx.TimeoutException as error:
            raise _LostError("timeout", f"no answer within the client's patience ({type(error).__name__})") from error
        except httpx.RequestError as error:
            raise _LostError("connection_lost", f"{type(error).__name__}: {error}") from error
        if not answer.is_success:
            raise problem_of(answer)
        version = answer.headers.get("X-Model-Version")
        if answer.status_code != httpx.codes.OK or not version or not answer.content:
            raise _LostError("not_a_result", f"status {answer.status_code} without a picture or its X-Model-Version")
        return str(version)

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(SAMPLE_SECONDS)
            await self._sample()

    async def _sample(self) -> None:
        """The weights now; a server that does not say them leaves a gap."""
        asked = self._clock()
        try:
            answer = await self._http.get(f"/models/{self._order.model}")
            model = ModelView.model_validate_json(answer.raise_for_status().content)
        except (httpx.HTTPError, ValueError):
            self._log.unseen += 1
            return
        weights = {arm.version: arm.weight for arm in model.versions}
        self._log.samples.append(Sample(asked, self._clock(), weights))
