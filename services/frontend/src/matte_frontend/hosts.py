"""Where a request came from and which host it names: trusted proxies, allowed host names, and clients as counted."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache

from matte_core.domain.addresses import is_loopback, parse_address
from matte_core.errors import Problem
from starlette.types import ASGIApp, Receive, Scope, Send

from matte_frontend.problems import problem_response

Headers = list[tuple[bytes, bytes]]

#: probes of kubelets and load balancers name whatever host they were configured with
_ANY_HOST = frozenset({"/healthz", "/readyz"})
_PREFIX = b"x-forwarded-"
#: proxy headers beside ``X-Forwarded-*``; Gradio would take its own address from the last one
_UNPREFIXED = frozenset({b"forwarded", b"x-real-ip", b"x-gradio-server"})
_APPLIED = _UNPREFIXED | {
    _PREFIX + name for name in (b"for", b"host", b"port", b"prefix", b"proto", b"scheme", b"server")
}
_HOST = re.compile(r"[A-Za-z0-9._-]{1,253}(:\d{1,5})?|\[[0-9A-Fa-f:.]{2,45}\](:\d{1,5})?")
_ROOT_PATH = re.compile(r"(/[A-Za-z0-9._~-]+){1,20}")
_FORWARDED_PAIR = re.compile(r'(for|host|proto)=("[^"]*"|[^;,\s]*)', re.IGNORECASE)


class Networks:
    """IP addresses and CIDRs; raises ValueError for anything else. ``address in networks`` takes text."""

    def __init__(self, networks: Iterable[str]) -> None:
        self._networks = tuple(ipaddress.ip_network(network, strict=False) for network in networks)
        self._contains = lru_cache(4096)(self._look_up)

    def __contains__(self, address: str) -> bool:
        return bool(self._networks) and self._contains(address)

    def _look_up(self, text: str) -> bool:
        address = parse_address(text)
        return address is not None and any(address in network for network in self._networks)


def client_key(address: str) -> str:
    """What connections are counted by: an IPv4 address, or the /64 of an IPv6 address, which one client owns."""
    parsed = parse_address(address)
    if isinstance(parsed, ipaddress.IPv6Address):
        return str(ipaddress.ip_network((parsed, 64), strict=False))
    return str(parsed or address)


def split_host(host: str) -> tuple[str, str]:
    """``name:port`` as name in lower case without brackets or final dot, and port ('' if there is none)."""
    name, colon, port = host.strip().lower().rpartition(":")
    if not colon or "]" in port or (":" in name and not name.endswith("]")):  # no port; a bare IPv6 address
        name, port = host.strip().lower(), ""
    return name.strip("[]").removesuffix("."), port


def wildcards(name: str) -> Iterator[str]:
    """The patterns that match a host name: ``*.b.c`` and ``*.c`` for ``a.b.c``; a port stays where it is."""
    labels = name.split(".")
    return (f"*.{'.'.join(labels[n:])}" for n in range(1, min(len(labels), 10)))


@dataclass(frozen=True, slots=True)
class ForwardedRequest:
    """The request as the first proxy received it; '' where no proxy says so, or not in a valid form."""

    client: str = ""
    scheme: str = ""
    host: str = ""
    root_path: str = ""


class TrustedProxyMiddleware:
    """Applies the ``Forwarded`` and ``X-Forwarded-*`` headers of trusted proxies, and drops everybody else's.

    Behind it the request looks as it did to the first proxy (client, scheme, Host, root_path), and the headers are
    gone: nothing can read or believe them. ``X-Forwarded-User`` and the like stay, if a trusted proxy sent them.
    """

    def __init__(self, app: ASGIApp, trusted: Networks) -> None:
        self._app = app
        self._trusted = trusted

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            headers: Headers = scope["headers"]
            forwarding = [header for header in headers if header[0].startswith(_PREFIX) or header[0] in _UNPREFIXED]
            peer = scope["client"][0] if scope.get("client") else ""
            if forwarding and peer in self._trusted:
                forwarded = parse_forwarding(forwarding, self._trusted)
                headers = [header for header in headers if header[0] not in _APPLIED]
                if forwarded.client:
                    scope["client"] = (forwarded.client, 0)
                if forwarded.scheme:
                    scope["scheme"] = forwarded.scheme
                if forwarded.host:
                    hosts = [value for name, value in headers if name == b"host"]
                    scope["host_of_proxy"] = hosts[0].decode("latin-1") if hosts else ""
                    headers = [header for header in headers if header[0] != b"host"]
                    headers.append((b"host", forwarded.host.encode()))
                if forwarded.root_path:
                    scope["root_path"] = forwarded.root_path
                    scope["path"] = forwarded.root_path + scope["path"]
                    scope["raw_path"] = forwarded.root_path.encode() + scope["raw_path"]
                scope["headers"] = headers
            elif forwarding:
                scope["headers"] = [header for header in headers if header not in forwarding]
        await self._app(scope, receive, send)


def parse_forwarding(headers: Headers, trusted: Networks) -> ForwardedRequest:
    """``X-Forwarded-For``, ``-Proto``, ``-Host`` and ``-Prefix``; or, without the first three, ``Forwarded``.

    The client is the last address that is not a trusted proxy's. Of scheme, host and prefix the first value counts:
    that of the proxy which the client called.
    """
    values: dict[bytes, str] = {}
    for name, value in headers:
        text = value.decode("latin-1")
        values[name] = f"{values[name]},{text}" if name in values else text
    if any(_PREFIX + name in values for name in (b"for", b"proto", b"host")):
        hops, schemes, hosts = (values.get(_PREFIX + name, "").split(",") for name in (b"for", b"proto", b"host"))
    else:  # RFC 7239
        pairs: dict[str, list[str]] = {"for": [], "proto": [], "host": []}
        for name, text in _FORWARDED_PAIR.findall(values.get(b"forwarded", "")[:4000]):
            pairs[name.lower()].append(text.strip('"'))
        hops, schemes, hosts = pairs["for"], pairs["proto"], pairs["host"]
    scheme, host = (value[0].strip() if value else "" for value in (schemes, hosts))
    root_path = values.get(_PREFIX + b"prefix", "").partition(",")[0].strip().rstrip("/")
    client = ""
    for hop in reversed(hops):
        address = parse_address(hop.strip()) or parse_address(hop.strip().rpartition(":")[0])
        if address is None:
            break  # hops before this one were reported by something that cannot be identified
        client = str(address)
        if client not in trusted:
            break
    return ForwardedRequest(
        client=client,
        scheme=scheme.lower() if scheme.lower() in ("http", "https") else "",
        host=host if _HOST.fullmatch(host) else "",
        root_path=root_path if _ROOT_PATH.fullmatch(root_path) else "",
    )


@dataclass(frozen=True, slots=True)
class AllowedHosts:
    """Host names in lower case: exact ones, ``*.example.org`` for all below one, ``*`` for any."""

    names: frozenset[str]

    @classmethod
    def from_settings(cls, names: Iterable[str], *, machine: str = "") -> AllowedHosts:
        """The configured names, and with ``machine`` that host name, its short form and its ``.local`` name."""
        own = machine.lower().rstrip(".")
        short = own.partition(".")[0]
        return cls(
            frozenset({split_host(name)[0] for name in names} | ({own, short, f"{short}.local"} if own else set()))
        )

    def allows(self, host: str) -> bool:
        """Whether requests may name ``host`` (``name:port``). Addresses and localhost always: DNS rebinding needs a
        name of the attacker's.
        """
        name, _ = split_host(host)
        if "*" in self.names or name in self.names or is_loopback(name) or parse_address(name) is not None:
            return True
        return any(pattern in self.names for pattern in wildcards(name))


class AllowedHostsMiddleware:
    """Refuses requests that name a host which is not allowed: a page elsewhere whose name was made to point here
    (DNS rebinding). Checks the Host header, and behind a trusted proxy also the one that the proxy sent.
    """

    def __init__(self, app: ASGIApp, allowed: AllowedHosts) -> None:
        self._app = app
        self._allowed = allowed

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        problem = self._check(scope) if scope["type"] == "http" else None
        if problem is not None:
            await problem_response(problem, instance=scope["path"])(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    def _check(self, scope: Scope) -> Problem | None:
        if scope["path"] in _ANY_HOST:
            return None
        hosts = [value.decode("latin-1") for name, value in scope["headers"] if name == b"host"]
        if len(hosts) != 1 and not (not hosts and scope["http_version"] == "1.0"):
            return Problem("malformed_request", f"The request has {len(hosts)} Host headers; it must have one.")
        if "host_of_proxy" in scope:
            hosts.append(scope["host_of_proxy"])
        for host in hosts:
            if not self._allowed.allows(host):
                detail = (
                    f"This server does not answer to the host {host[:200]!r}. If that is a name of it, add it to "
                    "MATTE_ALLOWED_HOSTS (in the chart: expose.allowedHosts)."
                )
                return Problem("host_not_allowed", detail)
        return None
