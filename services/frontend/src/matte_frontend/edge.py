"""The outermost layer: request ids, trace context, and what to do about errors nobody foresaw."""

from __future__ import annotations

import logging
import re

from matte_core.errors import Problem
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from matte_frontend.gateway import NewId
from matte_frontend.problems import respond

_SANE = re.compile(rb"[A-Za-z0-9._:/+=@-]{1,128}")
_TRACEPARENT = re.compile(rb"00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")
log = logging.getLogger(__name__)


class Edge:
    """Pure ASGI, for it is on every request's way.

    ``scope["matte"]`` has ``request_id`` and ``traceparent``: the caller's own where they are sane, else new ones.
    """

    def __init__(self, app: ASGIApp, new_id: NewId) -> None:
        self._app = app
        self._new_id = new_id

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id, traceparent = self._identity(scope)
        scope["matte"] = {"request_id": request_id.decode(), "traceparent": traceparent.decode()}
        started = False

        async def send_with_ids(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                message["headers"] = [
                    *message.get("headers", ()), (b"x-request-id", request_id), (b"traceparent", traceparent)
                ]  # fmt: skip
            await send(message)

        try:
            await self._app(scope, receive, send_with_ids)
        except ClientDisconnect:
            return  # nobody is there to be answered
        except Exception:
            log.exception("unhandled", extra={"path": scope["path"], **scope["matte"]})
            if started:
                raise
            detail = "The error was logged; say this request id when you report it."
            problem = Problem("internal_error", detail, request_id=request_id.decode())
            await respond(problem, instance=scope["path"])(scope, receive, send_with_ids)

    def _identity(self, scope: Scope) -> tuple[bytes, bytes]:
        request_id = traceparent = b""
        for name, value in scope["headers"]:
            if name == b"x-request-id" and _SANE.fullmatch(value):
                request_id = value
            elif name == b"traceparent" and _TRACEPARENT.fullmatch(value):
                traceparent = value
        return (
            request_id or self._new_id().encode(),
            traceparent or f"00-{self._new_id()}-{self._new_id()[:16]}-00".encode(),
        )
