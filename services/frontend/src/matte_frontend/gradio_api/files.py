"""Uploads and results as files: ``/gradio_api/upload`` and ``/gradio_api/file=…``, the same from every frontend.

Paths are ``uploads/<id>/<name>`` and ``jobs/<id>/<file>.<kind>``; nothing on a disk is ever read. Only the owner's
paths lead anywhere. Ids cannot be guessed: of the anonymous, who has a path may read the file.
"""

from __future__ import annotations

import base64
import re
from typing import Any
from urllib.parse import unquote, urlsplit

from matte_core.contracts.job import BlobRef
from matte_core.contracts.owner import Owner
from matte_core.errors import Problem
from matte_core.pictures.sniff import sniff
from matte_jobs.connect import translated
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from matte_frontend import problems, sse
from matte_frontend.body import read_form
from matte_frontend.caller import owner_of
from matte_frontend.conditional import respond, tag
from matte_frontend.form_body import Part
from matte_frontend.frontend import Frontend, frontend_of

MAX_FILES = 10
_UPLOAD = re.compile(r"uploads/([0-9a-f]{32})/[^/]{1,100}")
_JOB = re.compile(r"jobs/([A-Za-z0-9_-]{1,64})/(result|mask|preview)\.(?:png|webp)")
_ODD = re.compile(r"[^\w.-]+", re.ASCII)
_MARK = "/gradio_api/file="
#: what came from a stranger must not act as this site
_INERT = {
    "Content-Security-Policy": "sandbox; default-src 'none'",
    "Cache-Control": "private, max-age=600",
}


async def upload(request: Request) -> Response:
    """``POST /gradio_api/upload``: the files' paths, in their order."""
    frontend = frontend_of(request)
    owner = owner_of(request)
    parts = await read_form(request, frontend.limits.max_bytes)
    files = [part for part in parts if part.name == "files" and part.filename is not None]
    if not files:
        raise Problem("picture_missing", "The form has no files in the field files.")
    if len(files) > MAX_FILES:
        raise Problem("malformed_request", f"The form has more than {MAX_FILES} files.")
    return JSONResponse([await _keep(frontend, owner, file) for file in files])


async def _keep(frontend: Frontend, owner: Owner, file: Part) -> str:
    data, upload_id, ttl = file.take(), frontend.new_id(), frontend.settings.upload_ttl_seconds
    ref = frontend.store.blobs.ref(f"upload-{upload_id}", "data", len(data), _kind(data))
    with translated():
        await frontend.store.blobs.put(ref, data, frontend.clock(), ttl_seconds=ttl)
        await frontend.store.redis.set(_key(frontend, owner, upload_id), ref.model_dump_json(), ex=ttl)
    return f"uploads/{upload_id}/{_name(file.filename or '')}"


def _name(name: str) -> str:
    return _ODD.sub("_", name.rpartition("/")[2])[-100:].lstrip(".") or "file"


def _kind(data: bytes) -> str:
    """The content type by the bytes, never by what the client says."""
    try:
        return f"image/{sniff(data).lower()}"
    except Problem:
        return "application/octet-stream"


def _key(frontend: Frontend, owner: Owner, upload_id: str) -> str:
    return f"{frontend.store.prefix}upload:{owner.scoped(upload_id)}"


async def progress(request: Request) -> Response:
    """``GET /gradio_api/upload_progress``: uploads are taken whole, so there is nothing to tell but the end."""

    async def done() -> Any:
        yield sse.block({"msg": "done"})

    if "upload_id" not in request.query_params:
        raise Problem("invalid_parameter", "upload_id is missing.")
    return sse.stream(done())


async def file(request: Request) -> Response:
    """``GET /gradio_api/file=…``."""
    path = request.path_params["path"]
    data, kind = await read_path(frontend_of(request), owner_of(request), path)

    async def read() -> bytes:
        return data

    # a preview is replaced by the next; what the other paths name never changes
    found = _JOB.fullmatch(path)
    etag = tag(data if found and found[2] == "preview" else path)
    return await respond(request, read, kind, etag=etag, headers=_INERT)


async def read_path(frontend: Frontend, owner: Owner, path: str) -> tuple[bytes, str]:
    """The bytes and content type of one of the owner's files.

    Raises:
        Problem: not_found, result_expired, job_not_found, or why the job has no result.
    """
    if found := _UPLOAD.fullmatch(path):
        return await _upload_bytes(frontend, owner, found[1])
    found = _JOB.fullmatch(path)
    if not found:
        raise Problem("not_found", "There is no such file.")
    view = await frontend.view(found[1], owner)
    if found[2] == "preview":
        return await _preview(frontend, view.id)
    problem = problems.of_view(view)
    if problem is not None:
        raise problem
    assert view.result is not None
    ref = view.result.files.get(found[2])
    if ref is None:
        raise Problem("not_found", "The job has no such file.")
    return await frontend.store.result_bytes(ref), ref.content_type


async def _upload_bytes(frontend: Frontend, owner: Owner, upload_id: str) -> tuple[bytes, str]:
    with translated():
        text = await frontend.store.redis.get(_key(frontend, owner, upload_id))
        ref = BlobRef.model_validate_json(text) if text else None
        data = await frontend.store.blobs.get(ref) if ref else None
    if ref is None or data is None:
        raise Problem("not_found", "There is no such upload; uploads are kept for a while only. Upload it again.")
    return data, ref.content_type


async def _preview(frontend: Frontend, job_id: str) -> tuple[bytes, str]:
    events = [event for event in await frontend.store.events(job_id) if event.type == "preview"]
    if not events:
        raise Problem("not_found", "The job has no preview.")
    data = events[-1].data
    return base64.b64decode(data["b64"]), str(data["content_type"])


def own_path(image: object, *, host: str) -> str:
    """The path of a ``FileData`` that was uploaded here, or is a result of ours.

    Args:
        image: what a client sent as a file: an object with ``path``, or ``url``.
        host: ours, as the client calls it.

    Raises:
        Problem: invalid_parameter. An address elsewhere is never fetched.
    """
    path = image.get("path") or image.get("url") if isinstance(image, dict) else image
    if not isinstance(path, str) or not path:
        raise _no_file("it is not a file")
    if "://" in path:
        try:
            parts = urlsplit(path)
        except ValueError:
            raise _no_file("its address cannot be read") from None
        if parts.netloc != host or _MARK not in parts.path:
            raise _no_file("files are not fetched from other addresses; upload the picture")
        path = unquote(parts.path.partition(_MARK)[2])
    if not (_UPLOAD.fullmatch(path) or _JOB.fullmatch(path)):
        raise _no_file("it was not uploaded here")
    return path


def _no_file(message: str) -> Problem:
    errors = [{"parameter": "image", "message": message}]
    return Problem("invalid_parameter", f"image: {message}.", errors=errors)
