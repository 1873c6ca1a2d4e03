"""A JSON body as it arrives: pictures in base64 are decoded piece by piece, the rest is small or refused.

Memory is that of the decoded pictures and of ``REST_BYTES``, whatever the body looks like: the text is never held, and
what a parser makes of it (a list of millions of empty objects takes thirty times its bytes) is bounded by the rest.
"""

from __future__ import annotations

import binascii
import json
import re
from typing import Any

from matte_core.errors import Problem

#: bytes of a body besides its pictures
REST_BYTES = 65_536
#: a string that follows one of these keys, wherever it is, leaves the text: see :meth:`JsonBody.finish`
_KEY = re.compile(rb'"(image_b64|bg_image_b64)"\s*:\s*"\Z')
_KEY_BYTES = 100
_MARK = re.compile(rb'["\\]')
#: ``data:image/png;base64,``
_HEAD_BYTES = 200


class Base64:
    """One string of a JSON text that is being decoded; it may be a ``data:`` address."""

    def __init__(self) -> None:
        self.data = bytearray()
        self._text = b""
        self._head = True
        self._padded = False

    def add(self, text: bytes) -> None:
        """Takes what comes next.

        Raises:
            ValueError: it is not base64.
        """
        text = self._text + text
        if self._head:
            if b"data:".startswith(text[:5]) and b"," not in text and len(text) < _HEAD_BYTES:
                self._text = text
                return
            self._head = False
            text = text.partition(b",")[2] if text.startswith(b"data:") else text
        if self._padded and text:
            raise ValueError("Excess data after padding")
        whole = len(text) - len(text) % 4
        self._text = text[whole:]
        self._decode(text[:whole])

    def finish(self) -> bytes:
        """All of it.

        Raises:
            ValueError: as :meth:`add`.
        """
        self._head = self._head and self._text.startswith(b"data:")
        self._decode(b"" if self._head else self._text)
        return bytes(self.data)

    def _decode(self, text: bytes) -> None:
        if text:
            self._padded = text.endswith(b"=")
            self.data += binascii.a2b_base64(text, strict_mode=True)


class JsonBody:
    """Reads one body.

    Args:
        max_bytes: of all pictures together, decoded.
    """

    def __init__(self, max_bytes: int) -> None:
        self._max = max_bytes
        self._rest = bytearray()
        self._in_string = False
        self._escaped = False
        self._picture: tuple[str, Base64] | None = None
        self._pictures: dict[str, bytes] = {}

    def write(self, chunk: bytes) -> None:
        """Takes a piece of the body, of any size.

        Raises:
            Problem: payload_too_large, invalid_parameter.
        """
        start = 0
        while start < len(chunk):
            start = self._in_picture(chunk, start) if self._picture else self._outside(chunk, start)

    def finish(self) -> tuple[Any, dict[str, bytes]]:
        """The document, and the pictures that left it, by key; in the document they are empty strings.

        Raises:
            Problem: malformed_request.
        """
        try:
            return json.loads(self._rest), self._pictures
        except (ValueError, RecursionError) as error:
            raise Problem("malformed_request", f"The body is not JSON: {error}") from error

    def _outside(self, chunk: bytes, start: int) -> int:
        """Keeps what is no picture, up to the next quotation mark or backslash; returns where that ends."""
        if self._escaped:
            self._escaped = False
            self._keep(chunk[start : start + 1])
            return start + 1
        mark = _MARK.search(chunk, start)
        end = mark.end() if mark else len(chunk)
        self._keep(chunk[start:end])
        if mark is None:
            return end
        if mark[0] == b"\\":
            self._escaped = self._in_string
            return end
        self._in_string = not self._in_string
        if self._in_string and (key := _KEY.search(self._rest, max(0, len(self._rest) - _KEY_BYTES))):
            self._picture = (key[1].decode(), Base64())
        return end

    def _keep(self, text: bytes) -> None:
        if len(self._rest) + len(text) > REST_BYTES:
            raise Problem(
                "payload_too_large",
                f"The JSON has more than {REST_BYTES} bytes besides image_b64 and bg_image_b64. Leave the rest out.",
            )
        self._rest += text

    def _in_picture(self, chunk: bytes, start: int) -> int:
        """Decodes up to the end of the string, and returns where that is. Some writers escape the slash; any other
        backslash, also one before a quotation mark, is not base64.
        """
        assert self._picture is not None
        name, picture = self._picture
        end = chunk.find(b'"', start)
        text = b"\\" * self._escaped + chunk[start : end if end >= 0 else len(chunk)]
        self._escaped = end < 0 and text.endswith(b"\\")
        text = text[:-1] if self._escaped else text
        try:
            picture.add(text.replace(b"\\/", b"/"))
            if len(picture.data) + sum(map(len, self._pictures.values())) > self._max:
                raise too_large(self._max)
            if end < 0:
                return len(chunk)
            self._pictures[name] = picture.finish()
        except ValueError as error:
            raise not_base64(name, error) from error
        self._picture, self._in_string = None, False
        self._keep(b'"')
        return end + 1


def not_base64(name: str, error: Exception) -> Problem:
    """``invalid_parameter`` for a picture that cannot be decoded."""
    message = f"not base64: {error}"
    return Problem("invalid_parameter", f"{name} is {message}.", errors=[{"parameter": name, "message": message}])


def too_large(limit: int) -> Problem:
    """``payload_too_large`` for the pictures of one request."""
    return Problem(
        "payload_too_large", f"The pictures of one request have at most {limit} bytes together. Make them smaller."
    )
