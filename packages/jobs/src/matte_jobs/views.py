"""A job's record as its owner sees it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from matte_core.contracts.job import JobState, JobView, Result
from matte_core.domain.eta import eta_seconds


def job_view(job_id: str, found: Sequence[Any], slots: int, seconds_per_megapixel: float | None) -> JobView:
    """The job's owner's view of it, from what the script ``view`` returns."""
    raw, ahead, length, queued_cost, measured = found
    spmp = float(measured) if measured else seconds_per_megapixel
    fields = {raw[i].decode(): raw[i + 1].decode() for i in range(0, len(raw), 2) if raw[i] != b"inputs"}
    state = JobState(fields["state"])
    queued = state is JobState.QUEUED
    eta = None
    if spmp is not None and state in (JobState.QUEUED, JobState.RUNNING):
        eta = eta_seconds(
            position=int(ahead) if queued else 0,
            mean_megapixels=float(queued_cost) / max(1, int(length)),
            own_megapixels=float(fields["cost"]),
            seconds_per_megapixel=spmp,
            slots=slots,
        )
    return JobView(
        id=job_id,
        state=state,
        position=int(ahead) if queued else None,
        queue_length=int(length),
        eta_seconds=eta,
        attempts=int(fields["attempts"]),
        model=fields["model"],
        version=fields.get("version") or None,
        created_at=float(fields["created"]),
        started_at=_number(fields, "started"),
        finished_at=_number(fields, "finished"),
        result=Result.model_validate_json(fields["result"]) if "result" in fields else None,
        error=json.loads(fields["error"]) if "error" in fields else None,
    )


def _number(fields: Mapping[str, str], name: str) -> float | None:
    return float(fields[name]) if name in fields else None
