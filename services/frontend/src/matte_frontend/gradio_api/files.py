"""Uploads and results as files: ``/gradio_api/upload`` and ``/gradio_api/file=…``, the same from every frontend.

Paths are ``uploads/<id>/<name>`` and ``jobs/<id>/<file>.<extension>``; no file on a disk is ever read. A path exists
for its owner only. Ids cannot be guessed: of anonymous files, whoever knows the path may read it.
"""

from __future__ import annotations

import base64
import functools
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from urllib.parse import unquote, urlsplit

from matte_core.contracts.job import BlobRef, Owner
from matte_core.errors import Problem
from matte_core.pictures.probe import sniff
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from matte_frontend.body import read_form
from matte_frontend.problems import invalid_parameter, view_problem
from matte_frontend.responses import BYTES, conditional_response, make_etag
from matte_frontend.sse import EventStreamResponse, format_event
from matte_frontend.state import AppState, app_state, owner_of

MAX_FILES = 10
_UPLOAD = re.compile(r"uploads/([0-9a-f]{32})/[^/]{1,100}")
_JOB_FILE = re.compile(r"jobs/([A-Za-z0-9_-]{1,64})/(result|mask|preview)\.(?:png|webp)")
_UNSAFE_CHARACTERS = re.compile(r"[^\w.-]+", re.ASCII)
_URL_MARK = "/gradio_api/file="
_HEADERS = {
    # what a stranger uploaded must not act as this site
    "Content-Security-Policy": "sandbox; default-src 'none'",
    "Cache-Control": "private, max-age=600",
}


async def upload(request: Request) -> Response:
    """``POST /gradio_api/upload``: the files' paths, in their order."""
    app, owner = app_state(request), owner_of(request)
    parts = await read_form(request, app.limits.max_bytes)
    files = [part for part in parts if part.name == "files" and part.filename is not None]
    if not files:
        raise Problem("picture_missing", "The form has no files in the field files.")
    if len(files) > MAX_FILES:
        raise Problem("malformed_request", f"The form has more than {MAX_FILES} files.")
    paths, ttl = [], app.settings.upload_ttl_seconds
    for file in files:
        data, upload_id = file.take(), app.new_id()
        try:  # the content type by the bytes, never by what the client says
            content_type = f"image/{sniff(data).lower()}"
        except Problem:
            content_type = BYTES
        ref = app.store.blobs.ref(f"upload-{upload_id}", "data", len(data), content_type)
        await app.store.blobs.put(ref, data, app.clock(), ttl_seconds=ttl)
        await app.store.redis.set(app.store.keys.upload(owner.scoped(upload_id)), ref.model_dump_json(), ex=ttl)
        name = _UNSAFE_CHARACTERS.sub("_", (file.filename or "").rpartition("/")[2])[-100:].lstrip(".") or "file"
        paths.append(f"uploads/{upload_id}/{name}")
    return JSONResponse(paths)


async def upload_progress(request: Request) -> Response:
    """``GET /gradio_api/upload_progress``: an upload has no steps, so the stream says only that it is done."""
    if "upload_id" not in request.query_params:
        raise Problem("invalid_parameter", "upload_id is missing.")

    async def done() -> AsyncIterator[str]:
        yield format_event({"msg": "done"})

    return EventStreamResponse(done())


async def file(request: Request) -> Response:
    """``GET /gradio_api/file=…``."""
    stored = await find_file(app_state(request), owner_of(request), request.path_params["path"])
    return await conditional_response(request, stored.read, stored.content_type, etag=stored.etag, headers=_HEADERS)


@dataclass(frozen=True, slots=True)
class StoredFile:
    content_type: str
    etag: str
    read: Callable[[], Awaitable[bytes]]


async def find_file(app: AppState, owner: Owner, path: str) -> StoredFile:
    """One of the owner's files, not read yet. Raises Problem: not_found, or why the job has no result."""
    # what these paths name never changes, except a preview, which is replaced by the next
    etag = make_etag(path)
    if match := _UPLOAD.fullmatch(path):
        gone = Problem("not_found", "There is no such upload; uploads are kept for a while only. Upload it again.")
        text = await app.store.redis.get(app.store.keys.upload(owner.scoped(match[1])))
        if not text:
            raise gone
        ref = BlobRef.model_validate_json(text)

        async def read_upload() -> bytes:
            data = await app.store.blobs.get(ref)
            if data is None:
                raise gone
            return data

        return StoredFile(ref.content_type, etag, read_upload)

    match = _JOB_FILE.fullmatch(path)
    if not match:
        raise Problem("not_found", "There is no such file.")
    view = await app.view(match[1], owner)
    if match[2] == "preview":
        previews = [event for event in await app.store.events(view.id) if event.type == "preview"]
        if not previews:
            raise Problem("not_found", "The job has no preview.")
        preview = base64.b64decode(previews[-1].data["b64"])

        async def read_preview() -> bytes:
            return preview

        return StoredFile(str(previews[-1].data["content_type"]), make_etag(preview), read_preview)
    if (problem := view_problem(view)) is not None:
        raise problem
    assert view.result is not None
    result_ref = view.result.files.get(match[2])
    if result_ref is None:
        raise Problem("not_found", "The job has no such file.")
    return StoredFile(result_ref.content_type, etag, functools.partial(app.store.result_bytes, result_ref))


def local_path(image: object, *, host: str) -> str:
    """The path of a ``FileData`` that was uploaded here, or is a result of ours; ``host`` is this server as the client
    calls it. Raises Problem: invalid_parameter; other addresses are never fetched.
    """
    path = image.get("path") or image.get("url") if isinstance(image, dict) else image
    if not isinstance(path, str) or not path:
        raise invalid_parameter("image", "it is not a file")
    if "://" in path:
        try:
            parts = urlsplit(path)
        except ValueError:
            raise invalid_parameter("image", "its address cannot be read") from None
        if parts.netloc != host or _URL_MARK not in parts.path:
            raise invalid_parameter("image", "files are not fetched from other addresses; upload the picture")
        path = unquote(parts.path.partition(_URL_MARK)[2])
    if not (_UPLOAD.fullmatch(path) or _JOB_FILE.fullmatch(path)):
        raise invalid_parameter("image", "it was not uploaded here")
    return path
