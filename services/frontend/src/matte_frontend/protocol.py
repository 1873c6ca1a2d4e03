"""uvicorn's HTTP/1.1 protocol within the limits of ``connections.py``.

Limits belong where the bytes arrive, and uvicorn has none but its keep-alive. Why not another server: granian limits
the time and size of headers, but neither a body's rate nor connections per address, and its Rust side cannot be
extended; hypercorn has time-outs, none for a body, and parses in Python. A subclass keeps what uvicorn does well.

A response that has begun is never cut off, however slowly its client reads.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable
from typing import Any, cast

from matte_core.errors import Problem
from matte_telemetry.prometheus import PrometheusMeter
from starlette.types import Message, Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from matte_frontend import metrics
from matte_frontend.connections import ConnectionCounter, Phase, RequestArrival

#: requests that may wait behind the one that is served; a client that sends more is refused
_MAX_PIPELINED = 16
#: a refused client may go on sending this long, so that a reset does not destroy the response
_LINGER_SECONDS = 2.0
log = logging.getLogger(__name__)


class LimitedProtocol(HttpToolsProtocol):
    def __init__(self, counter: ConnectionCounter, meter: PrometheusMeter, **uvicorn: Any) -> None:
        super().__init__(**uvicorn)
        self._counter = counter
        self._limits = counter.limits
        self._meter = meter
        self._peer = ""
        self._arrival: RequestArrival | None = None  # None: the request is complete
        self._refused: Problem | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._peer = self.client[0] if self.client else ""
        problem = self._counter.opened(self._peer)
        if problem is None:
            self._await_request()
        elif self._counter.flooded(self._peer):
            transport.abort()
        else:
            self._refuse(problem)

    def connection_lost(self, exc: Exception | None) -> None:
        self._counter.closed(self._peer)
        super().connection_lost(exc)

    def eof_received(self) -> bool:  # type: ignore[override]
        """The client sends no more, but may still read a response; one that is gone shows at a write."""
        if self.cycle is None or not self.cycle.response_started or self.cycle.response_complete:
            return False
        self.cycle.keep_alive = False
        return True

    def _await_request(self) -> None:
        self._arrival = RequestArrival(self.loop.time(), trusted=self._peer in self._counter.trusted)

    # --- bytes ---

    def data_received(self, data: bytes) -> None:
        if self._refused is not None:
            return  # what a refused client still sends is thrown away
        before = self._arrival
        phase_before = before and before.phase
        if before is not None:
            before.overhead += len(data)
        super().data_received(data)
        arrival = self._arrival
        if arrival is None:
            if self.cycle is None or self.cycle.response_complete:  # uvicorn's own clock for idle ones was stopped
                self._await_request()
            return
        grown = arrival is before and arrival.phase is phase_before and phase_before is not Phase.REQUEST
        if grown and (problem := self._limits.headers_too_large(arrival.overhead)) is not None:
            self._refuse(problem)

    def on_message_begin(self) -> None:
        super().on_message_begin()
        if self._refused is None:
            self._arrival = RequestArrival(self.loop.time(), Phase.HEADERS)

    def on_headers_complete(self) -> None:
        if self._refused is not None or self._arrival is None:
            return
        size = len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers)
        problem = self._limits.headers_too_large(size, len(self.headers))
        if problem is None and len(self.pipeline) >= _MAX_PIPELINED:
            problem = Problem("too_many_connections", f"At most {_MAX_PIPELINED} requests may wait on one connection.")
        if problem is not None:
            self._refuse(problem)
            return
        self._arrival = RequestArrival(self.loop.time(), Phase.BODY)
        super().on_headers_complete()
        self.headers = []  # trailers come here: they must not pass for headers

    def on_body(self, body: bytes) -> None:
        if self._refused is None and self._arrival is not None:
            self._arrival.received += len(body)
            self._arrival.overhead = 0
            super().on_body(body)

    def on_message_complete(self) -> None:
        if self._refused is None:
            self._arrival = None
            super().on_message_complete()

    def send_400_response(self, msg: str) -> None:
        self._refuse(Problem("malformed_request", f"{msg} Matte speaks HTTP/1.1 and HTTP/1.0."))

    # --- time ---

    def sweep(self, now: float) -> None:
        """Refuses the request of a client that is too slow."""
        arrival = self._arrival
        if arrival is None or self.transport.is_closing():
            return
        cycle = self.cycle
        serving = cycle is not None and not cycle.response_complete
        reading = not self.flow.read_paused and not (
            serving and (arrival.phase is not Phase.BODY or cycle.response_started or cycle.waiting_for_100_continue)
        )
        problem = arrival.check(now, self._limits, reading=reading)
        if problem is None:
            return
        if arrival.phase is Phase.REQUEST or (arrival.phase is Phase.BODY and not serving):
            self._meter.add(metrics.CONNECTIONS_REFUSED, "idle")  # no request is open, or its response is complete
            self.transport.close()
        else:
            self._refuse(problem)

    # --- refusals ---

    def _refuse(self, problem: Problem) -> None:
        """Stops reading. A response that is being sent ends first; otherwise the client gets the problem."""
        headers_incomplete = self._arrival is not None and self._arrival.phase is Phase.HEADERS
        self._refused, self._arrival = problem, None
        self._meter.add(metrics.CONNECTIONS_REFUSED, problem.code)
        if self.cycle is not None and not self.cycle.response_complete:
            self.cycle.keep_alive = False
            self.cycle.message_event.set()
            return
        # the application responds, so that a refusal has an id, CORS headers and metrics like any response
        if not headers_incomplete or self.scope is None:
            super().on_message_begin()
        path = self.url.partition(b"?")[0].decode("latin-1")
        method = self.parser.get_method().decode("ascii") if path else "GET"
        scope = {
            **self.scope, "method": method, "path": path or "/", "raw_path": path.encode("latin-1"),
            "query_string": b"", "headers": list(self.headers), "protocol_problem": problem,
        }  # fmt: skip
        self.cycle = RequestResponseCycle(
            scope=cast("Any", scope), transport=cast("Any", _LingeringTransport(self.transport, self.loop)),
            flow=self.flow, logger=self.logger, access_logger=self.access_logger, access_log=self.access_log,
            default_headers=self.server_state.default_headers, message_event=asyncio.Event(),
            expect_100_continue=False, keep_alive=False, on_response=self.flow.resume_reading,
        )  # fmt: skip
        self.cycle.more_body = False
        self._start_asgi_task(self.cycle, self.app)

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        """Reading a body raises the problem that the request was refused for meanwhile."""

        def refused() -> Problem | None:
            return self._refused if cycle.more_body and not cycle.response_started else None

        async def serve(scope: Scope, receive: Receive, send: Send) -> None:
            async def limited_receive() -> Message:
                message = None if refused() else await receive()
                if (problem := refused()) is not None:
                    raise problem
                assert message is not None
                return message

            await app(scope, limited_receive, _unchunked(cycle, send) if scope["http_version"] == "1.0" else send)

        super()._start_asgi_task(cycle, cast("Any", serve))


def _unchunked(cycle: RequestResponseCycle, send: Send) -> Send:
    """``send`` for an HTTP/1.0 client, to which uvicorn would send chunks: a body without a length ends with the
    connection.
    """
    without_length = False

    async def unchunked(message: Message) -> None:
        nonlocal without_length
        if message["type"] == "http.response.start":
            without_length = all(name.lower() != b"content-length" for name, _ in message.get("headers", ()))
            if without_length:
                cycle.chunked_encoding = cycle.keep_alive = False
        elif without_length:
            cycle.expected_content_length = len(message.get("body", b""))  # uvicorn counts down to 0
        await send(message)

    return unchunked


class _LingeringTransport:
    """A transport whose ``close`` sends no more, but lets the client finish sending."""

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport = transport
        self._loop = loop
        self.write = transport.write
        self.is_closing = transport.is_closing

    def close(self) -> None:
        if not self._transport.is_closing():
            self._transport.write_eof()
            self._loop.call_later(_LINGER_SECONDS, self._transport.close)


async def sweep_connections(connections: Iterable[Any], counter: ConnectionCounter) -> None:
    """Checks all connections at intervals, which is cheaper than a timer for each. Never returns."""
    loop = asyncio.get_running_loop()
    while True:
        await asyncio.sleep(counter.limits.sweep_seconds)
        now = loop.time()
        for connection in tuple(connections):
            try:
                connection.sweep(now)
            except Exception:
                log.exception("sweep of a connection failed")
