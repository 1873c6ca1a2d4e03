"""A small OTLP/HTTP receiver, for tests: what an OpenTelemetry collector would have got."""

from __future__ import annotations

import contextlib
import gzip
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest


@dataclass(frozen=True)
class Got:
    """One span as it was sent. Ids are hexadecimal, times Unix seconds."""

    service: str
    name: str
    kind: int
    trace: str
    id: str
    parent: str
    begun: float
    ended: float
    attributes: dict[str, Any]
    events: tuple[str, ...]
    links: tuple[str, ...]
    failed: bool


@dataclass
class Receiver:
    """Everything that was sent to ``endpoint``."""

    endpoint: str
    spans: list[Got] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)

    def trace(self, trace: str, *, until: set[str], seconds: float = 30.0) -> list[Got]:
        """The spans of a trace, once those named ``until`` have come."""
        deadline = time.monotonic() + seconds
        while True:
            found = [span for span in self.spans if span.trace == trace]
            missing = until - {span.name for span in found}
            if not missing:
                return found
            assert time.monotonic() < deadline, (missing, sorted({span.name for span in found}))
            time.sleep(0.1)


def _value(value: Any) -> Any:
    return getattr(value, value.WhichOneof("value"))


def _read(body: bytes) -> Iterator[Got]:
    request = ExportTraceServiceRequest.FromString(body)
    for resource in request.resource_spans:
        about = {a.key: _value(a.value) for a in resource.resource.attributes}
        for span in (span for scope in resource.scope_spans for span in scope.spans):
            yield Got(
                about["service.name"], span.name, span.kind, span.trace_id.hex(), span.span_id.hex(),
                span.parent_span_id.hex(), span.start_time_unix_nano / 1e9, span.end_time_unix_nano / 1e9,
                {a.key: _value(a.value) for a in span.attributes}, tuple(event.name for event in span.events),
                tuple(link.span_id.hex() for link in span.links), span.status.code == 2,
            )  # fmt: skip


@contextlib.contextmanager
def receiving() -> Iterator[Receiver]:
    """A receiver on a free port of loopback."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if self.headers.get("Content-Encoding") == "gzip":
                body = gzip.decompress(body)
            receiver.paths.append(self.path)
            receiver.spans += _read(body)
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    receiver = Receiver(f"http://127.0.0.1:{server.server_port}")
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield receiver
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
