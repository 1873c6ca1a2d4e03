"""The page and its files."""

from __future__ import annotations

from pathlib import Path

from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

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


async def index(_request: Request) -> Response:
    """The page; asked for again each time, answered with 304 while it is the same."""
    return FileResponse(FOLDER / "index.html", headers=SAFE | {"Cache-Control": "no-cache"})


class Static(StaticFiles):
    """Files of the page. Their names carry no digest, so browsers ask whether they changed."""

    async def get_response(self, path: str, scope: Scope) -> Response:
        """A file, or 404."""
        response = await super().get_response(path, scope)
        response.headers.update({**SAFE, "Cache-Control": "public, max-age=300, must-revalidate"})
        return response
