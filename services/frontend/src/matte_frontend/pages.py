"""The page and its files."""

from __future__ import annotations

import functools
import hashlib
import mimetypes
from importlib import resources
from pathlib import Path

from matte_core.errors import Problem
from starlette.requests import Request
from starlette.responses import Response

from matte_frontend.conditional import respond, tag

FOLDER = Path(__file__).parent / "static"
#: everything comes from here; blob: and data: are pictures that the page itself made
CSP = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; connect-src 'self' blob:; "
    "font-src 'self'; manifest-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
SAFE = {
    "Content-Security-Policy": CSP,
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
}


_SWAGGER = Path(str(resources.files("fastapi_swagger"))) / "resources"
#: by name; there are no folders, and nothing else of the disk is ever read
FILES = {path.name: path for path in FOLDER.iterdir() if path.is_file()} | {
    name: _SWAGGER / name for name in ("swagger-ui.css", "swagger-ui-bundle.js")
}


async def index(request: Request) -> Response:
    """The page; asked for again each time, answered with 304 while it is the same."""
    return await _answer(request, FILES["index.html"], "no-cache")


async def docs(request: Request) -> Response:
    """``GET /docs``: the description of the REST interface to read and to try."""
    return await _answer(request, FILES["docs.html"], "no-cache")


async def favicon(request: Request) -> Response:
    """``GET /favicon.ico``, which browsers ask for where no page names an icon."""
    return await _answer(request, FILES["favicon.svg"], "public, max-age=86400")


async def file(request: Request) -> Response:
    """``GET /static/{path}``. Names carry no digest, so browsers ask whether the files changed.

    Raises:
        Problem: not_found.
    """
    path = FILES.get(request.path_params["path"])
    if path is None:
        raise Problem("not_found", f"There is nothing at {request.url.path}.")
    return await _answer(request, path, "public, max-age=300, must-revalidate")


async def _answer(request: Request, path: Path, cache: str) -> Response:
    body, etag = _read(path)

    async def read() -> bytes:
        return body

    kind = mimetypes.guess_type(path.name)[0] or "application/octet-stream"
    return await respond(request, read, kind, etag=etag, headers=SAFE | {"Cache-Control": cache})


@functools.cache
def _read(path: Path) -> tuple[bytes, str]:
    """Bytes, read once, and their tag, which is the same on every frontend."""
    body = path.read_bytes()
    return body, tag(hashlib.sha256(body).hexdigest())
