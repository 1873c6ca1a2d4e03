"""Bodies as they arrive, in pieces of any size: what is read is what came, or a problem that says why not."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st
from matte_core.errors import Problem
from matte_frontend.body import REST_BYTES, FormParser, JsonParser

MAX = 1_000_000


def read_json(body: bytes, size: int = 7) -> tuple[object, dict[str, bytes]]:
    reader = JsonParser(MAX)
    for start in range(0, len(body), size):
        reader.write(body[start : start + size])
    return reader.finish()


@given(st.binary(max_size=300), st.integers(1, 50), st.booleans(), st.booleans(), st.text(max_size=20))
def test_a_picture_in_json(data: bytes, size: int, address: bool, escaped: bool, text: str) -> None:
    value = ("data:image/png;base64," if address else "") + base64.b64encode(data).decode()
    body = json.dumps({"hints": text, "image_b64": value, "bg_color": text})
    body = body.replace("/", "\\/") if escaped else body
    document, pictures = read_json(body.encode(), size)
    assert pictures == {"image_b64": data}
    assert document == {"hints": text, "image_b64": "", "bg_color": text}


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b'{"image_b64": "QUJD', "malformed_request"),
        (b'{"image_b64": "QUJD"', "malformed_request"),
        (b'{"image_b64": "QUJ"}', "invalid_parameter"),
        (b'{"image_b64": "QQ==QUJD"}', "invalid_parameter"),
        (b'{"image_b64": "Q\\nUJD"}', "invalid_parameter"),
        (b'{"image_b64": "' + b"QUJD" * (MAX // 3 + 2) + b'"}', "payload_too_large"),
        (b'{"image_b64": "", "x": [' + b"{}," * REST_BYTES, "payload_too_large"),
        (b'{"x": "' + b"\\" * (REST_BYTES + 1), "payload_too_large"),
        (b"[" * (REST_BYTES - 1), "malformed_request"),
        (b"9" * (REST_BYTES - 1), "malformed_request"),
        (b'{"image_b64": "QUJD"}}', "malformed_request"),
        (b"", "malformed_request"),
    ],
)
@pytest.mark.parametrize("size", [1000, 100_000_000])
def test_json_that_is_refused(body: bytes, code: str, size: int) -> None:
    with pytest.raises(Problem) as caught:
        read_json(body, size)
    assert caught.value.code == code


def form_parts(body: bytes, size: int) -> Iterator[tuple[str, str | None, bytes]]:
    reader = FormParser("multipart/form-data; boundary=x", MAX)
    for start in range(0, len(body), size):
        reader.write(body[start : start + size])
    return ((part.name, part.filename, bytes(part.data)) for part in reader.finish())


def part(head: bytes, data: bytes) -> bytes:
    return b"--x\r\nContent-Disposition: form-data; " + head + b"\r\n\r\n" + data + b"\r\n"


@given(st.binary(max_size=300), st.integers(1, 50))
def test_a_form(data: bytes, size: int) -> None:
    if b"\r\n--x" in b"\r\n" + data:
        return
    body = part(b'name="image"; filename="a.jpg"', data) + part(b'name="format"', b"webp") + b"--x--\r\n"
    assert list(form_parts(body, size)) == [("image", "a.jpg", data), ("format", None, b"webp")]


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"", "malformed_request"),
        (part(b'name="image"; filename="a"', b"abc"), "malformed_request"),
        (part(b'name="a"', b"") * 65 + b"--x--\r\n", "malformed_request"),
        (part(b"", b"") + b"--x--\r\n", "malformed_request"),
        (part(b'name="a"', b"a" * (REST_BYTES + 1)) + b"--x--\r\n", "payload_too_large"),
        (part(b'name="a"; filename="a"', b"a" * (MAX + 1)) + b"--x--\r\n", "payload_too_large"),
        (b"--x\r\n" + b"A: b\r\n" * 1000, "malformed_request"),
        (b"--x\r\nA: " + b"b" * 100_000, "malformed_request"),
    ],
)
def test_forms_that_are_refused(body: bytes, code: str) -> None:
    with pytest.raises(Problem) as caught:
        list(form_parts(body, 1000))
    assert caught.value.code == code


@pytest.mark.parametrize("kind", ["multipart/form-data", "multipart/form-data; boundary=" + "x" * 1000])
def test_boundaries_that_are_refused(kind: str) -> None:
    with pytest.raises(Problem, match="cannot be read"):
        FormParser(kind, MAX)
