"""What predict and jobs have in common: headers that matter, admission, waiting."""

from __future__ import annotations

import re
from dataclasses import dataclass

from matte_core.contracts.job import Event
from starlette.requests import Request

from matte_frontend.admission import Asked, to_job
from matte_frontend.caller import idempotency_key
from matte_frontend.gateway import Gateway

_WAIT = re.compile(r"wait=(\d{1,5})")


@dataclass(frozen=True, slots=True)
class Prefer:
    """RFC 7240: ``respond-async``, ``wait=N``, and our own ``preview``. ``applied`` says what was honoured."""

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


async def admit(gateway: Gateway, request: Request, asked: Asked) -> str:
    """Queues a job nobody here waits for; returns its id, or that of the one with the same idempotency key."""
    spec, data = to_job(
        gateway, asked, idempotency_key=idempotency_key(request), traceparent=request.scope["matte"]["traceparent"],
        preview=Prefer.of(request).preview,
    )  # fmt: skip
    return (await gateway.admit(spec, data)).id


async def admit_and_wait(
    gateway: Gateway, request: Request, asked: Asked, within: float
) -> tuple[str, Event | None, bool]:
    """Queues a job and waits for its end.

    Returns:
        The id, the ``finished`` event or None after ``within`` seconds, and whether the job existed already.
    """
    spec, data = to_job(
        gateway, asked, origin=gateway.notifier.channel, idempotency_key=idempotency_key(request),
        traceparent=request.scope["matte"]["traceparent"],
    )  # fmt: skip
    # watching begins before the job exists: its end cannot be missed
    async with gateway.notifier.watching(spec.id) as watch:
        admitted = await gateway.admit(spec, data)
        data.clear()
        if not admitted.existing:
            return spec.id, await watch.finished(within), False
    return admitted.id, await gateway.finished(admitted.id, within), True
