"""The page, the API documentation, and their static files."""

from __future__ import annotations

import functools
import hashlib
import mimetypes
from collections.abc import Awaitable, Callable
from importlib import resources
from pathlib import Path

from matte_core.errors import Problem
from starlette.requests import Request
from starlette.responses import Response

from matte_frontend.responses import conditional_response, make_etag

FOLDER = Path(__file__).parent / "static"
#: everything comes from here; blob: and data: are pictures that the page itself made
CSP = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; connect-src 'self' blob:; "
    "font-src 'self'; manifest-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
SECURITY_HEADERS = {
    "Content-Security-Policy": CSP,
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
}
_SWAGGER = Path(str(resources.files("fastapi_swagger"))) / "resources"
#: by name; there are no folders, and no other file of the disk is ever read
FILES = {path.name: path for path in FOLDER.iterdir() if path.is_file()} | {
    name: _SWAGGER / name for name in ("swagger-ui.css", "swagger-ui-bundle.js")
}


def page(name: str, cache_control: str) -> Callable[[Request], Awaitable[Response]]:
    """A handler that serves one of ``FILES``."""

    async def serve(request: Request) -> Response:
        return await _file_response(request, FILES[name], cache_control)

    return serve


async def file(request: Request) -> Response:
    """``GET /static/{path}``. Names carry no digest, so browsers ask whether the files changed."""
    path = FILES.get(request.path_params["path"])
    if path is None:
        raise Problem("not_found", f"There is nothing at {request.url.path}.")
    return await _file_response(request, path, "public, max-age=300, must-revalidate")


async def _file_response(request: Request, path: Path, cache_control: str) -> Response:
    body, etag = _read(path)

    async def read() -> bytes:
        return body

    media_type = mimetypes.guess_type(path.name)[0] or "application/octet-stream"
    headers = SECURITY_HEADERS | {"Cache-Control": cache_control}
    return await conditional_response(request, read, media_type, etag=etag, headers=headers)


@functools.cache
def _read(path: Path) -> tuple[bytes, str]:
    """A file's bytes and its ETag, which is the same on every frontend."""
    body = path.read_bytes()
    return body, make_etag(hashlib.sha256(body).hexdigest())
