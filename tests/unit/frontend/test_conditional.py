from __future__ import annotations

import pytest
from matte_frontend.responses import etag_matches, make_etag, parse_range


@pytest.mark.parametrize(
    ("header", "part"),
    [
        ("bytes=0-3", range(4)),
        ("bytes=4-", range(4, 10)),
        ("bytes=8-99", range(8, 10)),
        ("bytes=-3", range(7, 10)),
        ("bytes=-99", range(10)),
        ("Bytes= 0-0 ", range(1)),
    ],
)
def test_one_range(header: str, part: range) -> None:
    assert parse_range(header, 10) == part


@pytest.mark.parametrize("header", ["bytes=10-", "bytes=10-12", "bytes=-0"])
def test_a_range_of_nothing(header: str) -> None:
    assert parse_range(header, 10) is not None
    assert not parse_range(header, 10)


@pytest.mark.parametrize(
    "header", ["", "bytes", "bytes=-", "bytes=3-1", "bytes=0-1,4-5", "lines=0-3", "bytes=a-b", "bytes=0-" + "9" * 5000]
)
def test_all_of_it(header: str) -> None:
    """Several ranges, and what cannot be read."""
    assert parse_range(header, 10) is None


def test_what_a_client_has() -> None:
    assert etag_matches('"a"', '"a"')
    assert etag_matches('"b", W/"a"', '"a"')
    assert etag_matches("*", '"a"')
    assert not etag_matches("", '"a"')
    assert not etag_matches('"b"', '"a"')
    assert not etag_matches("a", '"a"')


def test_tags() -> None:
    assert make_etag("job", "image/png", "key") != make_etag("job", "image/webp", "key")
    assert make_etag("a", "b") == make_etag("a", "b") != make_etag("ab")
    assert len(make_etag(b"")) == 34
