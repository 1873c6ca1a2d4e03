"""The outermost layer: request ids, trace context, counts, and what to do about errors nobody foresaw."""

from __future__ import annotations

import logging
import re

from matte_core.errors import Problem
from matte_telemetry import attributes, logs, names, tracing
from opentelemetry.trace import Span, SpanKind
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from matte_frontend.frontend import Clock, NewId
from matte_frontend.problems import respond
from matte_frontend.telemetry import Telemetry

_SANE = re.compile(rb"[A-Za-z0-9._:/+=@-]{1,128}")
_TRACEPARENT = re.compile(rb"00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")
_METHODS = frozenset({"GET", "HEAD", "POST", "DELETE", "PUT", "PATCH", "OPTIONS"})
#: no spans: nobody asks why these took long
_UNTOLD = frozenset({"/healthz", "/readyz", "/static/{path}"})
log = logging.getLogger(__name__)


class Answer:
    """Sends an answer with the headers that all of them have, and remembers what it was."""

    __slots__ = ("_began", "_clock", "_headers", "_send", "_telemetry", "status", "stream")

    def __init__(self, send: Send, headers: list[tuple[bytes, bytes]], telemetry: Telemetry, clock: Clock) -> None:
        self._send = send
        self._headers = headers
        self._telemetry = telemetry
        self._clock = clock
        self._began = clock()
        self.status = 0
        self.stream = False

    async def __call__(self, message: Message) -> None:
        """Starlette's ``send``."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
            given = message.get("headers", ())
            timing = b"frontend;dur=%.1f" % ((self._clock() - self._began) * 1000)
            message["headers"] = [*given, *self._headers, (b"server-timing", timing)]
            if any(name == b"content-type" and value.startswith(b"text/event-stream") for name, value in given):
                self.stream = True
                self._telemetry.meter.shift(names.OPEN_STREAMS, by=1)
        await self._send(message)

    def over(self, route: str) -> None:
        """Counts it."""
        meter = self._telemetry.meter
        meter.add(names.HTTP_REQUESTS, route, f"{self.status // 100}xx" if self.status else "closed")
        if self.stream:
            meter.shift(names.OPEN_STREAMS, by=-1)
        else:
            meter.observe(names.HTTP_SECONDS, self._clock() - self._began, route)


class Edge:
    """Pure ASGI, for it is on every request's way.

    ``scope["matte"]`` has ``request_id``, the caller's own where it is sane, and ``traceparent``: this request's span,
    or where there are no traces the caller's own, or a new one that nobody records. ``scope["answer_headers"]`` are
    put on every answer; layers within add to them.
    """

    def __init__(self, app: ASGIApp, new_id: NewId, clock: Clock, telemetry: Telemetry) -> None:
        self._app = app
        self._new_id = new_id
        self._clock = clock
        self._telemetry = telemetry

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id, parent = self._identity(scope)
        span = tracing.start_span(
            self._telemetry.tracer, "HTTP", at=self._clock(), parent=parent or None, kind=SpanKind.SERVER
        )
        traceparent = tracing.traceparent(span) or f"00-{self._new_id()}-{self._new_id()[:16]}-00"
        scope["matte"] = {"request_id": request_id, "traceparent": traceparent}
        logs.traceparent.set(traceparent)
        headers = [(b"x-request-id", request_id.encode()), (b"traceparent", traceparent.encode())]
        scope["answer_headers"] = headers
        answer = Answer(send, headers, self._telemetry, self._clock)
        try:
            await self._app(scope, receive, answer)
        except ClientDisconnect:
            pass  # nobody is there to be answered
        except Exception:
            log.exception("unhandled", extra={"path": scope["path"], **scope["matte"]})
            if answer.status:
                raise
            detail = "The error was logged; say this request id when you report it."
            problem = Problem("internal_error", detail, request_id=request_id)
            await respond(problem, instance=scope["path"])(scope, receive, answer)
        finally:
            route = getattr(scope.get("route"), "path_format", "other")
            answer.over(route)
            if not answer.stream and route not in _UNTOLD:
                self._tell(span, scope, route, answer.status)

    def _tell(self, span: Span, scope: Scope, route: str, status: int) -> None:
        """Ends the span; one that never ends is never told."""
        if span.is_recording():
            method = scope["method"] if scope["method"] in _METHODS else "HTTP"
            span.update_name(f"{method} {route}")
            span.set_attributes(
                {
                    attributes.HTTP_METHOD: method, attributes.HTTP_ROUTE: route, attributes.HTTP_STATUS: status,
                    attributes.URL_PATH: scope["path"], attributes.URL_SCHEME: scope["scheme"],
                }
            )  # fmt: skip
        tracing.end_span(span, self._clock(), error=str(status) if status >= 500 else "")

    def _identity(self, scope: Scope) -> tuple[str, str]:
        request_id = traceparent = b""
        for name, value in scope["headers"]:
            if name == b"x-request-id" and _SANE.fullmatch(value):
                request_id = value
            elif name == b"traceparent" and _TRACEPARENT.fullmatch(value):
                traceparent = value
        return request_id.decode() or self._new_id(), traceparent.decode()
