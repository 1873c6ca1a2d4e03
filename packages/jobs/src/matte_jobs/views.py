"""A job's record as its owner sees it."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from matte_core.contracts.job import JobState, JobView, Result, ResultView
from matte_core.domain.eta import Cost, Queue, retry_after, seconds_left, seconds_waiting

#: a full queue is asked again after so many seconds where nothing has been measured
FULL_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class Capacity:
    """What can run a job.

    Attributes:
        versions: that may take it.
        slots: of their live replicas.
        cost: of a job in one of them; None: not measured yet.
    """

    versions: frozenset[str]
    slots: int
    cost: Cost | None


#: the capacity for a job of a model, which has its version or None
CapacityLookup = Callable[[str, str | None], Capacity]


def unknown_capacity(model: str, version: str | None) -> Capacity:
    """A :data:`CapacityLookup` that gives no ETA."""
    del model, version
    return Capacity(frozenset(), 1, None)


def job_view(job_id: str, found: Sequence[Any], now: float, capacity: CapacityLookup) -> JobView:
    """The job's owner's view of it, from what the script ``view`` returns."""
    raw, ahead, length = found[:3]
    fields = {raw[i].decode(): raw[i + 1].decode() for i in range(0, len(raw), 2) if raw[i] != b"inputs"}
    state, version = JobState(fields["state"]), fields.get("version") or None
    able, started = capacity(fields["model"], version), _number(fields, "started")
    queued, eta, megapixels = state is JobState.QUEUED, None, float(fields["cost"])
    if able.cost is not None and queued:
        waiting = seconds_waiting(able.cost, _queue(found, able, now), able.slots)
        eta = round(waiting + able.cost.seconds(megapixels), 3)
    elif able.cost is not None and state is JobState.RUNNING:
        eta = round(seconds_left(able.cost, megapixels, now - (now if started is None else started)), 3)
    result = Result.model_validate_json(fields["result"]) if "result" in fields else None
    return JobView(
        id=job_id,
        state=state,
        position=int(ahead) if queued else None,
        queue_length=int(length),
        eta_seconds=eta,
        attempts=int(fields["attempts"]),
        model=fields["model"],
        version=version,
        created_at=float(fields["created"]),
        started_at=started,
        finished_at=_number(fields, "finished"),
        result=None if result is None else ResultView(**dict(result), arm=result.version),
        error=json.loads(fields["error"]) if "error" in fields else None,
    )


def _queue(found: Sequence[Any], able: Capacity, now: float) -> Queue:
    """What is before the job, of what needs the same slots; a job without a version may need any."""
    _, position, length, queued, ahead, running = found
    mine = {b"", *(version.encode() for version in able.versions)}
    return Queue(
        running=[(float(cost), now - float(begun)) for version, cost, begun in running if version in mine],
        ahead=[float(cost) for version, cost in ahead if version in mine],
        further=int(position) - len(ahead),
        mean=float(queued) / max(1, int(length)),
    )


def seconds_until_room(able: Capacity, queued: int, megapixels: float) -> float:
    """After which a full queue has a tenth of its places free, for ``Retry-After``.

    Args:
        able: what takes its jobs.
        queued: how many there are.
        megapixels: of all of them.
    """
    if able.cost is None:
        return FULL_SECONDS
    leaving = math.ceil(queued / 10)
    return retry_after(leaving * able.cost.seconds(megapixels / max(1, queued)) / max(1, able.slots))


def _number(fields: Mapping[str, str], name: str) -> float | None:
    return float(fields[name]) if name in fields else None
