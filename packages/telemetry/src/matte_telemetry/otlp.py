"""Spans by OpenTelemetry's SDK, sent in batches over OTLP/HTTP by a thread of their own."""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence

from opentelemetry import trace as api
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from matte_telemetry.attributes import ERROR_TYPE
from matte_telemetry.tracing import Attributes, Span, SpanKind

log = logging.getLogger(__name__)
#: seconds that a program which ends waits for a collector that does not answer
CLOSE_SECONDS = 3.0
_W3C = TraceContextTextMapPropagator()


def _nanoseconds(at: float) -> int:
    return round(at * 1e9)


def _context(traceparent: str) -> Context:
    return _W3C.extract({"traceparent": traceparent}, context=Context())


class OtlpSpan:
    """A :class:`~matte_telemetry.tracing.Span` of the SDK."""

    __slots__ = ("_span",)

    def __init__(self, span: api.Span) -> None:
        self._span = span

    @property
    def traceparent(self) -> str:
        """The context of what happens in it."""
        context = self._span.get_span_context()
        return f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags:02x}"

    @property
    def recording(self) -> bool:
        """False where the trace is not sampled."""
        return self._span.is_recording()

    def rename(self, name: str) -> None:
        """A better name."""
        self._span.update_name(name)

    def set(self, attributes: Attributes) -> None:
        """Details."""
        self._span.set_attributes(attributes)

    def event(self, name: str, at: float, attributes: Attributes | None = None) -> None:
        """Something that happened in it."""
        self._span.add_event(name, attributes, _nanoseconds(at))

    def end(self, at: float, *, error: str = "") -> None:
        """It is over."""
        if error:
            self._span.set_attribute(ERROR_TYPE, error)
            self._span.set_status(api.StatusCode.ERROR)
        self._span.end(_nanoseconds(at))


class OtlpTracer:
    """A :class:`~matte_telemetry.tracing.Tracer`. A collector that is away costs spans, never a job: they wait in a
    bounded queue, and what does not fit is dropped.
    """

    def __init__(self, provider: TracerProvider) -> None:
        self._provider = provider
        self._tracer = provider.get_tracer("matte")

    @classmethod
    def open(cls, service_name: str, *, version: str, instance: str) -> OtlpTracer:
        """With an exporter as the ``OTEL_…`` variables say; nothing is sent before the first span."""
        own = {
            "service.name": service_name, "service.namespace": "matte", "service.version": version,
            "service.instance.id": instance,
        }  # fmt: skip
        resource = Resource.create(own).merge(OTELResourceDetector().detect())
        provider = TracerProvider(resource=resource, shutdown_on_exit=False)
        provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
        log.info("traces are sent as %s", resource.attributes["service.name"])
        return cls(provider)

    def start(
        self,
        name: str,
        *,
        at: float,
        parent: str | None = None,
        kind: SpanKind = SpanKind.INTERNAL,
        attributes: Attributes | None = None,
        links: Sequence[str] = (),
    ) -> Span:
        """A span; see the protocol."""
        linked = [api.Link(api.get_current_span(_context(link)).get_span_context()) for link in links]
        span = self._tracer.start_span(
            name, _context(parent or ""), api.SpanKind(kind.value), attributes, linked, _nanoseconds(at)
        )
        return OtlpSpan(span)

    def close(self) -> None:
        """Sends what is left. The SDK may try for longer than anybody wants to wait: it goes on in a daemon thread."""
        ending = threading.Thread(target=self._provider.shutdown, name="traces end", daemon=True)
        ending.start()
        ending.join(CLOSE_SECONDS)
