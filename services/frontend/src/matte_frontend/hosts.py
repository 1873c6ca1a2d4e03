"""Which names this server answers to: a page elsewhere whose name was made to point here (DNS rebinding) is refused."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from matte_core.domain.addresses import is_loopback, parse_address
from matte_core.errors import Problem
from starlette.types import ASGIApp, Receive, Scope, Send

from matte_frontend.addresses import split_host, wildcards
from matte_frontend.problems import respond

#: probes of kubelets and load balancers name whatever they were told to
_EXEMPT = frozenset({"/healthz", "/readyz"})


@dataclass(frozen=True, slots=True)
class AllowedHosts:
    """Host names in lower case: exact ones, ``*.example.org`` for all below one, ``*`` for any."""

    names: frozenset[str]

    @classmethod
    def of(cls, names: Iterable[str], *, machine: str = "") -> AllowedHosts:
        """Those of the settings, and this machine's own name, where others may use it."""
        own = machine.lower().rstrip(".")
        short = own.partition(".")[0]
        return cls(
            frozenset({split_host(name)[0] for name in names} | ({own, short, f"{short}.local"} if own else set()))
        )

    def allows(self, host: str) -> bool:
        """Whether ``name:port`` is ours. Addresses and localhost are: rebinding needs a name of the attacker's."""
        name, _ = split_host(host)
        if "*" in self.names or name in self.names or is_loopback(name) or parse_address(name) is not None:
            return True
        return any(pattern in self.names for pattern in wildcards(name))


class Hosts:
    """The layer: the host that the request names, and the one that a proxy says it named at first."""

    def __init__(self, app: ASGIApp, allowed: AllowedHosts) -> None:
        self._app = app
        self._allowed = allowed

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves one request."""
        problem = self._objection(scope) if scope["type"] == "http" else None
        if problem is not None:
            await respond(problem, instance=scope["path"])(scope, receive, send)
            return
        await self._app(scope, receive, send)

    def _objection(self, scope: Scope) -> Problem | None:
        if scope["path"] in _EXEMPT:
            return None
        named = [value.decode("latin-1") for name, value in scope["headers"] if name == b"host"]
        if len(named) != 1 and not (not named and scope["http_version"] == "1.0"):
            return Problem("malformed_request", f"The request has {len(named)} Host headers; it must have one.")
        if "proxied_host" in scope:
            named.append(scope["proxied_host"])
        for host in named:
            if not self._allowed.allows(host):
                detail = (
                    f"This server does not answer to the host {host[:200]!r}. If that is a name of it, add it to "
                    "MATTE_ALLOWED_HOSTS (in the chart: expose.allowedHosts)."
                )
                return Problem("host_not_allowed", detail)
        return None
