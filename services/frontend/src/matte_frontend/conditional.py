"""Answers that a client may have already, or wants a part of: ETag, If-None-Match, Range and If-Range (RFC 9110)."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Awaitable, Callable

from matte_core.errors import Problem
from starlette.requests import Request
from starlette.responses import Response

from matte_frontend import problems

_RANGE = re.compile(r"bytes=\s*([0-9]{0,18})-([0-9]{0,18})\s*", re.IGNORECASE)


async def respond(
    request: Request, read: Callable[[], Awaitable[bytes]], kind: str, *, etag: str, headers: dict[str, str]
) -> Response:
    """The bytes; 304 where the client has them, 206 where it wants a part, 416 where there is no such part.

    Args:
        request: a GET or HEAD.
        read: gives all of the bytes; not called where the client has them.
        kind: their media type.
        etag: of :func:`tag`; names these bytes and no others, in this media type.
        headers: of the answer.
    """
    headers = {**headers, "ETag": etag, "Accept-Ranges": "bytes"}
    if known(", ".join(request.headers.getlist("if-none-match")), etag):
        return Response(status_code=304, headers=headers)
    body = await read()
    in_part = request.method == "GET" and request.headers.get("if-range", etag) == etag
    part = span(request.headers.get("range", ""), len(body)) if in_part else None
    if part is None:
        return Response(body, 200, headers, kind)
    if not part:
        problem = Problem("range_not_satisfiable", f"Range asks for none of the {len(body)} bytes that there are.")
        headers = {"Content-Range": f"bytes */{len(body)}", "Accept-Ranges": "bytes"}
        return problems.respond(problem, instance=request.url.path, headers=headers)
    headers["Content-Range"] = f"bytes {part.start}-{part.stop - 1}/{len(body)}"
    return Response(body[part.start : part.stop], 206, headers, kind)


def tag(*identity: object) -> str:
    """A strong tag for bytes that these values, or their own digest, identify."""
    return f'"{hashlib.sha256(repr(identity).encode()).hexdigest()[:32]}"'


def known(if_none_match: str, etag: str) -> bool:
    """Whether a client has what ``etag`` names: by weak comparison, as a coding on the way makes it weak."""
    given = [one.strip().removeprefix("W/") for one in if_none_match.split(",")]
    return "*" in given or etag in given


def span(header: str, size: int) -> range | None:
    """The bytes that ``Range`` asks for; empty: there are none such. None: all of them, which is also the answer to
    several ranges and to what cannot be read: RFC 9110 leaves it to the server.
    """
    found = _RANGE.fullmatch(header)
    if found is None or not (found[1] or found[2]):
        return None
    if not found[1]:
        return range(max(0, size - int(found[2])), size)
    first, last = int(found[1]), int(found[2] or size)
    return range(first, min(last + 1, size)) if first <= last or not found[2] else None
