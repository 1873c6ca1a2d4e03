"""Limits on connections: how much of a request may arrive in which time, and how many connections there may be.

Everything here is pure; ``protocol.py`` passes in bytes and the time.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from enum import StrEnum

from matte_core.errors import Problem

from matte_frontend.hosts import Networks, client_key
from matte_frontend.settings import FrontendSettings

#: in sweeps: a stall of this process must not be charged to its clients
_LONGEST_STEP = 2.0
#: refused connections get an answer up to twice the limit; beyond it they are closed without one
_ANSWERED = 2


class Phase(StrEnum):
    """What is awaited from the client."""

    REQUEST = "request"  #: the first byte of a request
    HEADERS = "headers"  #: the rest of the request line and the headers
    BODY = "body"


class ConnectionLimits:
    """The limits of the settings; ``connections`` also leaves room for other files below ``open_files``
    (RLIMIT_NOFILE). ``sweep_seconds`` is between two checks: a tenth of the shortest limit, at most a second.
    """

    def __init__(self, settings: FrontendSettings, *, open_files: int) -> None:
        self.settings = settings
        self.connections = max(16, min(settings.max_connections, open_files - settings.redis_max_connections - 64))
        self.sweep_seconds = max(0.02, min(1.0, settings.header_seconds / 10, settings.body_grace_seconds / 10))

    def headers_too_large(self, size: int, count: int = 0) -> Problem | None:
        """431 for a request line and headers of ``size`` bytes; ``count`` headers."""
        if size > (limit := self.settings.max_header_bytes):
            return Problem("headers_too_large", f"The headers have more than {limit} bytes.")
        if count > (limit := self.settings.max_headers):
            return Problem("headers_too_large", f"The request has {count} headers; at most {limit} are allowed.")
        return None


@dataclass(slots=True)
class RequestArrival:
    """A request on its way in.

    ``waited`` is the time in which bytes could have come: the clock stands while this side does not read. In the
    body it starts again with every stretch of ``body_grace_seconds``, and so does ``received`` (bytes of the body).
    ``overhead`` is bytes of headers, or between two pieces of a body (trailers, chunk extensions).
    """

    checked_at: float
    phase: Phase = Phase.REQUEST
    trusted: bool = False
    waited: float = 0.0
    received: int = 0
    overhead: int = 0

    def check(self, now: float, limits: ConnectionLimits, *, reading: bool) -> Problem | None:
        """408 for a client that is too slow; called at every sweep. ``reading``: bytes could come since the last."""
        step, self.checked_at = min(now - self.checked_at, _LONGEST_STEP * limits.sweep_seconds), now
        if not reading:
            return None
        self.waited += step
        settings = limits.settings
        if self.phase is not Phase.BODY:
            idle = self.phase is Phase.REQUEST and self.trusted
            limit = settings.keep_alive_seconds if idle else settings.header_seconds
            if self.waited <= limit:
                return None
            return Problem("request_timeout", f"The request's headers were not complete after {limit:g} s.")
        if self.waited < settings.body_grace_seconds:
            return None
        required = settings.min_body_rate * self.waited
        if self.received < required:
            detail = f"{self.received} bytes of the body came in {self.waited:.0f} s; the least is {required:.0f}."
            return Problem("request_timeout", detail)
        self.waited, self.received = 0.0, 0
        return None


class ConnectionCounter:
    """Counts the connections of each client. Those of trusted proxies count towards the total only."""

    def __init__(self, limits: ConnectionLimits, trusted: Networks) -> None:
        self.limits = limits
        self.trusted = trusted
        self._per_client: Counter[str] = Counter()
        self._total = 0

    def opened(self, address: str) -> Problem | None:
        """Counts a connection from an address ('': a socket without one); why it must be refused, or None."""
        self._total += 1
        if self._has_limit(address):
            key = client_key(address)
            self._per_client[key] += 1
            if self._per_client[key] > (limit := self.limits.settings.max_connections_per_address):
                detail = (
                    f"There are {limit} connections from {key} already. Use fewer, or keep them open. A proxy in front "
                    "of Matte belongs into MATTE_TRUSTED_PROXIES."
                )
                return Problem("too_many_connections", detail, retry_after=5)
        if self._total > self.limits.connections:
            detail = f"This frontend has {self.limits.connections} connections, which is all it takes."
            return Problem("connections_exhausted", detail, retry_after=5)
        return None

    def flooded(self, address: str) -> bool:
        """Whether so many connections were refused that this one is closed without an answer."""
        per_client = self._per_client[client_key(address)] if self._has_limit(address) else 0
        limit = _ANSWERED * self.limits.settings.max_connections_per_address
        return per_client > limit or self._total > 9 * self.limits.connections / 8

    def closed(self, address: str) -> None:
        """Forgets a connection that :meth:`opened` counted, refused or not."""
        self._total -= 1
        if self._has_limit(address):
            key = client_key(address)
            self._per_client[key] -= 1
            if not self._per_client[key]:
                del self._per_client[key]

    def _has_limit(self, address: str) -> bool:
        return bool(address) and address not in self.trusted
