"""A small HTTP server that counts the bytes of files that it sends, and can be slow or fail."""

from __future__ import annotations

import json
import re
import ssl
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar
from urllib.parse import parse_qs, unquote, urlsplit

PIECE = 16384


class Web:
    """What a stand-in does is in its ``answer``; ``served`` counts bytes of files, by path."""

    ranged = True

    def __init__(self) -> None:
        self.served: Counter[str] = Counter()
        self.seconds_per_piece = 0.0
        self.failures = 0
        self.cut_after: int | None = None
        self.cuts = 0
        self.token: str | None = None
        self.url = ""
        self.tls: ssl.SSLContext | None = None
        self.lock = threading.Lock()

    def answer(self, request: Request) -> None:
        raise NotImplementedError

    @contextmanager
    def running(self) -> Iterator[Web]:
        handler = type("Handler", (Request,), {"web": self})
        server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        if self.tls is not None:
            server.socket = self.tls.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
        self.url = f"{'https' if self.tls else 'http'}://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield self
        finally:
            server.shutdown()
            server.server_close()
            thread.join()


class Request(BaseHTTPRequestHandler):
    web: ClassVar[Web]
    protocol_version = "HTTP/1.1"

    def _any(self) -> None:
        parts = urlsplit(self.path)
        self.route, self.query = unquote(parts.path), {k: v[0] for k, v in parse_qs(parts.query).items()}
        self.body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.headers.get("Transfer-Encoding") == "chunked":
            self.body = b"".join(self._chunks())
        self.web.answer(self)

    do_GET = do_POST = do_PUT = do_HEAD = do_PATCH = _any  # noqa: N815

    def _chunks(self) -> Iterator[bytes]:
        while size := int(self.rfile.readline(), 16):
            yield self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()

    def log_message(self, *_: Any) -> None:
        pass

    def send(self, status: int, body: bytes = b"", **headers: str) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def send_json(self, document: Any, status: int = 200, **headers: str) -> None:
        self.send(status, json.dumps(document).encode(), Content_Type="application/json", **headers)

    def send_file(self, name: str, data: bytes, **headers: str) -> None:
        """A file or the part of it that is asked for."""
        with self.web.lock:
            if self.web.failures > 0:
                self.web.failures -= 1
                return self.send(503)
        asked = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", "")) if self.web.ranged else None
        start, end = (int(asked[1]), int(asked[2]) + 1) if asked else (0, len(data))
        self.send_response(206 if asked else 200)
        end = min(end, len(data))
        if asked:
            headers["Content-Range"] = f"bytes {start}-{end - 1}/{len(data)}"
        for key, value in {"Content-Length": str(end - start), **headers}.items():
            self.send_header(key.replace("_", "-"), value)
        self.end_headers()
        return self._pieces(name, data[start:end]) if self.command != "HEAD" else None

    def _pieces(self, name: str, data: bytes) -> None:
        for at in range(0, len(data), PIECE):
            piece = data[at : at + PIECE]
            if self.web.cut_after is not None and self.web.served.total() >= self.web.cut_after:
                self.web.cut_after, self.close_connection = None, True
                self.web.cuts += 1
                self.connection.close()
                return
            try:
                self.wfile.write(piece)
            except OSError:
                return
            with self.web.lock:
                self.web.served[name] += len(piece)
            time.sleep(self.web.seconds_per_piece)
