"""A request's body, read within bounds: the picture, perhaps a background, and the parameters."""

from __future__ import annotations

import asyncio
import base64
import binascii
import json
from collections.abc import AsyncGenerator, Iterable
from dataclasses import dataclass, field

from matte_core.errors import Problem
from starlette.datastructures import Headers, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import Request

#: what a form or a JSON document may have besides pictures
_SLACK = 1_000_000
#: from this size on, parsing leaves the event loop
_HEAVY = 1_000_000
_B64 = {"image_b64": "image", "bg_image_b64": "bg_image"}
_FILES = frozenset(_B64.values())


@dataclass(frozen=True, slots=True)
class Inputs:
    """What a caller sent. ``parameters`` are as they came, strings or JSON values."""

    image: bytes
    background: bytes | None = None
    parameters: dict[str, object] = field(default_factory=dict)


async def read_bounded(request: Request, limit: int) -> bytes:
    """The body.

    Raises:
        Problem: payload_too_large, as soon as the length is announced or exceeded.
    """
    if (announced := request.headers.get("content-length", "")).isdecimal() and int(announced) > limit:
        raise _too_large(limit)
    chunks: list[bytes] = []
    size = 0
    async for chunk in request.stream():
        size += len(chunk)
        if size > limit:
            raise _too_large(limit)
        chunks.append(chunk)
    return chunks[0] if len(chunks) == 1 else b"".join(chunks)


def _too_large(limit: int) -> Problem:
    return Problem("payload_too_large", f"The body has more than {limit} bytes. Make the picture smaller.")


async def read_inputs(request: Request, max_bytes: int) -> Inputs:
    """The picture as the body itself, in a form, or in JSON; the query's parameters with the body's.

    Raises:
        Problem: payload_too_large, malformed_request, unsupported_format, picture_missing, unknown_parameter,
            invalid_parameter.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    query = request.query_params.multi_items() if request.url.query else []
    if kind.startswith("image/") or kind in ("application/octet-stream", ""):
        image = await read_bounded(request, max_bytes)
        if not image and not kind:
            raise _missing()
        return Inputs(image, None, _gathered(query))
    if kind == "application/json":
        body = await read_bounded(request, 2 * max_bytes * 4 // 3 + _SLACK)
        return await asyncio.to_thread(_from_json, body, query) if len(body) > _HEAVY else _from_json(body, query)
    if kind == "multipart/form-data":
        return await _from_form(request.headers, await read_bounded(request, 2 * max_bytes + _SLACK), query)
    raise Problem(
        "unsupported_format",
        f"The body is {kind}. Send the picture itself with Content-Type: image/jpeg (or image/png, …), a multipart "
        "form with the field image, or JSON with image_b64.",
    )


def _gathered(*sources: Iterable[tuple[str, object]]) -> dict[str, object]:
    """All parameters; one that comes twice is refused, as nobody could say which one counts."""
    found: dict[str, object] = {}
    for source in sources:
        for name, value in source:
            if name in found:
                raise Problem(
                    "invalid_parameter",
                    f"{name} is given more than once.",
                    errors=[{"parameter": name, "message": "given more than once"}],
                )
            found[name] = value
    return found


def _missing() -> Problem:
    return Problem(
        "picture_missing",
        "Send the picture as the body (Content-Type: image/…), in the form field image, or in JSON as image_b64.",
    )


def _from_json(body: bytes, query: list[tuple[str, str]]) -> Inputs:
    try:
        document = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise Problem("malformed_request", f"The body is not JSON: {error}") from error
    if not isinstance(document, dict):
        raise Problem("malformed_request", "The JSON body must be an object with image_b64.")
    files = {field_: _decoded(name, document.pop(name)) for name, field_ in _B64.items() if name in document}
    if "image" not in files:
        raise _missing()
    return Inputs(files["image"], files.get("bg_image"), _gathered(query, document.items()))


def _decoded(name: str, value: object) -> bytes:
    try:
        if not isinstance(value, str):
            raise TypeError("it is not a string")
        text = value.partition(",")[2] if value.startswith("data:") else value
        return base64.b64decode(text, validate=True)
    except (TypeError, ValueError, binascii.Error) as error:
        message = f"not base64: {error}"
        raise Problem(
            "invalid_parameter", f"{name} is {message}.", errors=[{"parameter": name, "message": message}]
        ) from error


class _InMemory(MultiPartParser):
    """The whole body is in memory already, and bounded: spooling to disk would only copy it."""

    spool_max_size = 2**62


async def parse_form(headers: Headers, body: bytes, *, max_files: int) -> list[tuple[str, UploadFile | str]]:
    """The fields of a multipart form.

    Raises:
        Problem: malformed_request.
    """

    async def once() -> AsyncGenerator[bytes]:
        yield body

    try:
        form = await _InMemory(headers, once(), max_files=max_files, max_fields=50).parse()
    except (MultiPartException, KeyError, UnicodeError) as error:
        raise Problem("malformed_request", f"The form cannot be read: {error}") from error
    return form.multi_items()


async def _from_form(headers: Headers, body: bytes, query: list[tuple[str, str]]) -> Inputs:
    files: dict[str, bytes] = {}
    fields: list[tuple[str, object]] = []
    for name, value in await parse_form(headers, body, max_files=2):
        if not isinstance(value, UploadFile):
            fields.append((name, value))
        elif name in _FILES and name not in files:
            files[name] = await value.read()
        else:
            raise Problem(
                "unknown_parameter", f"There is no file field {name!r}; there is image and bg_image, once each.",
                parameter=name, allowed=sorted(_FILES),
            )  # fmt: skip
    if "image" not in files:
        raise _missing()
    return Inputs(files["image"], files.get("bg_image"), _gathered(query, fields))
