"""Spans as a collector gets them; nothing at all where nobody asked for them."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from collections.abc import Callable

import pytest
from matte_telemetry import logs
from matte_telemetry.tracing import end_span, parse_traceparent, set_up, start_span, traceparent
from opentelemetry.context import Context
from opentelemetry.trace import NonRecordingSpan, NoOpTracer, SpanKind, Tracer, set_span_in_context
from otlp import Receiver, receiving

PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


Tracing = tuple[Tracer, Callable[[], None]]


def set_up_tracing() -> Tracing:
    return set_up("matte-test", version="1.2.3", instance="one")


@pytest.fixture
def nothing_set(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("ENDPOINT", "TRACES_ENDPOINT"):
        monkeypatch.delenv(f"OTEL_EXPORTER_OTLP_{name}", raising=False)


def tracing_to(receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> Tracing:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", receiver.endpoint)
    return set_up_tracing()


@pytest.mark.usefixtures("nothing_set")
class TestOff:
    def test_nothing_is_made_and_the_callers_context_goes_on(self) -> None:
        tracer, shut_down = set_up_tracing()
        span = start_span(tracer, "a", at=1.0, parent=PARENT)
        assert (traceparent(span), span.is_recording()) == (PARENT, False)
        assert traceparent(start_span(tracer, "a", at=1.0)) is None
        end_span(span, 2.0)
        shut_down()

    def test_a_span_is_what_the_api_would_return(self) -> None:
        by_api = NoOpTracer().start_span(
            "a", set_span_in_context(NonRecordingSpan(parse_traceparent(PARENT)), Context())
        )
        assert traceparent(by_api) == traceparent(start_span(NoOpTracer(), "a", at=1.0, parent=PARENT))

    def test_the_sdk_is_not_even_imported(self) -> None:
        code = (
            "import sys; from matte_telemetry.tracing import set_up; set_up('a', version='1', instance='b');"
            "print([name for name in sys.modules if name.startswith('opentelemetry.sdk')])"
        )
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env={})
        assert done.stdout.strip() == "[]"

    @pytest.mark.parametrize(("name", "value"), [("OTEL_SDK_DISABLED", "true"), ("OTEL_TRACES_EXPORTER", "none")])
    def test_the_standard_switches_count(self, monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1")
        monkeypatch.setenv(name, value)
        assert isinstance(set_up_tracing()[0], NoOpTracer)


#: spans, more than the queue holds, for a collector that nobody runs; prints the slowest span's and close's seconds
AWAY = """
import time
from matte_telemetry import otlp, tracing

otlp.SHUTDOWN_SECONDS = 0.5
tracer, shut_down = tracing.set_up("a", version="1", instance="b")
slowest = 0.0
for _ in range(5000):
    begun = time.perf_counter()
    tracing.end_span(tracing.start_span(tracer, "a", at=1.0), 2.0)
    slowest = max(slowest, time.perf_counter() - begun)
begun = time.perf_counter()
shut_down()
print(slowest, time.perf_counter() - begun)
"""


class TestOn:
    def test_a_span_is_sent_when_the_program_ends(self, monkeypatch: pytest.MonkeyPatch) -> None:
        with receiving() as receiver:
            tracer, shut_down = tracing_to(receiver, monkeypatch)
            span = start_span(tracer, "job", at=100.0, parent=PARENT, kind=SpanKind.CONSUMER)
            child = start_span(
                tracer,
                "forward",
                at=100.5,
                parent=traceparent(span),
                attributes={"matte.batch.size": 2},
                links=[PARENT],
            )
            end_span(child, 101.0)
            span.add_event("admitted", timestamp=99 * 10**9)
            end_span(span, 102.0, error="out_of_memory")
            start_span(tracer, "never ended", at=1.0)
            shut_down()
        forward, job = sorted(receiver.spans, key=lambda got: got.name)
        assert (job.name, job.kind, job.service, job.failed) == ("job", 5, "matte-test", True)
        assert (job.trace, job.parent) == (PARENT.split("-")[1], PARENT.split("-")[2])
        assert (job.begun, job.ended, job.events) == (100.0, 102.0, ("admitted",))
        assert job.attributes["error.type"] == "out_of_memory"
        assert (forward.parent, forward.links) == (job.id, (PARENT.split("-")[2],))
        assert forward.attributes == {"matte.batch.size": 2}

    def test_the_environment_names_the_service(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("OTEL_SERVICE_NAME", "ours")
        with receiving() as receiver:
            tracer, shut_down = tracing_to(receiver, monkeypatch)
            end_span(start_span(tracer, "a", at=1.0), 2.0)
            shut_down()
        assert [span.service for span in receiver.spans] == ["ours"]

    @pytest.mark.parametrize("parent", [None, "", "nonsense", "00-" + "0" * 32 + "-" + "0" * 16 + "-01"])
    def test_a_broken_parent_begins_a_new_trace(self, monkeypatch: pytest.MonkeyPatch, parent: str | None) -> None:
        with receiving() as receiver:
            tracer, shut_down = tracing_to(receiver, monkeypatch)
            end_span(start_span(tracer, "a", at=1.0, parent=parent), 2.0)
            shut_down()
        assert [span.parent for span in receiver.spans] == [""]

    def test_an_unsampled_trace_stays_so(self, monkeypatch: pytest.MonkeyPatch) -> None:
        with receiving() as receiver:
            tracer, shut_down = tracing_to(receiver, monkeypatch)
            span = start_span(tracer, "a", at=1.0, parent=PARENT[:-2] + "00")
            assert not span.is_recording()
            assert traceparent(span) is not None
            assert str(traceparent(span)).endswith("-00")
            end_span(span, 2.0)
            shut_down()
        assert receiver.spans == []

    def test_a_collector_that_is_away_disturbs_nothing(self) -> None:
        """In a program of its own: the SDK's thread outlives ``close`` and draws from the global random state."""
        environment = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1", "OTEL_BSP_SCHEDULE_DELAY": "20"}
        done = subprocess.run(
            [sys.executable, "-c", AWAY], capture_output=True, text=True, check=True, env=environment, timeout=30
        )
        slowest, closing = map(float, done.stdout.split())
        assert slowest < 1
        assert 0.5 <= closing < 3


def test_a_line_of_the_log_names_its_trace() -> None:
    record = logging.LogRecord("a", logging.INFO, "", 0, "done", (), None)
    token = logs.traceparent.set(PARENT)
    line = json.loads(logs.JsonFormatter().format(record))
    logs.traceparent.reset(token)
    assert (line["trace_id"], line["span_id"]) == (PARENT.split("-")[1], PARENT.split("-")[2])
    assert "trace_id" not in json.loads(logs.JsonFormatter().format(record))
