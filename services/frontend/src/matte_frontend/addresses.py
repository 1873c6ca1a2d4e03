"""Network addresses: which peers are trusted proxies, and what counts as one client."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Iterator
from functools import lru_cache

from matte_core.domain.addresses import parse_address


class Networks:
    """Addresses and CIDRs. ``address in networks`` takes text; what is no address is in none."""

    def __init__(self, networks: Iterable[str]) -> None:
        """
        Raises:
            ValueError: one of them is neither an address nor a CIDR.
        """
        self._networks = tuple(ipaddress.ip_network(network, strict=False) for network in networks)
        self._has = lru_cache(4096)(self._look_up)

    def __contains__(self, address: str) -> bool:
        return bool(self._networks) and self._has(address)

    def _look_up(self, address: str) -> bool:
        found = parse_address(address)
        return found is not None and any(found in network for network in self._networks)


def client_key(address: str) -> str:
    """What connections are counted by: an IPv4 address, or the /64 of an IPv6 address, which one client owns."""
    found = parse_address(address)
    if isinstance(found, ipaddress.IPv6Address):
        return str(ipaddress.ip_network((found, 64), strict=False))
    return str(found or address)


def split_host(host: str) -> tuple[str, str]:
    """``name:port`` as name in lower case without brackets or final dot, and port ('' if there is none)."""
    name, colon, port = host.strip().lower().rpartition(":")
    if not colon or "]" in port or (":" in name and not name.endswith("]")):  # no port; a bare IPv6 address
        name, port = host.strip().lower(), ""
    return name.strip("[]").removesuffix("."), port


def wildcards(name: str) -> Iterator[str]:
    """The patterns that have a host name: ``*.b.c`` and ``*.c`` for ``a.b.c``; a port stays where it is."""
    labels = name.split(".")
    return (f"*.{'.'.join(labels[n:])}" for n in range(1, min(len(labels), 10)))
