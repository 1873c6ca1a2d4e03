"""A request's body, read within limits: the picture, perhaps a background, and the parameters.

However the body looks, reading it takes at most three times ``max_bytes`` of memory: its pictures have at most
``max_bytes`` together, and a picture is in memory at most twice, while its pieces become one.
"""

from __future__ import annotations

import base64
import binascii
import functools
import json
import re
from collections.abc import AsyncGenerator, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any

from matte_core.contracts.options import Options
from matte_core.errors import Problem
from pydantic import TypeAdapter, ValidationError
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import Request

from matte_frontend.problems import invalid_parameter, unknown_parameter

#: bytes of a form's fields together, or of a JSON body besides its pictures
REST_BYTES = 65_536
MAX_PARTS = 64
#: bytes that a form or a JSON document may have besides pictures, with its boundaries and escapes
_SLACK = 1_000_000
_PICTURE_FIELDS = {"image_b64": "image", "bg_image_b64": "bg_image"}
_FILE_FIELDS = frozenset(_PICTURE_FIELDS.values())
#: a string that follows one of these keys, at any depth, is decoded as a picture
_PICTURE_KEY = re.compile(rb'"(image_b64|bg_image_b64)"\s*:\s*"\Z')
_PICTURE_KEY_BYTES = 100
_QUOTE_OR_BACKSLASH = re.compile(rb'["\\]')
#: longest ``data:image/png;base64,``
_DATA_URL_BYTES = 200
_JSON_TYPES: Mapping[str, tuple[type, str]] = dict.fromkeys(("model", "version"), (str, "a string")) | {
    name: (bool, "true or false") if option.annotation is bool else (str, "a string")
    for name, option in Options.model_fields.items()
}


@dataclass(frozen=True, slots=True)
class Inputs:
    """What a client sent. ``parameters`` are as they came, strings or JSON values."""

    image: bytes
    background: bytes | None = None
    parameters: dict[str, object] = field(default_factory=dict)


async def read_inputs(request: Request, max_bytes: int) -> Inputs:
    """The picture as the body itself, in a form, or in JSON; the query's parameters with the body's. Raises Problem:
    payload_too_large, malformed_request, unsupported_format, picture_missing, unknown_parameter, invalid_parameter.
    """
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    query = request.query_params.multi_items() if request.url.query else []
    files: dict[str, bytes]
    parameters: list[tuple[str, object]]
    if media_type.startswith("image/") or media_type in ("application/octet-stream", ""):
        image = await read_limited(request, max_bytes)
        files, parameters = {"image": image} if image or media_type else {}, []
    elif media_type == "application/json":
        files, parameters = await _read_json_inputs(request, max_bytes)
    elif media_type == "multipart/form-data":
        files, parameters = await _read_form_inputs(request, max_bytes)
    else:
        raise Problem(
            "unsupported_format",
            f"The body is {media_type}. Send the picture itself with Content-Type: image/jpeg (or image/png, …), a "
            "multipart form with the field image, or JSON with image_b64.",
        )
    if "image" not in files:
        raise Problem(
            "picture_missing",
            "Send the picture as the body (Content-Type: image/…), in the form field image, or in JSON as image_b64.",
        )
    return Inputs(files["image"], files.get("bg_image"), _merge_parameters(query, parameters))


async def read_limited(request: Request, limit: int) -> bytes:
    """The whole body. Raises Problem: payload_too_large."""
    chunks = [chunk async for chunk in _stream_limited(request, limit)]
    return chunks[0] if len(chunks) == 1 else b"".join(chunks)


async def _stream_limited(request: Request, limit: int) -> AsyncGenerator[bytes]:
    """The body in pieces; payload_too_large as soon as more than ``limit`` bytes are announced or received."""
    too_large = Problem("payload_too_large", f"The body has more than {limit} bytes. Make the picture smaller.")
    # uvicorn has checked that it is a number
    if int(request.headers.get("content-length", "0")[:20]) > limit:
        raise too_large
    size = 0
    async for chunk in request.stream():
        size += len(chunk)
        if size > limit:
            raise too_large
        yield chunk


async def _read_json_inputs(request: Request, max_bytes: int) -> tuple[dict[str, bytes], list[tuple[str, object]]]:
    parser = JsonParser(max_bytes)
    async for chunk in _stream_limited(request, max_bytes * 4 // 3 + _SLACK):
        parser.write(chunk)
    document, pictures = parser.finish()
    if not isinstance(document, dict):
        raise Problem("malformed_request", "The JSON body must be an object with image_b64.")
    encoded = {name: document.pop(name) for name in _PICTURE_FIELDS if name in document}
    # a parameter is null or of the type that the OpenAPI document declares; queries and forms, which have nothing but
    # strings, are parsed more generously
    errors = [
        {"parameter": name, "message": f"not {type_name} in JSON"}
        for name, value in document.items()
        for expected, type_name in [_JSON_TYPES.get(name, (object, ""))]
        if value is not None and not isinstance(value, expected)
    ]
    if errors:
        detail = "; ".join(f"{error['parameter']}: {error['message']}" for error in errors)
        raise Problem("invalid_parameter", detail, errors=errors)
    files: dict[str, bytes] = {}
    for name, value in encoded.items():
        if name in pictures and value == "":
            files[_PICTURE_FIELDS[name]] = pictures[name]
            continue
        try:  # the parser did not recognize it: its key is written with escapes, or it is no string
            if not isinstance(value, str):
                raise TypeError("it is not a string")
            text = value.partition(",")[2] if value.startswith("data:") else value
            files[_PICTURE_FIELDS[name]] = base64.b64decode(text, validate=True)
        except (TypeError, ValueError) as error:
            raise _not_base64(name, error) from error
    return files, list(document.items())


async def read_form(request: Request, max_bytes: int) -> list[Part]:
    """The parts of a multipart form. Raises Problem: malformed_request, payload_too_large."""
    parser = FormParser(request.headers.get("content-type", ""), max_bytes)
    async for chunk in _stream_limited(request, max_bytes + _SLACK):
        parser.write(chunk)
    return parser.finish()


async def _read_form_inputs(request: Request, max_bytes: int) -> tuple[dict[str, bytes], list[tuple[str, object]]]:
    files: dict[str, bytes] = {}
    fields: list[tuple[str, object]] = []
    for part in await read_form(request, max_bytes):
        if part.filename is None:
            fields.append((part.name, part.take().decode(errors="replace")))
        elif part.name in _FILE_FIELDS and part.name not in files:
            files[part.name] = part.take()
        else:
            detail = f"There is no file field {part.name!r}; there is image and bg_image, once each."
            raise unknown_parameter(detail, part.name, sorted(_FILE_FIELDS))
    return files, fields


def _merge_parameters(*sources: Iterable[tuple[str, object]]) -> dict[str, object]:
    """All parameters; one that has two values is refused, as nobody could say which one counts."""
    merged: dict[str, object] = {}
    for source in sources:
        for name, value in source:
            if name in merged and not _same_value(name, merged[name], value):
                message = "given more than once, with different values"
                raise invalid_parameter(name, message, f"{name} is {message}.")
            merged[name] = value
    return merged


def _same_value(name: str, one: object, other: object) -> bool:
    """Whether both mean the same: ``true`` in a query and ``True`` in JSON do."""
    if one == other and isinstance(one, type(other)):
        return True
    if name not in Options.model_fields:
        return str(one) == str(other)
    try:
        return bool(_adapter(name).validate_python(one) == _adapter(name).validate_python(other))
    except ValidationError:
        return False


@functools.cache
def _adapter(name: str) -> TypeAdapter[Any]:
    option = Options.model_fields[name]
    annotation: Any = option.annotation
    return TypeAdapter(Annotated[annotation, *option.metadata] if option.metadata else annotation)


# --- JSON ---


class Base64Decoder:
    """Decodes one string of a JSON text as it arrives; it may be a ``data:`` URL. Raises ValueError."""

    def __init__(self) -> None:
        self.data = bytearray()
        self._pending = b""
        self._at_start = True
        self._padded = False

    def add(self, text: bytes) -> None:
        text = self._pending + text
        if self._at_start:
            if b"data:".startswith(text[:5]) and b"," not in text and len(text) < _DATA_URL_BYTES:
                self._pending = text
                return
            self._at_start = False
            text = text.partition(b",")[2] if text.startswith(b"data:") else text
        if self._padded and text:
            raise ValueError("Excess data after padding")
        complete = len(text) - len(text) % 4
        self._pending = text[complete:]
        self._decode(text[:complete])

    def finish(self) -> bytes:
        only_data_url_head = self._at_start and self._pending.startswith(b"data:")
        self._decode(b"" if only_data_url_head else self._pending)
        return bytes(self.data)

    def _decode(self, text: bytes) -> None:
        if text:
            self._padded = text.endswith(b"=")
            self.data += binascii.a2b_base64(text, strict_mode=True)


class JsonParser:
    """Parses a JSON body as it arrives: pictures in base64, which have at most ``max_bytes`` together, are decoded
    piece by piece; the rest has ``REST_BYTES``. The text is never held, and so what ``json`` makes of it (a list of
    millions of empty objects takes thirty times its bytes) is limited, too.
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._rest = bytearray()
        self._in_string = False
        self._escaped = False
        self._picture: tuple[str, Base64Decoder] | None = None
        self._pictures: dict[str, bytes] = {}

    def write(self, chunk: bytes) -> None:
        start = 0
        while start < len(chunk):
            start = self._in_picture(chunk, start) if self._picture else self._outside(chunk, start)

    def finish(self) -> tuple[Any, dict[str, bytes]]:
        """The document, and the decoded pictures by key; in the document they are empty strings."""
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
        mark = _QUOTE_OR_BACKSLASH.search(chunk, start)
        end = mark.end() if mark else len(chunk)
        self._keep(chunk[start:end])
        if mark is None:
            return end
        if mark[0] == b"\\":
            self._escaped = self._in_string
            return end
        self._in_string = not self._in_string
        if self._in_string and (key := _PICTURE_KEY.search(self._rest, max(0, len(self._rest) - _PICTURE_KEY_BYTES))):
            self._picture = (key[1].decode(), Base64Decoder())
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
        name, decoder = self._picture
        end = chunk.find(b'"', start)
        text = b"\\" * self._escaped + chunk[start : end if end >= 0 else len(chunk)]
        self._escaped = end < 0 and text.endswith(b"\\")
        text = text[:-1] if self._escaped else text
        try:
            decoder.add(text.replace(b"\\/", b"/"))
            if len(decoder.data) + sum(map(len, self._pictures.values())) > self._max_bytes:
                raise _pictures_too_large(self._max_bytes)
            if end < 0:
                return len(chunk)
            self._pictures[name] = decoder.finish()
        except ValueError as error:
            raise _not_base64(name, error) from error
        self._picture, self._in_string = None, False
        self._keep(b'"')
        return end + 1


# --- multipart forms ---


@dataclass(slots=True)
class Part:
    """A field of a form, or a file where ``filename`` is not None."""

    name: str = ""
    filename: str | None = None
    data: bytearray = field(default_factory=bytearray)

    def take(self) -> bytes:
        """The data, which the part no longer has afterwards: large files are in memory once."""
        taken = bytes(self.data)
        self.data = bytearray()
        return taken


class FormParser:
    """Parses a multipart form as it arrives: files have at most ``max_bytes`` together, fields ``REST_BYTES``.
    python-multipart itself limits the headers of a part.
    """

    def __init__(self, content_type: str, max_bytes: int) -> None:
        self._parts: list[Part] = []
        self._max_bytes = max_bytes
        self._file_bytes = self._field_bytes = 0
        self._header_name = bytearray()
        self._header_value = bytearray()
        self._ended = False
        boundary = parse_options_header(content_type)[1].get(b"boundary")
        if not boundary:
            raise _malformed_form("Content-Type has no boundary")
        try:
            self._parser = MultipartParser(
                boundary,
                {
                    "on_part_begin": self._on_part_begin, "on_part_data": self._on_part_data,
                    "on_header_field": self._on_header_name, "on_header_value": self._on_header_value,
                    "on_header_end": self._on_header_end, "on_headers_finished": self._on_headers_finished,
                    "on_end": self._on_end,
                },
            )  # fmt: skip
        except FormParserError as error:
            raise _malformed_form(error) from error

    def write(self, chunk: bytes) -> None:
        try:
            self._parser.write(chunk)
        except FormParserError as error:
            raise _malformed_form(error) from error

    def finish(self) -> list[Part]:
        if not self._ended:
            raise _malformed_form("it ends before its last boundary")
        return self._parts

    def _on_part_begin(self) -> None:
        if len(self._parts) >= MAX_PARTS:
            raise _malformed_form(f"it has more than {MAX_PARTS} parts")
        self._parts.append(Part())

    def _on_header_name(self, data: bytes, start: int, end: int) -> None:
        self._header_name += data[start:end]

    def _on_header_value(self, data: bytes, start: int, end: int) -> None:
        self._header_value += data[start:end]

    def _on_header_end(self) -> None:
        if self._header_name.lower() == b"content-disposition":
            part, (_, options) = self._parts[-1], parse_options_header(bytes(self._header_value))
            part.name = options.get(b"name", b"").decode(errors="replace")
            if b"filename" in options:
                part.filename = options[b"filename"].decode(errors="replace")
        self._header_name.clear()
        self._header_value.clear()

    def _on_headers_finished(self) -> None:
        if not self._parts[-1].name:
            raise _malformed_form("a part has no name in its Content-Disposition")

    def _on_part_data(self, data: bytes, start: int, end: int) -> None:
        part = self._parts[-1]
        if part.filename is None:
            self._field_bytes += end - start
            if self._field_bytes > REST_BYTES:
                detail = f"The form has more than {REST_BYTES} bytes besides its files. Leave the rest out."
                raise Problem("payload_too_large", detail)
        else:
            self._file_bytes += end - start
            if self._file_bytes > self._max_bytes:
                raise _pictures_too_large(self._max_bytes)
        part.data += data[start:end]

    def _on_end(self) -> None:
        self._ended = True


def _malformed_form(reason: object) -> Problem:
    return Problem("malformed_request", f"The form cannot be read: {reason}.")


def _not_base64(name: str, error: Exception) -> Problem:
    return invalid_parameter(name, f"not base64: {error}", f"{name} is not base64: {error}.")


def _pictures_too_large(limit: int) -> Problem:
    return Problem(
        "payload_too_large", f"The pictures of one request have at most {limit} bytes together. Make them smaller."
    )
