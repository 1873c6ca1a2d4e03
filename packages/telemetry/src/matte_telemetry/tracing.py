"""Traces that follow a job through every process.

Spans are OpenTelemetry's. A span's parent is passed by hand, as a W3C ``traceparent``: a job's spans are made in
several processes and long apart, so no context follows a thread or a task. Times are Unix seconds.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence

from opentelemetry import trace
from opentelemetry.context import Context
from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from matte_telemetry.attributes import ERROR_TYPE

_TRACEPARENT = re.compile(r"00-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})")


class TracingSettings(BaseSettings):
    """OpenTelemetry's own variables that decide whether spans are recorded; the SDK reads all others itself.

    https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/
    """

    model_config = SettingsConfigDict(env_prefix="OTEL_", extra="ignore")

    sdk_disabled: str = ""
    traces_exporter: str = "otlp"
    exporter_otlp_endpoint: str = Field("", description="such as http://collector:4318")
    exporter_otlp_traces_endpoint: str = ""

    @property
    def enabled(self) -> bool:
        endpoint = self.exporter_otlp_traces_endpoint or self.exporter_otlp_endpoint
        return bool(endpoint) and self.sdk_disabled.lower() != "true" and self.traces_exporter != "none"


def set_up(service_name: str, *, version: str, instance: str) -> tuple[trace.Tracer, Callable[[], None]]:
    """The tracer of a program, as the standard ``OTEL_…`` variables say, and what shuts it down.

    Without an endpoint in ``OTEL_EXPORTER_OTLP_ENDPOINT`` no SDK is imported and no span is recorded: each only passes
    its parent's context on. Shutting down sends the spans that are left, for a few seconds at most. ``instance`` is
    ``service.instance.id``, different for every process.
    """
    if not TracingSettings().enabled:
        return trace.NoOpTracer(), lambda: None
    from matte_telemetry import otlp  # noqa: PLC0415 - the SDK is imported only where it is used

    return otlp.set_up(service_name, version=version, instance=instance)


def start_span(
    tracer: trace.Tracer,
    name: str,
    *,
    at: float,
    parent: str | None = None,
    kind: trace.SpanKind = trace.SpanKind.INTERNAL,
    attributes: Mapping[str, str | int | float] | None = None,
    links: Sequence[str] = (),
) -> trace.Span:
    """A span that began at ``at`` (Unix seconds); its name has no ids.

    ``parent`` and ``links`` are traceparents; None, or an invalid parent, begins a new trace.
    """
    parent_span = trace.NonRecordingSpan(parse_traceparent(parent))
    if isinstance(tracer, trace.NoOpTracer):  # what it would return, at half the cost
        return parent_span
    return tracer.start_span(
        name,
        trace.set_span_in_context(parent_span, Context()),
        kind,
        attributes,
        [trace.Link(parse_traceparent(link)) for link in links],
        nanoseconds(at),
    )


def end_span(span: trace.Span, at: float, *, error: str = "") -> None:
    """Ends a span; ``error`` is the kind of failure, '' for none."""
    if error:
        span.set_attribute(ERROR_TYPE, error)
        span.set_status(trace.StatusCode.ERROR)
    span.end(nanoseconds(at))


def traceparent(span: trace.Span) -> str | None:
    """The parent for spans within this one; None where nothing is recorded and there is no parent."""
    context = span.get_span_context()
    if not context.is_valid:
        return None
    return f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags:02x}"


def parse_traceparent(text: str | None) -> trace.SpanContext:
    """The context that a ``traceparent`` names; an invalid one for None and for what is none."""
    match = _TRACEPARENT.fullmatch(text or "")
    if match is None:
        return trace.INVALID_SPAN_CONTEXT
    trace_id, span_id, flags = (int(part, 16) for part in match.groups())
    return trace.SpanContext(trace_id, span_id, is_remote=True, trace_flags=trace.TraceFlags(flags))


def nanoseconds(at: float) -> int:
    """Unix seconds as OpenTelemetry's timestamps."""
    return round(at * 1e9)
