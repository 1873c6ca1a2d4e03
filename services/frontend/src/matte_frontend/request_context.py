"""The outermost middleware: request ids, trace context, HTTP metrics, and a response to unexpected errors."""

from __future__ import annotations

import logging
import re

from matte_core.errors import Problem
from matte_telemetry import attributes, logs, tracing
from matte_telemetry.prometheus import PrometheusMeter
from opentelemetry.trace import SpanKind, Tracer
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from matte_frontend import metrics
from matte_frontend.problems import problem_response
from matte_frontend.state import Clock, NewId

_REQUEST_ID = re.compile(rb"[A-Za-z0-9._:/+=@-]{1,128}")
_METHODS = frozenset({"GET", "HEAD", "POST", "DELETE", "PUT", "PATCH", "OPTIONS"})
_UNTRACED_ROUTES = frozenset({"/healthz", "/readyz", "/static/{path}"})
log = logging.getLogger(__name__)


class RequestContextMiddleware:
    """Pure ASGI, for every request passes it.

    ``scope["matte"]`` has ``request_id``, the client's own where it is valid, and ``traceparent``: this request's span,
    or without tracing the client's own, or a new one that nobody records. ``scope["response_headers"]`` are added to
    every response; middleware further in appends to them.
    """

    def __init__(self, app: ASGIApp, new_id: NewId, clock: Clock, meter: PrometheusMeter, tracer: Tracer) -> None:
        self._app = app
        self._new_id = new_id
        self._clock = clock
        self._meter = meter
        self._tracer = tracer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began, meter = self._clock(), self._meter
        request_id, parent = "", None
        for name, value in scope["headers"]:
            if name == b"x-request-id" and _REQUEST_ID.fullmatch(value):
                request_id = value.decode()
            elif name == b"traceparent" and tracing.parse_traceparent(text := value.decode("latin-1")).is_valid:
                parent = text
        request_id = request_id or self._new_id()
        span = tracing.start_span(self._tracer, "HTTP", at=began, parent=parent, kind=SpanKind.SERVER)
        traceparent = tracing.traceparent(span) or f"00-{self._new_id()}-{self._new_id()[:16]}-00"
        scope["matte"] = {"request_id": request_id, "traceparent": traceparent}
        logs.traceparent.set(traceparent)
        response_headers = [(b"x-request-id", request_id.encode()), (b"traceparent", traceparent.encode())]
        scope["response_headers"] = response_headers
        status, is_stream = 0, False

        async def send_with_headers(message: Message) -> None:
            nonlocal status, is_stream
            if message["type"] == "http.response.start":
                status = message["status"]
                own = message.get("headers", ())
                timing = b"frontend;dur=%.1f" % ((self._clock() - began) * 1000)
                message["headers"] = [*own, *response_headers, (b"server-timing", timing)]
                if any(name == b"content-type" and value.startswith(b"text/event-stream") for name, value in own):
                    is_stream = True
                    meter.shift(metrics.OPEN_STREAMS, by=1)
            await send(message)

        try:
            await self._app(scope, receive, send_with_headers)
        except ClientDisconnect:
            pass  # nobody is there to be answered
        except Exception:
            log.exception("unhandled", extra={"path": scope["path"], **scope["matte"]})
            if status:
                raise
            detail = "The error was logged; say this request id when you report it."
            problem = Problem("internal_error", detail, request_id=request_id)
            await problem_response(problem, instance=scope["path"])(scope, receive, send_with_headers)
        finally:
            route = getattr(scope.get("route"), "path_format", "other")
            meter.add(metrics.HTTP_REQUESTS, route, f"{status // 100}xx" if status else "closed")
            if is_stream:
                meter.shift(metrics.OPEN_STREAMS, by=-1)
            else:
                meter.observe(metrics.HTTP_SECONDS, self._clock() - began, route)
            # a span that never ends is never exported
            if not is_stream and route not in _UNTRACED_ROUTES:
                if span.is_recording():
                    method = scope["method"] if scope["method"] in _METHODS else "HTTP"
                    span.update_name(f"{method} {route}")
                    span.set_attributes(
                        {
                            attributes.HTTP_METHOD: method, attributes.HTTP_ROUTE: route,
                            attributes.HTTP_STATUS: status, attributes.URL_PATH: scope["path"],
                            attributes.URL_SCHEME: scope["scheme"],
                        }
                    )  # fmt: skip
                tracing.end_span(span, self._clock(), error=str(status) if status >= 500 else "")
