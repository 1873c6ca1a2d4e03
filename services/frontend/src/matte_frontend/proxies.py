"""What proxies say about the request they pass on: believed from trusted ones, dropped from everybody else.

Afterwards the request looks as it did to the first proxy (client, scheme, Host, root_path), and the headers are gone:
nothing behind this can read or believe them. ``X-Forwarded-User`` and the like stay, if a trusted proxy sent them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from matte_core.domain.addresses import parse_address
from starlette.types import ASGIApp, Receive, Scope, Send

from matte_frontend.addresses import Networks

Headers = list[tuple[bytes, bytes]]

_PREFIX = b"x-forwarded-"
#: Gradio would take its own address from the last one
_OTHERS = frozenset({b"forwarded", b"x-real-ip", b"x-gradio-server"})
_APPLIED = _OTHERS | {_PREFIX + name for name in (b"for", b"host", b"port", b"prefix", b"proto", b"scheme", b"server")}
_HOST = re.compile(r"[A-Za-z0-9._-]{1,253}(:\d{1,5})?|\[[0-9A-Fa-f:.]{2,45}\](:\d{1,5})?")
_ROOT = re.compile(r"(/[A-Za-z0-9._~-]+){1,20}")
_PAIR = re.compile(r'(for|host|proto)=("[^"]*"|[^;,\s]*)', re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Told:
    """What proxies told; '' where nothing sane."""

    client: str = ""
    scheme: str = ""
    host: str = ""
    root: str = ""


class TrustedProxies:
    """The layer."""

    def __init__(self, app: ASGIApp, trusted: Networks) -> None:
        self._app = app
        self._trusted = trusted

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves one request."""
        if scope["type"] == "http":
            headers: Headers = scope["headers"]
            told = [header for header in headers if header[0].startswith(_PREFIX) or header[0] in _OTHERS]
            if told:
                self._apply(scope, headers, told)
        await self._app(scope, receive, send)

    def _apply(self, scope: Scope, headers: Headers, told: Headers) -> None:
        peer = scope["client"][0] if scope.get("client") else ""
        if peer not in self._trusted:
            scope["headers"] = [header for header in headers if header not in told]
            return
        found = read(told, self._trusted)
        headers = [header for header in headers if header[0] not in _APPLIED]
        if found.client:
            scope["client"] = (found.client, 0)
        if found.scheme:
            scope["scheme"] = found.scheme
        if found.host:
            named = [value for name, value in headers if name == b"host"]
            scope["proxied_host"] = named[0].decode("latin-1") if named else ""
            headers = [*(header for header in headers if header[0] != b"host"), (b"host", found.host.encode())]
        if found.root:
            scope["root_path"] = found.root
            scope["path"] = found.root + scope["path"]
            scope["raw_path"] = found.root.encode() + scope["raw_path"]
        scope["headers"] = headers


def read(headers: Headers, trusted: Networks) -> Told:
    """``X-Forwarded-For``, ``-Proto``, ``-Host`` and ``-Prefix``; or, without the first three, ``Forwarded``.

    The client is the last address that is not a trusted proxy's. Of scheme, host and prefix the first value counts:
    that of the proxy which the client called.
    """
    said: dict[bytes, str] = {}
    for name, value in headers:
        text = value.decode("latin-1")
        said[name] = f"{said[name]},{text}" if name in said else text
    hops, scheme, host = (said.get(_PREFIX + name, "").split(",") for name in (b"for", b"proto", b"host"))
    if not any(_PREFIX + name in said for name in (b"for", b"proto", b"host")):
        hops, scheme, host = _forwarded(said.get(b"forwarded", ""))
    root = said.get(_PREFIX + b"prefix", "").partition(",")[0].strip().rstrip("/")
    first_scheme, first_host = (values[0].strip() if values else "" for values in (scheme, host))
    return Told(
        client=_client(hops, trusted),
        scheme=first_scheme.lower() if first_scheme.lower() in ("http", "https") else "",
        host=first_host if _HOST.fullmatch(first_host) else "",
        root=root if _ROOT.fullmatch(root) else "",
    )


def _forwarded(value: str) -> tuple[list[str], list[str], list[str]]:
    """RFC 7239."""
    found: dict[str, list[str]] = {"for": [], "proto": [], "host": []}
    for name, text in _PAIR.findall(value[:4000]):
        found[name.lower()].append(text.strip('"'))
    return found["for"], found["proto"], found["host"]


def _client(hops: list[str], trusted: Networks) -> str:
    client = ""
    for hop in reversed(hops):
        name = hop.strip()
        address = parse_address(name) or parse_address(name.rpartition(":")[0])
        if address is None:
            break  # what is before it was told by something that is not understood
        client = str(address)
        if client not in trusted:
            break
    return client
