from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from matte_frontend.responses import best_offer

PNG, WEBP, ZIP, JSON = "image/png", "image/webp", "application/zip", "application/json"


@pytest.mark.parametrize(
    ("accept", "chosen"),
    [
        ("", PNG),
        ("*/*", PNG),
        ("application/json", JSON),
        ("application/json; charset=utf-8", JSON),
        ("APPLICATION/JSON", JSON),
        ("application/json, text/plain, */*", PNG),  # axios: no preference, so the server's own
        ("application/json, */*;q=0.5", JSON),
        ("application/*", JSON),
        ("image/*", PNG),
        ("image/avif,image/webp,image/apng,image/svg+xml,image/*,*/*;q=0.8", PNG),  # a browser's <img>
        ("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", PNG),  # a browser's address bar
        ("image/png, application/json;q=0.1", PNG),
        ("image/png;q=0.1, application/json", JSON),
        ("image/*, application/json;q=0", PNG),
        ("application/json, image/*", PNG),
        ("*/*, image/*;q=0", JSON),
        ("*/*;q=0.1, image/*;q=0.5, image/png;q=0.2", PNG),
        ("image/png;q=0, */*", JSON),
        ("application/json;q=0.5, */*;q=0.5", PNG),
        ("application/problem+json", None),
        ("text/plain", None),
        ("image/png;q=0", None),
        ("*/*;q=0", None),
        ("image/webp", None),
        ("application/json;q=2, image/png;q=0.1", PNG),  # a quality that is none: left out
        ("application/json;q=x", PNG),  # nothing is left: no preference
        (",;,/,q=1", None),
        ("application/json;q=0.001, image/png;q=0.0001", JSON),
        ("application/json ; q=0.3 , image/png;q=0.2", JSON),
        ("application/json;q=0.3, application/json;q=0.9, image/png;q=0.5", JSON),
    ],
)
def test_picture_or_json(accept: str, chosen: str | None) -> None:
    assert best_offer(accept, (PNG, JSON)) == chosen


@pytest.mark.parametrize(
    ("accept", "chosen"),
    [("image/webp", WEBP), ("image/*", PNG), ("image/webp, image/png", PNG), ("image/webp, */*;q=0.8", WEBP)],
)
def test_kind_of_picture(accept: str, chosen: str) -> None:
    assert best_offer(accept, (PNG, WEBP, JSON)) == chosen


@pytest.mark.parametrize(
    ("encoding", "chosen"),
    [
        ("gzip", "gzip"), ("gzip, deflate, br", "gzip"), ("gzip;q=0", "identity"), ("br", "identity"),
        ("*", "gzip"), ("identity", "identity"), ("gzip;q=0.1, identity;q=0.9", "identity"), ("x-gzip", "identity"),
        ("gzip;q=0, *", "identity"), ("*;q=0", "identity"),
    ],
)  # fmt: skip
def test_coding(encoding: str, chosen: str) -> None:
    assert (best_offer(encoding, ("gzip", "identity")) or "identity") == chosen


@given(st.text())
def test_whatever_is_sent(accept: str) -> None:
    assert best_offer(accept, (PNG, JSON)) in (PNG, JSON, None)
