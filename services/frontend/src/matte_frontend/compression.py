"""``Content-Encoding: gzip`` for text: the page, scripts, styles, JSON. Never for pictures, nor for event streams.

Of Starlette's own layer little would be left: it takes ``gzip;q=0`` for yes, leaves strong tags on what it changed,
names what not to compress where we name what to, and compresses the same file again for everyone. gzip alone: it
needs nothing that Python and every client do not have.
"""

from __future__ import annotations

import asyncio
import functools
import gzip

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from matte_frontend.accept import best

_TEXT = frozenset(
    {
        "text/html", "text/css", "text/javascript", "application/javascript",
        "application/json", "application/problem+json",
    }
)  # fmt: skip
#: what is smaller fits a packet or two anyhow
_SMALLEST = 1000
_LEVEL = 5
#: bytes that take a few milliseconds
_LONG = 128 * 1024


class Compression:
    """Pure ASGI. An answer whose ``Cache-Control`` has ``no-transform`` passes as it is."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves one request."""
        if scope["type"] == "http":
            send = _compressing(Headers(scope=scope), send)
        await self._app(scope, receive, send)


def takes_gzip(accept_encoding: str) -> bool:
    """Whether a client wants it, at least as much as the plain bytes. Without the header it does not."""
    return bool(accept_encoding.strip()) and best(accept_encoding, ("gzip", "identity")) == "gzip"


def _compressing(request: Headers, send: Send) -> Send:
    held: Message | None = None
    body = b""

    async def compressing(message: Message) -> None:
        nonlocal held, body
        if message["type"] == "http.response.start":
            if message["status"] == 304:
                _match(message, request)
            elif _is_text(message):
                held = message  # its length and its coding are not known yet
                return
            await send(message)
        elif held is None:
            await send(message)
        else:
            body += message.get("body", b"")
            if not message.get("more_body"):
                body = await _coded(MutableHeaders(raw=held["headers"]), body, request)
                await send(held)
                await send({"type": "http.response.body", "body": body})

    return compressing


def _is_text(message: Message) -> bool:
    headers = Headers(raw=list(message["headers"]))
    return (
        headers.get("content-type", "").partition(";")[0] in _TEXT
        and message["status"] != 206
        and "content-encoding" not in headers
        and "no-transform" not in headers.get("cache-control", "")
    )


async def _coded(headers: MutableHeaders, body: bytes, request: Headers) -> bytes:
    """The body as the client takes it. A tag is weak where the bytes that it names were compressed."""
    if len(body) < _SMALLEST:
        return body
    headers.add_vary_header("Accept-Encoding")
    if not takes_gzip(", ".join(request.getlist("accept-encoding"))):
        return body
    etag = headers.get("etag", "")
    compress = _compress_once if etag else _compress
    body = await asyncio.to_thread(compress, body) if len(body) >= _LONG else compress(body)
    headers["content-encoding"] = "gzip"
    headers["content-length"] = str(len(body))
    if etag.startswith('"'):
        headers["etag"] = f"W/{etag}"
    return body


def _match(message: Message, request: Headers) -> None:
    """A client that has the compressed bytes hears the tag that it knows them by."""
    headers = MutableHeaders(raw=message["headers"])
    weak = f"W/{headers.get('etag', '')}"
    if weak in request.get("if-none-match", ""):
        headers["etag"] = weak
        headers.add_vary_header("Accept-Encoding")


def _compress(body: bytes) -> bytes:
    return gzip.compress(body, _LEVEL, mtime=0)


#: what has a tag comes again: the page's files, which are kept in memory themselves
_compress_once = functools.lru_cache(maxsize=32)(_compress)
