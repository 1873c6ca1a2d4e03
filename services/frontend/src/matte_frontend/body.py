"""A request's body, read within bounds: the picture, perhaps a background, and the parameters.

However the body looks, reading it takes at most three times ``max_bytes`` of memory: what its pictures have together is
bounded by ``max_bytes``, and a picture is in memory at most twice, while its pieces become one.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import AsyncGenerator, Iterable
from dataclasses import dataclass, field

from matte_core.errors import Problem
from starlette.requests import Request

from matte_frontend.form_body import FormBody, Part
from matte_frontend.json_body import JsonBody, not_base64
from matte_frontend.parameters import check_types, same_value

#: what a form or a JSON document may have besides pictures, with its boundaries and escapes
_SLACK = 1_000_000
_B64 = {"image_b64": "image", "bg_image_b64": "bg_image"}
_FILES = frozenset(_B64.values())


@dataclass(frozen=True, slots=True)
class Inputs:
    """What a caller sent. ``parameters`` are as they came, strings or JSON values."""

    image: bytes
    background: bytes | None = None
    parameters: dict[str, object] = field(default_factory=dict)


async def bounded(request: Request, limit: int) -> AsyncGenerator[bytes]:
    """The body in pieces, as they come.

    Raises:
        Problem: payload_too_large, as soon as the length is announced or exceeded.
    """
    # uvicorn has checked that it is a number
    if int(request.headers.get("content-length", "0")[:20]) > limit:
        raise _too_large(limit)
    size = 0
    async for chunk in request.stream():
        size += len(chunk)
        if size > limit:
            raise _too_large(limit)
        yield chunk


async def read_bounded(request: Request, limit: int) -> bytes:
    """The whole body.

    Raises:
        Problem: payload_too_large.
    """
    chunks = [chunk async for chunk in bounded(request, limit)]
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
        return await _from_json(request, max_bytes, query)
    if kind == "multipart/form-data":
        return await _from_form(request, max_bytes, query)
    raise Problem(
        "unsupported_format",
        f"The body is {kind}. Send the picture itself with Content-Type: image/jpeg (or image/png, …), a multipart "
        "form with the field image, or JSON with image_b64.",
    )


def _gathered(*sources: Iterable[tuple[str, object]]) -> dict[str, object]:
    """All parameters; one that has two values is refused, as nobody could say which one counts."""
    found: dict[str, object] = {}
    for source in sources:
        for name, value in source:
            if name in found and not same_value(name, found[name], value):
                raise Problem(
                    "invalid_parameter",
                    f"{name} is given more than once, with different values.",
                    errors=[{"parameter": name, "message": "given more than once, with different values"}],
                )
            found[name] = value
    return found


def _missing() -> Problem:
    return Problem(
        "picture_missing",
        "Send the picture as the body (Content-Type: image/…), in the form field image, or in JSON as image_b64.",
    )


async def _from_json(request: Request, max_bytes: int, query: list[tuple[str, str]]) -> Inputs:
    reader = JsonBody(max_bytes)
    async for chunk in bounded(request, max_bytes * 4 // 3 + _SLACK):
        reader.write(chunk)
    document, pictures = reader.finish()
    if not isinstance(document, dict):
        raise Problem("malformed_request", "The JSON body must be an object with image_b64.")
    given = {name: document.pop(name) for name in _B64 if name in document}
    check_types(document)
    files = {
        _B64[n]: pictures[n] if n in pictures and value == "" else _decoded(n, value) for n, value in given.items()
    }
    if "image" not in files:
        raise _missing()
    return Inputs(files["image"], files.get("bg_image"), _gathered(query, document.items()))


def _decoded(name: str, value: object) -> bytes:
    """A picture that the reader did not see as one: its name is written with escapes, or it is no string."""
    try:
        if not isinstance(value, str):
            raise TypeError("it is not a string")
        text = value.partition(",")[2] if value.startswith("data:") else value
        return base64.b64decode(text, validate=True)
    except (TypeError, ValueError, binascii.Error) as error:
        raise not_base64(name, error) from error


async def read_form(request: Request, max_bytes: int) -> list[Part]:
    """The parts of a multipart form.

    Raises:
        Problem: malformed_request, payload_too_large.
    """
    reader = FormBody(request.headers.get("content-type", ""), max_bytes)
    async for chunk in bounded(request, max_bytes + _SLACK):
        reader.write(chunk)
    return reader.finish()


async def _from_form(request: Request, max_bytes: int, query: list[tuple[str, str]]) -> Inputs:
    files: dict[str, bytes] = {}
    fields: list[tuple[str, object]] = []
    for part in await read_form(request, max_bytes):
        if part.filename is None:
            fields.append((part.name, part.take().decode(errors="replace")))
        elif part.name in _FILES and part.name not in files:
            files[part.name] = part.take()
        else:
            raise Problem(
                "unknown_parameter", f"There is no file field {part.name!r}; there is image and bg_image, once each.",
                parameter=part.name, allowed=sorted(_FILES),
            )  # fmt: skip
    if "image" not in files:
        raise _missing()
    return Inputs(files["image"], files.get("bg_image"), _gathered(query, fields))
