"""A job's record as its owner sees it."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from matte_core.contracts.job import JobState, JobView, Result, ResultView
from matte_core.domain.eta import Cost, Queue, retry_after, seconds_left, seconds_waiting

#: ``Retry-After`` of a full queue where nothing has been measured, in seconds
QUEUE_FULL_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class Capacity:
    """What can run a job: the versions that may take it, the slots of their live replicas, and what a job costs in one
    of them (None: not measured yet).
    """

    versions: frozenset[str]
    slots: int
    cost: Cost | None


#: the capacity for a job of a model and a version; None: of any version
CapacityLookup = Callable[[str, str | None], Capacity]


def unknown_capacity(model: str, version: str | None) -> Capacity:
    """A :data:`CapacityLookup` that gives no ETA."""
    del model, version
    return Capacity(frozenset(), 1, None)


def job_view(job_id: str, reply: Sequence[Any], now: float, lookup: CapacityLookup) -> JobView:
    """A job as its owner sees it, from the reply of the script ``view``."""
    raw, position, length, queue_cost, ahead, running = reply
    fields = {raw[i].decode(): raw[i + 1].decode() for i in range(0, len(raw), 2) if raw[i] != b"inputs"}
    state, version = JobState(fields["state"]), fields.get("version") or None
    started, megapixels = _number(fields, "started"), float(fields["cost"])
    capacity, eta = lookup(fields["model"], version), None
    if capacity.cost is not None and state is JobState.QUEUED:
        # of what is before the job, that which needs the same slots; a job without a version may need any
        shared = {b"", *(version.encode() for version in capacity.versions)}
        queue = Queue(
            running=[(float(cost), now - float(begun)) for version, cost, begun in running if version in shared],
            ahead=[float(cost) for version, cost in ahead if version in shared],
            further=int(position) - len(ahead),
            mean=float(queue_cost) / max(1, int(length)),
        )
        eta = round(seconds_waiting(capacity.cost, queue, capacity.slots) + capacity.cost.seconds(megapixels), 3)
    elif capacity.cost is not None and state is JobState.RUNNING:
        eta = round(seconds_left(capacity.cost, megapixels, now - (now if started is None else started)), 3)
    result = Result.model_validate_json(fields["result"]) if "result" in fields else None
    return JobView(
        id=job_id,
        state=state,
        position=int(position) if state is JobState.QUEUED else None,
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


def queue_full_retry_after(capacity: Capacity, queued: int, megapixels: float) -> float:
    """Seconds until a tenth of a full queue has been taken, where its ``queued`` jobs have ``megapixels`` in all."""
    if capacity.cost is None:
        return QUEUE_FULL_SECONDS
    leaving = math.ceil(queued / 10)
    return retry_after(leaving * capacity.cost.seconds(megapixels / max(1, queued)) / max(1, capacity.slots))


def _number(fields: Mapping[str, str], name: str) -> float | None:
    return float(fields[name]) if name in fields else None
