"""A multipart form as it arrives: files and fields within bounds of memory, whatever the body looks like."""

from __future__ import annotations

from dataclasses import dataclass, field

from matte_core.errors import Problem
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from matte_frontend.json_body import REST_BYTES, too_large

MAX_PARTS = 64


@dataclass(slots=True)
class Part:
    """A field of a form, or a file where ``filename`` is not None."""

    name: str = ""
    filename: str | None = None
    data: bytearray = field(default_factory=bytearray)

    def take(self) -> bytes:
        """The data, which the part has no more then: large files are in memory once."""
        taken = bytes(self.data)
        self.data = bytearray()
        return taken


class FormBody:
    """Reads one body. The parser itself bounds the headers of a part.

    Args:
        content_type: the request's.
        max_bytes: of all files together; fields have ``REST_BYTES`` together.

    Raises:
        Problem: malformed_request.
    """

    def __init__(self, content_type: str, max_bytes: int) -> None:
        self._parts: list[Part] = []
        self._max = max_bytes
        self._files = self._fields = 0
        self._header = bytearray()
        self._value = bytearray()
        self._ended = False
        boundary = parse_options_header(content_type)[1].get(b"boundary")
        if not boundary:
            raise _malformed("Content-Type has no boundary")
        try:
            self._parser = MultipartParser(
                boundary,
                {
                    "on_part_begin": self._begin, "on_part_data": self._data, "on_header_field": self._header_name,
                    "on_header_value": self._header_value, "on_header_end": self._header_end,
                    "on_headers_finished": self._named, "on_end": self._end,
                },
            )  # fmt: skip
        except FormParserError as error:
            raise _malformed(str(error)) from error

    def write(self, chunk: bytes) -> None:
        """Takes a piece of the body.

        Raises:
            Problem: malformed_request, payload_too_large.
        """
        try:
            self._parser.write(chunk)
        except FormParserError as error:
            raise _malformed(str(error)) from error

    def finish(self) -> list[Part]:
        """All parts, in their order.

        Raises:
            Problem: malformed_request.
        """
        if not self._ended:
            raise _malformed("it ends before its last boundary")
        return self._parts

    def _begin(self) -> None:
        if len(self._parts) >= MAX_PARTS:
            raise _malformed(f"it has more than {MAX_PARTS} parts")
        self._parts.append(Part())

    def _header_name(self, data: bytes, start: int, end: int) -> None:
        self._header += data[start:end]

    def _header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _header_end(self) -> None:
        if self._header.lower() == b"content-disposition":
            part, (_, options) = self._parts[-1], parse_options_header(bytes(self._value))
            part.name = options.get(b"name", b"").decode(errors="replace")
            if b"filename" in options:
                part.filename = options[b"filename"].decode(errors="replace")
        self._header.clear()
        self._value.clear()

    def _named(self) -> None:
        if not self._parts[-1].name:
            raise _malformed("a part has no name in its Content-Disposition")

    def _data(self, data: bytes, start: int, end: int) -> None:
        part = self._parts[-1]
        if part.filename is None:
            self._fields += end - start
            if self._fields > REST_BYTES:
                detail = f"The form has more than {REST_BYTES} bytes besides its files. Leave the rest out."
                raise Problem("payload_too_large", detail)
        else:
            self._files += end - start
            if self._files > self._max:
                raise too_large(self._max)
        part.data += data[start:end]

    def _end(self) -> None:
        self._ended = True


def _malformed(reason: str) -> Problem:
    return Problem("malformed_request", f"The form cannot be read: {reason}.")
