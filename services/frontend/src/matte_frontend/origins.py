"""Which pages may use the interface: CORS on every answer, and no change on behalf of a page that may not.

The refusal follows Go's ``http.CrossOriginProtection``: browsers say where a request comes from in ``Sec-Fetch-Site``
and ``Origin``; what says neither is no browser, and nothing that a page could make one send.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum, auto
from urllib.parse import urlsplit

from matte_core.domain.addresses import is_loopback
from matte_core.errors import Problem
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from matte_frontend.addresses import split_host, wildcards
from matte_frontend.problems import respond

Headers = list[tuple[bytes, bytes]]

_SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
_PORTS = {"http": "80", "https": "443"}
_HEADER_NAMES = re.compile(rb"[A-Za-z0-9!#$%&'*+.^_`|~, -]{1,2000}")
#: what scripts may read besides the few headers that CORS always lets them
_EXPOSED = (
    b"Accept-Ranges, Content-Disposition, Content-Encoding, Content-Range, ETag, Location, Preference-Applied, "
    b"Retry-After, Server-Timing, traceparent, X-Job-Id, X-Model, X-Model-Digest, X-Model-Version, X-Request-Id, "
    b"X-Subject-Found"
)
_METHODS = b"GET, HEAD, POST, PUT, PATCH, DELETE"
#: seconds; a preflight per picture would be a round trip per picture, and the request itself is checked, too
_MAX_AGE = b"7200"
_TOLD = 100
log = logging.getLogger(__name__)


class Access(Enum):
    """What a page may do."""

    SAME = auto()  #: it is ours, or no page
    ALLOWED = auto()
    ANONYMOUS = auto()  #: allowed without credentials, by ``*``
    FOREIGN = auto()


def canonical(origin: str) -> str:
    """An entry of ``MATTE_ALLOWED_ORIGINS`` as browsers write origins: lower case, no final slash, no default port.

    Raises:
        ValueError: it is no origin.
    """
    if origin in ("*", "null"):
        return origin
    parts = urlsplit(origin.lower().rstrip("/"))
    if parts.scheme not in _PORTS or not parts.netloc or parts.path or parts.query or "@" in parts.netloc:
        raise ValueError(f"{origin!r} is no origin; write https://app.example.org, https://*.example.org, null or *")
    return f"{parts.scheme}://{parts.netloc.removesuffix(':' + _PORTS[parts.scheme])}"


@dataclass(frozen=True, slots=True)
class AllowedOrigins:
    """``origins`` as :func:`canonical` writes them; ``loopback``: pages on loopback may, whatever their port."""

    origins: frozenset[str]
    loopback: bool

    @classmethod
    def of(cls, origins: Iterable[str], *, loopback: bool) -> AllowedOrigins:
        """Those of the settings."""
        return cls(frozenset(origins), loopback)

    @property
    def nobody(self) -> bool:
        """Whether only our own pages are allowed."""
        return not self.origins and not self.loopback

    def access(self, origin: str, host: str) -> Access:
        """What a page of ``origin`` may do to us, whom it calls ``host``."""
        scheme, _, netloc = origin.lower().partition("://")
        # behind a proxy that ends TLS our own scheme is not known: the host alone decides, as it does for Go
        if netloc and _plain(netloc, scheme) == _plain(host, scheme):
            return Access.SAME
        if origin in self.origins or any(f"{scheme}://{pattern}" in self.origins for pattern in wildcards(netloc)):
            return Access.ALLOWED
        if self.loopback and scheme in _PORTS and is_loopback(split_host(netloc)[0]):
            return Access.ALLOWED
        return Access.ANONYMOUS if "*" in self.origins else Access.FOREIGN


def _plain(netloc: str, scheme: str) -> tuple[str, str]:
    name, port = split_host(netloc)
    return name, "" if port == _PORTS.get(scheme) else port


@dataclass(frozen=True, slots=True)
class Asking:
    """What a request says about the page it comes from, '' where it says nothing."""

    method: str
    host: str
    origin: str = ""
    fetch_site: str = ""
    credentials: bool = False
    preflight_headers: str | None = None
    preflight_method: str = ""

    @classmethod
    def of(cls, scope: Scope) -> Asking:
        """A request's."""
        said = {name: value.decode("latin-1") for name, value in scope["headers"] if name in _READ}
        return cls(
            scope["method"], said.get(b"host", ""), said.get(b"origin", ""), said.get(b"sec-fetch-site", ""),
            b"cookie" in said or b"authorization" in said, said.get(b"access-control-request-headers"),
            said.get(b"access-control-request-method", ""),
        )  # fmt: skip

    @property
    def preflight(self) -> bool:
        """Whether a browser asks what it may send."""
        return self.method == "OPTIONS" and bool(self.origin and self.preflight_method)


_READ = frozenset(
    {
        b"host", b"origin", b"sec-fetch-site", b"cookie", b"authorization", b"access-control-request-headers",
        b"access-control-request-method",
    }
)  # fmt: skip


def access(asking: Asking, allowed: AllowedOrigins) -> Access:
    """What the page behind a request may do."""
    if asking.origin:
        found = allowed.access(asking.origin, asking.host)
        if found is Access.FOREIGN and asking.fetch_site == "same-origin":
            return Access.SAME  # a proxy changed the host, and the browser knows better
        return found
    return Access.FOREIGN if asking.fetch_site in ("cross-site", "same-site") else Access.SAME


def objection(asking: Asking, found: Access) -> Problem | None:
    """Why a request is refused: it would change something for a page that may not."""
    page = asking.origin or "another site"
    if found is Access.FOREIGN and (asking.method not in _SAFE or asking.preflight):
        detail = f"Pages of {page} may not use this server. Add their origin to MATTE_ALLOWED_ORIGINS."
        return Problem("origin_not_allowed", detail, origin=asking.origin)
    if found is Access.ANONYMOUS and asking.method not in _SAFE and asking.credentials:
        detail = f"MATTE_ALLOWED_ORIGINS=* lets pages call without credentials only. Add {page} to it by name."
        return Problem("origin_not_allowed", detail, origin=asking.origin)
    return None


def cors_headers(asking: Asking, found: Access) -> Headers:
    """What lets the page's scripts read the answer."""
    if not asking.origin or found not in (Access.ALLOWED, Access.ANONYMOUS):
        return []
    expose = (b"access-control-expose-headers", _EXPOSED)
    if found is Access.ANONYMOUS:
        return [(b"access-control-allow-origin", b"*"), expose]
    origin = asking.origin.encode("latin-1")
    return [(b"access-control-allow-origin", origin), (b"access-control-allow-credentials", b"true"), expose]


def preflight_headers(asking: Asking) -> Headers:
    """What the page may send: every header, for it was the origin that had to be allowed."""
    found = [(b"access-control-allow-methods", _METHODS), (b"access-control-max-age", _MAX_AGE)]
    if asking.preflight_headers is not None and _HEADER_NAMES.fullmatch(asked := asking.preflight_headers.encode()):
        found.append((b"access-control-allow-headers", asked))
    return found


class Origins:
    """The layer. It takes ``Origin`` off the request then: no other CORS layer, as Gradio has one, decides again.

    Every answer has ``nosniff`` and ``Cross-Origin-Resource-Policy``: ``same-origin``, or ``cross-origin`` as soon as
    other pages are allowed, for an ``<img>`` sends no ``Origin`` by which one could tell whose it is. What keeps a
    picture from strangers is its address, which cannot be guessed.
    """

    def __init__(self, app: ASGIApp, allowed: AllowedOrigins) -> None:
        self._app = app
        self._allowed = allowed
        self._told: set[str] = set()
        policy = b"same-origin" if allowed.nobody else b"cross-origin"
        self._always: Headers = [
            (b"vary", b"Origin"),
            (b"x-content-type-options", b"nosniff"),
            (b"cross-origin-resource-policy", policy),
        ]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        asking = Asking.of(scope)
        found = access(asking, self._allowed)
        scope["answer_headers"] += [*self._always, *cors_headers(asking, found)]
        if asking.origin:
            scope["headers"] = [header for header in scope["headers"] if header[0] != b"origin"]
            if found is Access.FOREIGN:
                self._tell(asking.origin)
        # the protocol refused it already: it is answered here, so that a page can read the answer
        problem = scope.get("refusal") or objection(asking, found)
        if problem is not None:
            await respond(problem, instance=scope["path"])(scope, receive, send)
        elif asking.preflight:
            response = Response(status_code=204)
            response.raw_headers += preflight_headers(asking)
            await response(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    def _tell(self, origin: str) -> None:
        """Says it once: in the browser it looks like a failure of the network."""
        if origin not in self._told and len(self._told) < _TOLD:
            self._told.add(origin)
            log.warning("pages of %.200s are refused: MATTE_ALLOWED_ORIGINS does not name this origin", origin)
