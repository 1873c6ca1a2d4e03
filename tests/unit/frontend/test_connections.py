"""Limits on connections: from state and clock to a verdict."""

from __future__ import annotations

import pytest
from matte_core.domain.addresses import is_loopback
from matte_frontend.connections import ConnectionCounter, ConnectionLimits, Phase, RequestArrival
from matte_frontend.hosts import Networks, client_key, split_host
from matte_frontend.settings import FrontendSettings

LIMITS = ConnectionLimits(FrontendSettings(max_connections=16, max_connections_per_address=3), open_files=1024)


def swept(arrival: RequestArrival, seconds: int, *, rate: int = 0, reading: bool = True, since: int = 0) -> int | None:
    """The second in which the client is too slow; None if it never is."""
    for now in range(since + 1, since + seconds + 1):
        arrival.received += rate
        problem = arrival.check(float(now), LIMITS, reading=reading)
        if problem is not None:
            assert problem.code == "request_timeout"
            return now
    return None


class TestRequestArrival:
    def test_headers_have_their_time(self) -> None:
        assert swept(RequestArrival(0.0), 60) == 11
        assert swept(RequestArrival(0.0, Phase.HEADERS), 60) == 11

    def test_a_trusted_proxy_may_open_connections_ahead(self) -> None:
        assert swept(RequestArrival(0.0, trusted=True), 100) == 76
        assert swept(RequestArrival(0.0, Phase.HEADERS, trusted=True), 100) == 11

    @pytest.mark.parametrize(("rate", "ends"), [(0, 20), (999, 20), (1000, None), (50_000, None)])
    def test_a_body_has_its_rate(self, rate: int, ends: int | None) -> None:
        assert swept(RequestArrival(0.0, Phase.BODY), 100, rate=rate) == ends

    def test_what_came_fast_does_not_pay_for_what_drips(self) -> None:
        arrival = RequestArrival(0.0, Phase.BODY, received=30_000_000)
        assert swept(arrival, 100) == 40

    def test_a_stall_is_no_fault(self) -> None:
        arrival = RequestArrival(0.0, Phase.BODY)
        assert swept(arrival, 15) is None
        assert swept(arrival, 100, rate=5000, since=15) is None

    def test_the_clock_stands_while_nobody_reads(self) -> None:
        arrival = RequestArrival(0.0, Phase.BODY)
        assert swept(arrival, 3600, reading=False) is None
        assert swept(arrival, 60, since=3600) == 3620

    def test_a_stall_of_ours_is_not_charged(self) -> None:
        assert RequestArrival(0.0, Phase.HEADERS).check(500.0, LIMITS, reading=True) is None

    def test_sweeps_are_finer_than_the_bounds(self) -> None:
        assert LIMITS.sweep_seconds == 1.0


class TestConnectionCounter:
    def test_one_client(self) -> None:
        counter = ConnectionCounter(LIMITS, Networks(["10.0.0.0/8"]))
        assert [counter.opened("192.0.2.1") for _ in range(3)] == [None] * 3
        refused = counter.opened("192.0.2.1")
        assert refused is not None
        assert (refused.code, refused.status) == ("too_many_connections", 429)
        assert not counter.flooded("192.0.2.1")
        assert counter.opened("192.0.2.2") is None
        counter.closed("192.0.2.1")
        counter.closed("192.0.2.1")
        assert counter.opened("192.0.2.1") is None

    def test_a_flood_is_not_even_answered(self) -> None:
        counter = ConnectionCounter(LIMITS, Networks([]))
        for _ in range(7):
            counter.opened("192.0.2.1")
        assert counter.flooded("192.0.2.1")
        assert not counter.flooded("192.0.2.2")

    def test_proxies_count_in_all_only(self) -> None:
        counter = ConnectionCounter(LIMITS, Networks(["10.0.0.0/8"]))
        found = [counter.opened("10.1.2.3") for _ in range(17)]
        assert found[:16] == [None] * 16
        assert found[16] is not None
        assert (found[16].code, found[16].status) == ("connections_exhausted", 503)

    def test_nothing_is_kept_of_those_that_left(self) -> None:
        counter = ConnectionCounter(LIMITS, Networks([]))
        for n in range(100):
            counter.opened(f"192.0.2.{n}")
            counter.closed(f"192.0.2.{n}")
        assert not counter._per_client


def test_header_bounds() -> None:
    assert LIMITS.headers_too_large(65_536, 100) is None
    for size, count in ((65_537, 1), (10, 101)):
        problem = LIMITS.headers_too_large(size, count)
        assert problem is not None
        assert problem.status == 431


def test_networks() -> None:
    trusted = Networks(["10.0.0.0/8", "192.0.2.7", "fd00::/8"])
    for address in ("10.255.0.1", "192.0.2.7", "::ffff:10.0.0.1", "fd00::1"):
        assert address in trusted
    for address in ("11.0.0.1", "192.0.2.8", "", "unix", "fe80::1"):
        assert address not in trusted
    with pytest.raises(ValueError, match="does not appear"):
        Networks(["proxy.example.org"])


def test_one_client_is_an_address_or_a_64() -> None:
    assert client_key("192.0.2.1") == client_key("::ffff:192.0.2.1")
    assert client_key("2001:db8::1") == client_key("2001:db8::ffff:1")
    assert client_key("2001:db8::1") != client_key("2001:db8:0:1::1")


@pytest.mark.parametrize(
    ("host", "name", "port"),
    [
        ("Example.org:80", "example.org", "80"), ("example.org.", "example.org", ""), ("10.0.0.1:99", "10.0.0.1", "99"),
        ("[::1]:7860", "::1", "7860"), ("[::1]", "::1", ""), ("::1", "::1", ""), ("", "", ""), ("x:", "x", ""),
    ],
)  # fmt: skip
def test_hosts_are_split(host: str, name: str, port: str) -> None:
    assert split_host(host) == (name, port)


def test_loopback() -> None:
    assert all(is_loopback(name) for name in ("localhost", "a.localhost", "127.0.0.1", "127.9.9.9", "::1"))
    assert not any(is_loopback(name) for name in ("localhost.example.org", "10.0.0.1", "notlocalhost", "", "0.0.0.0"))
