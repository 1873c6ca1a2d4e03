"""IP addresses and host names as text."""

from __future__ import annotations

import ipaddress


def parse_address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """An IP address without port, brackets or zone; an IPv4-mapped IPv6 address as IPv4; None for anything else."""
    try:
        address = ipaddress.ip_address(text.strip("[]").partition("%")[0])
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address  # before Python 3.13 a mapped one is not loopback itself


def is_loopback(host: str) -> bool:
    """Whether a host name or an address is this machine's loopback."""
    address = parse_address(host)
    return address.is_loopback if address else host == "localhost" or host.endswith(".localhost")
