"""The part of tracing that needs OpenTelemetry's SDK: spans go over OTLP/HTTP, in batches, from a thread.

A collector that is away costs spans, never a job: they wait in a bounded queue, and what does not fit is dropped.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import Tracer

log = logging.getLogger(__name__)
#: seconds that a program which ends waits for a collector that does not answer
SHUTDOWN_SECONDS = 3.0


def set_up(service_name: str, *, version: str, instance: str) -> tuple[Tracer, Callable[[], None]]:
    """See :func:`matte_telemetry.tracing.set_up`; nothing is sent before the first span."""
    attributes = {
        "service.name": service_name, "service.namespace": "matte", "service.version": version,
        "service.instance.id": instance,
    }  # fmt: skip
    resource = Resource.create(attributes).merge(OTELResourceDetector().detect())
    provider = TracerProvider(resource=resource, shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    log.info("traces are sent as %s", resource.attributes["service.name"])

    def shut_down() -> None:
        # the SDK may try for longer than anybody wants to wait: it goes on in a daemon thread
        thread = threading.Thread(target=provider.shutdown, name="traces shut down", daemon=True)
        thread.start()
        thread.join(SHUTDOWN_SECONDS)

    return provider.get_tracer("matte"), shut_down
