"""Events and problems in words."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from matte_core.contracts.job import Event
from matte_core.contracts.options import Options
from matte_core.errors import Problem

#: what to do about a problem, by code, where its detail does not say
FIXES: Mapping[str, str] = {
    "model_not_found": "see matte models",
    "version_not_found": "see matte models",
    "model_not_ready": "wait a little, or see the server's logs",
    "queue_full": "try again later, or with fewer --jobs",
    "attempts_exhausted": "see the server's logs, then matte jobs requeue ID",
    "job_expired": "send the picture again when the queue is shorter",
    "storage_unavailable": "see matte doctor on the server",
    "storage_full": "give Redis more memory, or an object store",
    "not_found": "is it a Matte server, and new enough? For lists of jobs it needs MATTE_ADMIN=true",
}

#: a parameter of the API in a sentence: followed by a value or a colon, or a name of two words
_NAMES = "|".join(Options.model_fields)
_PARAMETER = re.compile(rf"\b(?P<name>(?:{_NAMES})(?==|:)|crop_margin|bg_color)(?:=(?P<value>\w+))?")


def seconds(value: float) -> str:
    """A duration: 0.4 s, 12 s, 3 min, 2 h."""
    if value < 10:
        return f"{value:.1f} s"
    if value < 100:
        return f"{value:.0f} s"
    return f"{value / 60:.0f} min" if value < 5400 else f"{value / 3600:.0f} h"


def explain(problem: Exception) -> str:
    """What is wrong and, for a :class:`Problem`, what to do about it."""
    if not isinstance(problem, Problem):
        return str(problem)
    fix = FIXES.get(problem.code)
    text = as_options(problem.text) if problem.code == "invalid_parameter" else problem.text
    return text + (f" → {fix}" if fix else "")


def as_options(text: str) -> str:
    """A message with the API's parameters as options: ``crop_margin needs crop=true``: --crop-margin needs --crop."""

    def option(found: re.Match[str]) -> str:
        name = "--" + found["name"].replace("_", "-")
        return name if found["value"] in (None, "true") else f"{name} {found['value']}"

    return _PARAMETER.sub(option, text)


def describe(event: Event) -> str | None:
    """An event in words; None: nothing new."""
    data = event.data
    if event.type in {"queued", "position"}:
        return waiting(data)
    if event.type == "started":
        version = data.get("version")
        return "cutting out" + (f" ({version})" if version else "")
    if event.type == "progress":
        stage, fraction = str(data.get("stage") or "cutting out"), data.get("fraction")
        return stage if fraction is None else f"{stage} {float(fraction):.0%}"
    if event.type == "retrying":
        return f"attempt {data.get('attempt', '?')} failed, trying again"
    return "done" if event.type == "finished" else None


def share(event: Event) -> float | None:
    """Fraction of the work that is done, 0 … 1; None: unknown. A job that is retried starts again."""
    if event.type == "progress":
        fraction = event.data.get("fraction")
        return None if fraction is None else float(fraction)
    return {"retrying": 0.0, "finished": 1.0}.get(event.type)


def waiting(data: Mapping[str, Any]) -> str:
    """Position in the queue and time left, from the data of an event or a job."""
    position, eta = data.get("position"), data.get("eta_seconds")
    place = "waiting" if position is None else ("next" if position == 0 else f"{position} ahead")
    return place if eta is None else f"{place}, {seconds(float(eta))} left"
