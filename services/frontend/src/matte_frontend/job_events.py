"""What happens to a job, as it happens: its events, and its queue position in between."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from dataclasses import dataclass, field

from matte_core.contracts.job import Event, JobState, JobView, Owner

from matte_frontend.state import AppState

#: whether a job is in the queue after an event of this type
_QUEUED_AFTER = {"queued": True, "retrying": True, "started": False, "finished": False}


@dataclass(frozen=True, slots=True)
class QueuePosition:
    """Where a queued job is. ``eta_seconds`` is until it is done; None: not measured yet. It changes all the time, so
    positions that differ in nothing else are equal.
    """

    position: int
    queue_length: int
    eta_seconds: float | None = field(compare=False)

    @classmethod
    def from_view(cls, view: JobView) -> QueuePosition | None:
        if view.state is not JobState.QUEUED or view.position is None:
            return None
        return cls(view.position, view.queue_length, view.eta_seconds)


async def job_events(
    app: AppState, job_id: str, owner: Owner, after: str = "0"
) -> AsyncGenerator[Event | QueuePosition | None]:
    """The events of a job of the owner's after the event ``after``, up to its end.

    While it is queued, its position is looked up every ``position_seconds`` and yielded when it changed. None is a
    heartbeat, after ``heartbeat_seconds`` without anything else.
    """
    interval = app.settings.position_seconds
    last = QueuePosition.from_view(await app.view(job_id, owner))
    queued, silent_seconds = last is not None, 0.0
    if last is not None and after != "0":
        yield last
    # in a stream from the beginning the position comes after the first event
    position_due = last is not None and after == "0"
    async with app.event_broker.subscribe(job_id, after=after) as subscription:
        while not subscription.ended:
            events = await subscription.read(interval)
            for event in events:
                queued, silent_seconds = _QUEUED_AFTER.get(event.type, queued), 0.0
                yield event
                if position_due:
                    position_due = False
                    yield last
            if events:
                continue
            silent_seconds += interval
            position = QueuePosition.from_view(await app.view(job_id, owner)) if queued else None
            if position is not None and position != last:
                last, silent_seconds = position, 0.0
                yield position
            elif silent_seconds >= app.settings.heartbeat_seconds:
                silent_seconds = 0.0
                yield None
