"""A job as it goes on: its events, and its place in the queue in between."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator
from dataclasses import dataclass

from matte_core.contracts.job import Event, JobState, JobView
from matte_core.contracts.owner import Owner

from matte_frontend.frontend import Frontend


@dataclass(frozen=True, slots=True)
class Waiting:
    """The place of a job that is queued. ``eta_seconds`` is until it is done; None: not measured yet."""

    position: int
    queue_length: int
    eta_seconds: float | None

    @classmethod
    def of(cls, view: JobView) -> Waiting | None:
        """None for a job that left the queue."""
        if view.state is not JobState.QUEUED or view.position is None:
            return None
        return cls(view.position, view.queue_length, view.eta_seconds)


_WAITS = {"queued": True, "retrying": True, "started": False, "finished": False}


async def follow(
    frontend: Frontend, job_id: str, owner: Owner, after: str = "0"
) -> AsyncGenerator[Event | Waiting | None]:
    """What happens to a job of the owner's after the event ``after``, up to its end.

    While it waits, its place is looked up every ``position_seconds`` and told when it changed. None is a sign of
    life after ``heartbeat_seconds`` of silence.
    """
    tick = frontend.settings.position_seconds
    told = Waiting.of(await frontend.view(job_id, owner))
    waiting, quiet, untold = told is not None, 0.0, told is not None
    if told is not None and after != "0":
        untold = False
        yield told
    async with contextlib.aclosing(frontend.event_broker.stream(job_id, after=after, heartbeat=tick)) as events:
        async for event in events:
            if event is not None:
                waiting, quiet = _WAITS.get(event.type, waiting), 0.0
                yield event
                if untold and told is not None:  # the place now comes after the place it had at first
                    untold = False
                    yield told
                continue
            quiet += tick
            place = Waiting.of(await frontend.view(job_id, owner)) if waiting else None
            if place is not None and _moved(place, told):
                told, quiet = place, 0.0
                yield place
            elif quiet >= frontend.settings.heartbeat_seconds:
                quiet = 0.0
                yield None


def _moved(place: Waiting, told: Waiting | None) -> bool:
    return told is None or (place.position, place.queue_length) != (told.position, told.queue_length)
