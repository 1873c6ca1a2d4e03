"""What predict and jobs have in common: headers that matter, admission, waiting."""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass

from matte_core.contracts.job import Event, JobSpec
from matte_jobs.events import CompletionWaiter
from starlette.requests import ClientDisconnect, Request

from matte_frontend.admission import Asked, to_job
from matte_frontend.caller import idempotency_key
from matte_frontend.frontend import Frontend

_WAIT = re.compile(r"wait=(\d{1,5})")


@dataclass(frozen=True, slots=True)
class Prefer:
    """RFC 7240: ``respond-async``, ``wait=N``, and our own ``preview``. ``applied`` says what was honored."""

    asynchronous: bool
    wait: float | None
    preview: bool
    applied: str

    @classmethod
    def of(cls, request: Request) -> Prefer:
        """What a request prefers."""
        wishes = [wish.strip() for line in request.headers.getlist("prefer") for wish in line.lower().split(",")]
        waits = [found for wish in wishes if (found := _WAIT.fullmatch(wish))]
        asynchronous = "respond-async" in wishes
        applied = ["respond-async"] * asynchronous + [found[0] for found in waits[:1]]
        return cls(asynchronous, float(waits[0][1]) if waits else None, "preview" in wishes, ", ".join(applied))


async def admit(frontend: Frontend, request: Request, asked: Asked) -> str:
    """Queues a job nobody here waits for; returns its id, or that of the one with the same idempotency key."""
    spec, data = to_job(
        frontend, asked, idempotency_key=idempotency_key(request), traceparent=request.scope["matte"]["traceparent"],
        preview=Prefer.of(request).preview,
    )  # fmt: skip
    return (await frontend.admit(spec, data)).id


async def admit_and_wait(
    frontend: Frontend, request: Request, asked: Asked, within: float, *, alone: bool
) -> tuple[str, Event | None, bool]:
    """Queues a job and waits for its end.

    Args:
        frontend: takes the job.
        request: whose caller waits.
        asked: for what.
        within: seconds.
        alone: nobody but this caller can ask for the job: it is canceled when he goes away.

    Raises:
        ClientDisconnect: he went away.
        Problem: those of :meth:`Frontend.admit`.

    Returns:
        The id, the ``finished`` event or None after ``within`` seconds, and whether the job existed already.
    """
    spec, data = to_job(
        frontend, asked, origin=frontend.event_broker.channel, idempotency_key=idempotency_key(request),
        traceparent=request.scope["matte"]["traceparent"],
    )  # fmt: skip
    # watching begins before the job exists: its end cannot be missed
    async with frontend.event_broker.completion_waiter(spec.id) as waiter:
        admitted = await frontend.admit(spec, data)
        data.clear()
        if not admitted.existing:
            waiting = _attended(frontend, request, spec, waiter, within) if alone else waiter.wait(within)
            return spec.id, await waiting, False
    return admitted.id, await frontend.finished(admitted.id, within), True


async def _attended(
    frontend: Frontend, request: Request, spec: JobSpec, waiter: CompletionWaiter, within: float
) -> Event | None:
    """The end of the job, unless its caller goes away before: then it is canceled, and others need not wait for it."""

    async def listen() -> None:
        while (await request.receive())["type"] != "http.disconnect":  # the body was read: nothing else is to come
            pass
        waiter.stop()

    listening = asyncio.create_task(listen(), name=f"caller of {spec.id}")
    try:
        event = await waiter.wait(within)
    finally:
        listening.cancel()
    if event is None and waiter.stopped:
        await frontend.store.cancel(spec.id, frontend.clock(), owner=spec.owner)
        raise ClientDisconnect
    return event
