"""Which web pages may use the interface: CORS headers, and no change on behalf of a page that is not allowed.

The refusal follows Go's ``http.CrossOriginProtection``: browsers say where a request comes from in ``Sec-Fetch-Site``
and ``Origin``; what sends neither is no browser, and nothing that a page could make one send.
"""

from __future__ import annotations

import logging
import re
from dataclasses import dataclass
from enum import Enum, auto
from urllib.parse import urlsplit

from matte_core.domain.addresses import is_loopback
from matte_core.errors import Problem
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from matte_frontend.hosts import Headers, split_host, wildcards
from matte_frontend.problems import problem_response

_SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
_DEFAULT_PORTS = {"http": "80", "https": "443"}
_HEADER_NAMES = re.compile(rb"[A-Za-z0-9!#$%&'*+.^_`|~, -]{1,2000}")
#: what scripts may read besides the few headers that CORS always lets them
_EXPOSED_HEADERS = (
    b"Accept-Ranges, Content-Disposition, Content-Encoding, Content-Range, ETag, Location, Preference-Applied, "
    b"Retry-After, Server-Timing, traceparent, X-Job-Id, X-Matte-Foreground, X-Matte-Uncertainty, X-Model, "
    b"X-Model-Digest, X-Model-Version, X-Request-Id"
)
_ALLOWED_METHODS = b"GET, HEAD, POST, PUT, PATCH, DELETE"
#: seconds; a preflight per picture would be a round trip per picture, and the request itself is checked, too
_PREFLIGHT_MAX_AGE = b"7200"
_MAX_LOGGED_ORIGINS = 100
log = logging.getLogger(__name__)


class Access(Enum):
    SAME = auto()  #: our own page, or no page
    ALLOWED = auto()
    ANONYMOUS = auto()  #: allowed without credentials, by ``*``
    FOREIGN = auto()


def canonical_origin(origin: str) -> str:
    """An entry of ``MATTE_ALLOWED_ORIGINS`` as browsers write origins: lower case, no final slash, no default port.
    Raises ValueError.
    """
    if origin in ("*", "null"):
        return origin
    parts = urlsplit(origin.lower().rstrip("/"))
    if parts.scheme not in _DEFAULT_PORTS or not parts.netloc or parts.path or parts.query or "@" in parts.netloc:
        raise ValueError(f"{origin!r} is no origin; write https://app.example.org, https://*.example.org, null or *")
    return f"{parts.scheme}://{parts.netloc.removesuffix(':' + _DEFAULT_PORTS[parts.scheme])}"


@dataclass(frozen=True, slots=True)
class RequestOrigin:
    """What a request says about the page it comes from, '' where it says nothing."""

    method: str
    host: str
    origin: str = ""
    fetch_site: str = ""
    credentials: bool = False
    preflight_headers: str = ""
    preflight_method: str = ""

    @classmethod
    def from_scope(cls, scope: Scope) -> RequestOrigin:
        headers = {name: value.decode("latin-1") for name, value in scope["headers"]}
        return cls(
            scope["method"], headers.get(b"host", ""), headers.get(b"origin", ""), headers.get(b"sec-fetch-site", ""),
            b"cookie" in headers or b"authorization" in headers, headers.get(b"access-control-request-headers", ""),
            headers.get(b"access-control-request-method", ""),
        )  # fmt: skip

    @property
    def is_preflight(self) -> bool:
        return self.method == "OPTIONS" and bool(self.origin and self.preflight_method)


@dataclass(frozen=True, slots=True)
class AllowedOrigins:
    """``origins`` as :func:`canonical_origin` writes them; ``loopback``: pages on loopback may, whatever their port."""

    origins: frozenset[str]
    loopback: bool

    def access(self, page: RequestOrigin) -> Access:
        if not page.origin:
            return Access.FOREIGN if page.fetch_site in ("cross-site", "same-site") else Access.SAME
        access = self.access_of(page.origin, page.host)
        if access is Access.FOREIGN and page.fetch_site == "same-origin":
            return Access.SAME  # a proxy changed the host, and the browser knows better
        return access

    def access_of(self, origin: str, host: str) -> Access:
        """What a page of ``origin`` may do, which calls this server ``host``."""
        scheme, _, netloc = origin.lower().partition("://")
        # behind a proxy that ends TLS our own scheme is not known: the host alone decides, as it does for Go
        if netloc and _without_default_port(netloc, scheme) == _without_default_port(host, scheme):
            return Access.SAME
        if origin in self.origins or any(f"{scheme}://{pattern}" in self.origins for pattern in wildcards(netloc)):
            return Access.ALLOWED
        if self.loopback and scheme in _DEFAULT_PORTS and is_loopback(split_host(netloc)[0]):
            return Access.ALLOWED
        return Access.ANONYMOUS if "*" in self.origins else Access.FOREIGN


def _without_default_port(netloc: str, scheme: str) -> tuple[str, str]:
    name, port = split_host(netloc)
    return name, "" if port == _DEFAULT_PORTS.get(scheme) else port


def origin_problem(page: RequestOrigin, access: Access) -> Problem | None:
    """``origin_not_allowed`` where a request would change something for a page that may not."""
    name = page.origin or "another site"
    if access is Access.FOREIGN and (page.method not in _SAFE_METHODS or page.is_preflight):
        detail = f"Pages of {name} may not use this server. Add their origin to MATTE_ALLOWED_ORIGINS."
        return Problem("origin_not_allowed", detail, origin=page.origin)
    if access is Access.ANONYMOUS and page.method not in _SAFE_METHODS and page.credentials:
        detail = f"MATTE_ALLOWED_ORIGINS=* lets pages call without credentials only. Add {name} to it by name."
        return Problem("origin_not_allowed", detail, origin=page.origin)
    return None


class OriginMiddleware:
    """Answers preflights, refuses pages that are not allowed, and adds CORS headers to every response. It removes
    ``Origin`` from the request, so that no other CORS middleware (Gradio has one) decides again.

    Every response has ``nosniff`` and ``Cross-Origin-Resource-Policy``: ``same-origin``, or ``cross-origin`` as soon
    as other pages are allowed, because an ``<img>`` sends no ``Origin`` by which one could tell its page. What keeps a
    picture from strangers is its address, which cannot be guessed.
    """

    def __init__(self, app: ASGIApp, allowed: AllowedOrigins) -> None:
        self._app = app
        self._allowed = allowed
        self._logged: set[str] = set()
        policy = b"cross-origin" if allowed.origins or allowed.loopback else b"same-origin"
        self._headers: Headers = [
            (b"vary", b"Origin"),
            (b"x-content-type-options", b"nosniff"),
            (b"cross-origin-resource-policy", policy),
        ]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        page = RequestOrigin.from_scope(scope)
        access = self._allowed.access(page)
        response_headers: Headers = scope["response_headers"]
        response_headers += self._headers
        if page.origin:
            scope["headers"] = [header for header in scope["headers"] if header[0] != b"origin"]
            if access is Access.FOREIGN:
                # in the browser a refusal looks like a failure of the network
                if page.origin not in self._logged and len(self._logged) < _MAX_LOGGED_ORIGINS:
                    self._logged.add(page.origin)
                    log.warning("origin %.200s: refused, MATTE_ALLOWED_ORIGINS does not name it", page.origin)
            elif access is Access.ANONYMOUS:
                response_headers.append((b"access-control-allow-origin", b"*"))
            elif access is Access.ALLOWED:
                response_headers.append((b"access-control-allow-origin", page.origin.encode("latin-1")))
                response_headers.append((b"access-control-allow-credentials", b"true"))
            if access in (Access.ANONYMOUS, Access.ALLOWED):
                response_headers.append((b"access-control-expose-headers", _EXPOSED_HEADERS))
        # what the protocol refused is answered here, so that a page can read the response
        problem = scope.get("protocol_problem") or origin_problem(page, access)
        if problem is not None:
            await problem_response(problem, instance=scope["path"])(scope, receive, send)
        elif page.is_preflight:
            # every request header is allowed: what had to be allowed was the origin
            response = Response(status_code=204)
            response.raw_headers += [
                (b"access-control-allow-methods", _ALLOWED_METHODS),
                (b"access-control-max-age", _PREFLIGHT_MAX_AGE),
            ]
            requested = page.preflight_headers.encode()
            if _HEADER_NAMES.fullmatch(requested):
                response.raw_headers.append((b"access-control-allow-headers", requested))
            await response(scope, receive, send)
        else:
            await self._app(scope, receive, send)
