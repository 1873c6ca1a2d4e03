"""``Content-Encoding: gzip`` for text: the page, scripts, styles, JSON. Never for pictures, nor for event streams.

Little of Starlette's own middleware would be left: it takes ``gzip;q=0`` for yes, leaves strong ETags on what it
changed, names what not to compress where we name what to, and compresses the same file again for every client.
"""

from __future__ import annotations

import asyncio
import functools
import gzip

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from matte_frontend.responses import best_offer

_TEXT = frozenset(
    {
        "text/html", "text/css", "text/javascript", "application/javascript",
        "application/json", "application/problem+json",
    }
)  # fmt: skip
#: bytes; anything smaller fits a packet or two anyway
_MIN_BYTES = 1000
_LEVEL = 5
#: bytes that take a few milliseconds, and are compressed in a thread
_THREAD_BYTES = 128 * 1024


class CompressionMiddleware:
    """Pure ASGI. A response whose ``Cache-Control`` has ``no-transform`` is left as it is."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request = Headers(scope=scope)
        start: Message | None = None  # held back until the body's length and coding are known
        body = b""

        async def send_compressed(message: Message) -> None:
            nonlocal start, body
            if message["type"] == "http.response.start":
                headers = MutableHeaders(raw=message["headers"])
                if message["status"] == 304:
                    # a client that has the compressed bytes gets the ETag that it knows them by
                    weak = f"W/{headers.get('etag', '')}"
                    if weak in request.get("if-none-match", ""):
                        headers["etag"] = weak
                        headers.add_vary_header("Accept-Encoding")
                elif (
                    headers.get("content-type", "").partition(";")[0] in _TEXT
                    and message["status"] != 206
                    and "content-encoding" not in headers
                    and "no-transform" not in headers.get("cache-control", "")
                ):
                    start = message
                    return
                await send(message)
            elif start is None:
                await send(message)
            else:
                body += message.get("body", b"")
                if not message.get("more_body"):
                    body = await _encode(MutableHeaders(raw=start["headers"]), body, request)
                    await send(start)
                    await send({"type": "http.response.body", "body": body})

        await self._app(scope, receive, send_compressed)


def accepts_gzip(accept_encoding: str) -> bool:
    """Whether a client likes gzip at least as much as the plain bytes. Without the header it does not."""
    return bool(accept_encoding.strip()) and best_offer(accept_encoding, ("gzip", "identity")) == "gzip"


async def _encode(headers: MutableHeaders, body: bytes, request: Headers) -> bytes:
    """The body as the client accepts it. An ETag becomes weak where the bytes that it names were compressed."""
    if len(body) < _MIN_BYTES:
        return body
    headers.add_vary_header("Accept-Encoding")
    if not accepts_gzip(", ".join(request.getlist("accept-encoding"))):
        return body
    etag = headers.get("etag", "")
    compress = _compress_once if etag else _compress
    body = await asyncio.to_thread(compress, body) if len(body) >= _THREAD_BYTES else compress(body)
    headers["content-encoding"] = "gzip"
    headers["content-length"] = str(len(body))
    if etag.startswith('"'):
        headers["etag"] = f"W/{etag}"
    return body


def _compress(body: bytes) -> bytes:
    return gzip.compress(body, _LEVEL, mtime=0)


#: what has an ETag comes again: the page's files, which are kept in memory themselves
_compress_once = functools.lru_cache(maxsize=32)(_compress)
