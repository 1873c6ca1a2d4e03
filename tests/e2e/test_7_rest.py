"""At rest, nothing goes round in circles."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from e2e.kube import Kube, run
from e2e.phases import Phases
from matte_operator.metrics import API_REQUESTS
from prometheus_client.parser import text_string_to_metric_families

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300), pytest.mark.usefixtures("release")]

SETTLE_SECONDS, WATCHED_SECONDS = 20, 60
CALLS_PER_MINUTE = 10
READ = "import urllib.request as r; print(r.urlopen('http://127.0.0.1:9090/metrics').read().decode())"


def test_the_operator_is_quiet(kube: Kube, phases: Phases) -> None:
    with phases("at rest") as phase:
        time.sleep(SETTLE_SECONDS)
        before, others_before, events_before = _calls(kube), _calls_of_our_group(), _events(kube)
        time.sleep(WATCHED_SECONDS)
        calls = _calls(kube) - before
        others = _calls_of_our_group() - others_before
        phase.notes.append(f"the operator made {calls:.0f} API calls in {WATCHED_SECONDS} s")
        phase.notes.append(f"the API server counted {others:.0f} for matte.dev, by anybody")
    assert calls * 60 / WATCHED_SECONDS <= CALLS_PER_MINUTE
    recent = kube("logs", "deployment/matte-operator", f"--since={WATCHED_SECONDS}s").splitlines()
    assert recent == []
    assert _events(kube) == events_before


def test_the_operator_logged_no_error(kube: Kube) -> None:
    lines = [json.loads(line) for line in kube("logs", "deployment/matte-operator").splitlines()]
    assert lines
    assert [line for line in lines if str(line["level"]).upper() in {"ERROR", "CRITICAL"}] == []


def _events(kube: Kube) -> dict[str, int]:
    """How often each Event was told: one that goes on being told is a loop somewhere."""
    found = kube.get("events")["items"]
    return {
        f"{event['involvedObject']['name']} {event['reason']}: {event['message']}": _times(event) for event in found
    }


def _times(event: dict[str, Any]) -> int:
    return int((event.get("series") or {}).get("count") or event.get("count") or 1)


def _calls(kube: Kube) -> float:
    """What the operator has sent to the API so far, its lease included."""
    text = kube("exec", "deployment/matte-operator", "--", "python", "-c", READ)
    return _sum(text, API_REQUESTS.name)


def _calls_of_our_group() -> float:
    return _sum(run("kubectl", "get", "--raw", "/metrics"), "apiserver_request_total", group="matte.dev")


def _sum(text: str, name: str, **labels: str) -> float:
    return sum(
        sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name == name and labels.items() <= sample.labels.items()
    )
