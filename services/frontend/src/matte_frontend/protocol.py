"""uvicorn's HTTP/1.1 protocol within the bounds of ``connections.py``.

Bounds belong where the bytes arrive, and uvicorn has none but its keep-alive. Why not another server: granian bounds
the time and size of headers, but neither a body's rate nor connections per address, and its Rust side cannot be
extended; hypercorn has time-outs, none for a body, and parses in Python. A subclass keeps what uvicorn does well.

An answer that is being served is never cut, whatever its reader does.
"""

from __future__ import annotations

import asyncio
import functools
import logging
from collections.abc import Iterable
from typing import Any, cast

from matte_core.errors import Problem
from matte_telemetry import names
from matte_telemetry.prometheus import PrometheusMeter
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from matte_frontend.connections import Arrival, Ledger, Phase

#: requests that wait behind the one that is served; a client that sends more must ask again
_PIPELINED = 16
#: seconds in which a refused client may go on sending, so that a reset does not destroy the answer
_LINGER = 2.0
log = logging.getLogger(__name__)


class BoundedProtocol(HttpToolsProtocol):
    """One connection."""

    def __init__(self, ledger: Ledger, meter: PrometheusMeter, **uvicorn: Any) -> None:
        super().__init__(**uvicorn)
        self._ledger = ledger
        self._bounds = ledger.bounds
        self._meter = meter
        self._peer = ""
        self._arrival: Arrival | None = None  # None: nothing is awaited but, perhaps, a further request
        self._refused: Problem | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A client is there."""
        super().connection_made(transport)
        self._peer = self.client[0] if self.client else ""
        problem = self._ledger.opened(self._peer)
        if problem is None:
            self._await_request()
        elif self._ledger.hopeless(self._peer):
            transport.abort()
        else:
            self._refuse(problem)

    def connection_lost(self, exc: Exception | None) -> None:
        """It is gone."""
        self._ledger.closed(self._peer)
        super().connection_lost(exc)

    def eof_received(self) -> bool:  # type: ignore[override]
        """The client sends no more. One that is being answered may still read; one that is gone shows at a write."""
        if self.cycle is None or not self.cycle.response_started or self.cycle.response_complete:
            return False
        self.cycle.keep_alive = False
        return True

    def _await_request(self) -> None:
        self._arrival = Arrival(self.loop.time(), trusted=self._peer in self._ledger.trusted)

    # --- bytes ---

    def data_received(self, data: bytes) -> None:
        """Parses; what a refused client still sends is thrown away."""
        if self._refused is not None:
            return
        before = self._arrival
        was = before and before.phase
        if before is not None:
            before.overhead += len(data)
        super().data_received(data)
        arrival = self._arrival
        if arrival is None:
            if self.cycle is None or self.cycle.response_complete:  # uvicorn's own clock for idle ones was stopped
                self._await_request()
            return
        grown = arrival is before and arrival.phase is was and was is not Phase.REQUEST
        if grown and (problem := self._bounds.headers_too_large(arrival.overhead)) is not None:
            self._refuse(problem)

    def on_message_begin(self) -> None:
        """The first byte of a request."""
        super().on_message_begin()
        if self._refused is None:
            self._arrival = Arrival(self.loop.time(), Phase.HEADERS)

    def on_headers_complete(self) -> None:
        """Starts the request, or refuses it."""
        if self._refused is not None or self._arrival is None:
            return
        size = len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers)
        problem = self._bounds.headers_too_large(size, len(self.headers))
        if problem is None and len(self.pipeline) >= _PIPELINED:
            problem = Problem("too_many_connections", f"At most {_PIPELINED} requests may wait on one connection.")
        if problem is not None:
            self._refuse(problem)
            return
        self._arrival.enter(Phase.BODY, self.loop.time())
        super().on_headers_complete()
        self.headers = []  # trailers come here: they must not pass for headers

    def on_body(self, body: bytes) -> None:
        """A piece of the body."""
        if self._refused is None and self._arrival is not None:
            self._arrival.received += len(body)
            self._arrival.overhead = 0
            super().on_body(body)

    def on_message_complete(self) -> None:
        """All of the request is there."""
        if self._refused is None:
            self._arrival = None
            super().on_message_complete()

    def send_400_response(self, msg: str) -> None:
        """What came is not HTTP."""
        self._refuse(Problem("malformed_request", f"{msg} Matte speaks HTTP/1.1 and HTTP/1.0."))

    # --- time ---

    def sweep(self, now: float) -> None:
        """Looks whether the client is too slow."""
        arrival = self._arrival
        if arrival is None or self.transport.is_closing():
            return
        cycle = self.cycle
        serving = cycle is not None and not cycle.response_complete
        reading = not self.flow.read_paused and not (
            serving and (arrival.phase is not Phase.BODY or cycle.response_started or cycle.waiting_for_100_continue)
        )
        problem = arrival.judge(now, self._bounds, reading=reading)
        if problem is None:
            return
        if arrival.phase is Phase.REQUEST or (arrival.phase is Phase.BODY and not serving):
            self._count("idle")  # nobody asked anything, or it was answered already
            self.transport.close()
        else:
            self._refuse(problem)

    # --- refusals ---

    def _count(self, code: str) -> None:
        self._meter.add(names.CONNECTIONS_REFUSED, code)

    def _refuse(self, problem: Problem) -> None:
        """Reads nothing more. Answers that are under way end first; then, or with this problem, the connection."""
        headers_came = self._arrival is not None and self._arrival.phase is Phase.HEADERS
        self._refused, self._arrival = problem, None
        self._count(problem.code)
        if self.cycle is None or self.cycle.response_complete:
            self._answer(problem, fresh=not headers_came)
        else:
            self.cycle.keep_alive = False
            self.cycle.message_event.set()

    def _answer(self, problem: Problem, *, fresh: bool) -> None:
        """Answers through the application, so that a refusal is like every answer: id, CORS headers, count."""
        if fresh or self.scope is None:
            super().on_message_begin()
        path = self.url.partition(b"?")[0].decode("latin-1")
        method = self.parser.get_method().decode("ascii") if path else "GET"
        scope = {
            **self.scope, "method": method, "path": path or "/", "raw_path": path.encode("latin-1"),
            "query_string": b"", "headers": list(self.headers), "refusal": problem,
        }  # fmt: skip
        self.cycle = RequestResponseCycle(
            scope=cast("Any", scope), transport=cast("Any", _Lingering(self.transport, self.loop)), flow=self.flow,
            logger=self.logger, access_logger=self.access_logger, access_log=self.access_log,
            default_headers=self.server_state.default_headers, message_event=asyncio.Event(),
            expect_100_continue=False, keep_alive=False, on_response=self.flow.resume_reading,
        )  # fmt: skip
        self.cycle.more_body = False
        self._start_asgi_task(self.cycle, self.app)

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        """Lets the application's reading end with the problem, if one ends the request."""
        super()._start_asgi_task(cycle, cast("Any", functools.partial(self._serve, cycle, app)))

    async def _serve(
        self, cycle: RequestResponseCycle, app: ASGIApp, scope: Scope, receive: Receive, send: Send
    ) -> None:
        def cut() -> Problem | None:
            return self._refused if cycle.more_body and not cycle.response_started else None

        async def bounded() -> Message:
            message = None if cut() else await receive()
            if (problem := cut()) is not None:
                raise problem
            assert message is not None
            return message

        old = scope["http_version"] == "1.0"
        await app(scope, bounded, _unchunked(cycle, send) if old else send)


def _unchunked(cycle: RequestResponseCycle, send: Send) -> Send:
    """Sends to an HTTP/1.0 client, to whom uvicorn would send chunks: what has no length ends with the connection."""
    endless = False

    async def unchunked(message: Message) -> None:
        nonlocal endless
        if message["type"] == "http.response.start":
            endless = all(name.lower() != b"content-length" for name, _ in message.get("headers", ()))
            if endless:
                cycle.chunked_encoding = cycle.keep_alive = False
        elif endless:
            cycle.expected_content_length = len(message.get("body", b""))  # uvicorn counts down to 0
        await send(message)

    return unchunked


class _Lingering:
    """A transport whose ``close`` sends no more, but lets the client finish sending."""

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport = transport
        self._loop = loop
        self.write = transport.write
        self.is_closing = transport.is_closing

    def close(self) -> None:
        if not self._transport.is_closing():
            self._transport.write_eof()
            self._loop.call_later(_LINGER, self._transport.close)


async def sweep(connections: Iterable[Any], ledger: Ledger) -> None:
    """Looks at all connections again and again: cheaper than timers for each."""
    loop = asyncio.get_running_loop()
    while True:
        await asyncio.sleep(ledger.bounds.sweep_seconds)
        now = loop.time()
        for connection in tuple(connections):
            try:
                connection.sweep(now)
            except Exception:
                log.exception("a connection could not be looked at")
