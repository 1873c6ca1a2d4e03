"""Answers that carry results, and jobs as their owners see them."""

from __future__ import annotations

import asyncio
import base64
import functools
import io
import json
import zipfile
from collections.abc import Sequence
from typing import Any

from matte_core.contracts.job import JobView, Result
from matte_core.errors import Problem
from starlette.requests import Request
from starlette.responses import Response

from matte_frontend.accept import best
from matte_frontend.conditional import respond, tag
from matte_frontend.frontend import Frontend

JSON = "application/json"
ZIP = "application/zip"
#: the caller may keep it, and asks whether the job is still there
KEPT = "private, no-cache"
#: the bytes of any file, for clients that know no better name of its kind
BYTES = "application/octet-stream"


def wanted(request: Request, offers: Sequence[str]) -> str:
    """The one of several media types that ``Accept`` prefers; the first of those that it likes equally.

    Raises:
        Problem: not_acceptable, with what there is.
    """
    accept = ", ".join(request.headers.getlist("accept"))
    found = best(accept, offers)
    if found is None:
        detail = f"Accept allows none of what there is: {', '.join(offers)}."
        raise Problem("not_acceptable", detail, available=list(offers))
    return found


def links(request: Request, job_id: str) -> dict[str, str]:
    """Addresses of a job's resources, as paths."""
    base = f"{request.scope.get('root_path', '')}/v1/jobs/{job_id}"
    return {"self": base, "events": f"{base}/events", "result": f"{base}/result"}


def job_answer(request: Request, view: JobView, *, status: int = 200, applied: str = "") -> Response:
    """A job as JSON; with 202 its address is in ``Location``."""
    found = links(request, view.id)
    headers = {"Cache-Control": "no-store", "X-Job-Id": view.id}
    if status == 202:
        headers["Location"] = found["self"]
    if applied:
        headers["Preference-Applied"] = applied
    body = view.model_copy(update={"links": found}).model_dump_json()
    return Response(body, status, headers, JSON)


async def result_answer(
    frontend: Frontend,
    request: Request,
    job_id: str,
    result: Result,
    *,
    file: str | None = None,
    kind: str | None = None,
    delivered: bool = False,
) -> Response:
    """The result's bytes, or JSON with them; two files travel as a ZIP archive unless one is named.

    Args:
        frontend: whose store has the bytes.
        request: what is answered.
        job_id: whose result it is.
        result: where its files are.
        file: the one that is asked for; None: all.
        kind: what ``Accept`` was found to prefer: ``JSON``, ``BYTES``, else the file's own. None: as it prefers.
        delivered: nobody else is expected to ask for it.

    Raises:
        Problem: result_expired, not_acceptable.
    """
    headers = result_headers(job_id, result)
    names = [file] if file else list(result.files)
    own = result.files[names[0]].content_type if len(names) == 1 else ZIP
    kind = kind or wanted(request, (own, JSON, BYTES))
    kind = kind if kind in (JSON, BYTES) else own
    at = frontend.clock() if delivered else None
    # to compress JSON that is a picture costs more than it saves
    headers["Cache-Control"] = ("no-store" if request.method == "POST" else KEPT) + ", no-transform" * (kind == JSON)
    read = functools.partial(_read, frontend, job_id, result, names, delivered_at=at, as_json=kind == JSON)
    if request.method == "POST":
        return Response(await read(), 200, headers, kind)
    # a file's key has the attempt that made it: what it names never changes
    etag = tag(job_id, kind, *(result.files[name].key for name in names))
    return await respond(request, read, kind, etag=etag, headers=headers)


async def _read(
    frontend: Frontend, job_id: str, result: Result, names: list[str], *, delivered_at: float | None, as_json: bool
) -> bytes:
    get = frontend.store.result_bytes
    data = {name: await get(result.files[name], delivered_at=delivered_at) for name in names}
    if as_json:
        return await asyncio.to_thread(_json_body, job_id, result, data)
    return data[names[0]] if len(names) == 1 else await asyncio.to_thread(_zip, result, data)


def result_headers(job_id: str, result: Result) -> dict[str, str]:
    """Who made the result, and how long each stage took."""
    stages = result.timings.model_dump()
    return {
        "X-Job-Id": job_id,
        "X-Model": result.model,
        "X-Model-Version": result.version,
        "X-Model-Digest": result.digest,
        "X-Subject-Found": str(result.subject_found).lower(),
        "Server-Timing": ", ".join(f"{name};dur={seconds * 1000:.1f}" for name, seconds in stages.items()),
        "Vary": "Accept",
    }


def extension(content_type: str) -> str:
    """``png`` for ``image/png``."""
    return content_type.rpartition("/")[2]


def _json_body(job_id: str, result: Result, data: dict[str, bytes]) -> bytes:
    document: dict[str, Any] = {
        "id": job_id, "model": result.model, "version": result.version, "digest": result.digest, "arm": result.version,
        "width": result.width, "height": result.height,
        "subject_found": result.subject_found, "timings": result.timings.model_dump(),
    }  # fmt: skip
    document |= {f"{name}_b64": base64.b64encode(content).decode() for name, content in data.items()}
    return json.dumps(document).encode()


def _zip(result: Result, data: dict[str, bytes]) -> bytes:
    """Stored, not deflated: the pictures are compressed already. The same result gives the same bytes."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name, content in data.items():
            stem = "cutout" if name == "result" else name
            archive.writestr(zipfile.ZipInfo(f"{stem}.{extension(result.files[name].content_type)}"), content)
    return buffer.getvalue()
