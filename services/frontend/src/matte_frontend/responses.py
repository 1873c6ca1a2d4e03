"""Responses that carry jobs and results: content negotiation, conditional and range requests (RFC 9110)."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import io
import json
import re
import zipfile
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from matte_core.contracts.job import JobView, Result
from matte_core.errors import Problem
from starlette.requests import Request
from starlette.responses import Response

from matte_frontend.problems import problem_response
from matte_frontend.state import AppState

JSON = "application/json"
ZIP = "application/zip"
#: the bytes of any file, for clients that do not name its media type
BYTES = "application/octet-stream"
_QUALITY = re.compile(r"0(?:\.[0-9]{0,3})?|1(?:\.0{0,3})?")
_RANGE = re.compile(r"bytes=\s*([0-9]{0,18})-([0-9]{0,18})\s*", re.IGNORECASE)


# --- content negotiation ---


def best_offer(accept: str, offers: Sequence[str]) -> str | None:
    """The offer with the highest quality, the first of several; None where none is acceptable. ``accept`` is the lines
    of ``Accept`` or ``Accept-Encoding``, joined by commas; where it is '', everything is acceptable.
    """
    ranges: dict[str, float] = {}
    for part in accept.lower().split(","):
        # parts that cannot be read are left out; parameters other than q do not matter, as no offer has any
        name, *parameters = (text.strip() for text in part.split(";"))
        quality = next((text[2:].strip() for text in parameters if text.startswith("q=")), "1")
        if name and _QUALITY.fullmatch(quality):
            ranges[name] = max(float(quality), ranges.get(name, 0.0))
    if not ranges:
        return offers[0]

    def quality_of(offer: str) -> float:
        most_specific_first = (offer, f"{offer.partition('/')[0]}/*", "*/*", "*")
        return next((ranges[media_range] for media_range in most_specific_first if media_range in ranges), 0.0)

    best = max(offers, key=quality_of)  # the first one of equals
    return best if quality_of(best) > 0 else None


def negotiate(request: Request, offers: Sequence[str]) -> str:
    """The media type that ``Accept`` prefers, the first of equals. Raises Problem: not_acceptable."""
    best = best_offer(", ".join(request.headers.getlist("accept")), offers)
    if best is None:
        detail = f"Accept allows none of what there is: {', '.join(offers)}."
        raise Problem("not_acceptable", detail, available=list(offers))
    return best


# --- conditional and range requests ---


async def conditional_response(
    request: Request, read: Callable[[], Awaitable[bytes]], media_type: str, *, etag: str, headers: dict[str, str]
) -> Response:
    """The bytes that ``read`` returns, for a GET or HEAD; 304 where the client has what ``etag`` names (``read`` is not
    called), 206 where it asks for a part, 416 where there is no such part.
    """
    headers = {**headers, "ETag": etag, "Accept-Ranges": "bytes"}
    if etag_matches(", ".join(request.headers.getlist("if-none-match")), etag):
        return Response(status_code=304, headers=headers)
    body = await read()
    range_applies = request.method == "GET" and request.headers.get("if-range", etag) == etag
    part = parse_range(request.headers.get("range", ""), len(body)) if range_applies else None
    if part is None:
        return Response(body, 200, headers, media_type)
    if not part:
        problem = Problem("range_not_satisfiable", f"Range asks for none of the {len(body)} bytes that there are.")
        headers = {"Content-Range": f"bytes */{len(body)}", "Accept-Ranges": "bytes"}
        return problem_response(problem, instance=request.url.path, headers=headers)
    headers["Content-Range"] = f"bytes {part.start}-{part.stop - 1}/{len(body)}"
    return Response(body[part.start : part.stop], 206, headers, media_type)


def make_etag(*identity: object) -> str:
    """A strong ETag for bytes that these values, or their own digest, identify."""
    return f'"{hashlib.sha256(repr(identity).encode()).hexdigest()[:32]}"'


def etag_matches(if_none_match: str, etag: str) -> bool:
    """Whether a client has what ``etag`` names: by weak comparison, as a content coding makes it weak."""
    tags = [tag.strip().removeprefix("W/") for tag in if_none_match.split(",")]
    return "*" in tags or etag in tags


def parse_range(header: str, size: int) -> range | None:
    """The bytes that ``Range`` asks for; empty: there are none such. None: all of them, which is also the response to
    several ranges and to what cannot be read: RFC 9110 leaves it to the server.
    """
    match = _RANGE.fullmatch(header)
    if match is None or not (match[1] or match[2]):
        return None
    if not match[1]:
        return range(max(0, size - int(match[2])), size)
    first, last = int(match[1]), int(match[2] or size)
    return range(first, min(last + 1, size)) if first <= last or not match[2] else None


# --- jobs and results ---


def job_links(request: Request, job_id: str) -> dict[str, str]:
    base = f"{request.scope.get('root_path', '')}/v1/jobs/{job_id}"
    return {"self": base, "events": f"{base}/events", "result": f"{base}/result"}


def job_response(request: Request, view: JobView, *, status: int = 200, preference_applied: str = "") -> Response:
    """A job as JSON; with 202 its address is in ``Location``."""
    links = job_links(request, view.id)
    headers = {"Cache-Control": "no-store", "X-Job-Id": view.id}
    if status == 202:
        headers["Location"] = links["self"]
    if preference_applied:
        headers["Preference-Applied"] = preference_applied
    body = view.model_copy(update={"links": links}).model_dump_json()
    return Response(body, status, headers, JSON)


async def result_response(
    app: AppState,
    request: Request,
    job_id: str,
    result: Result,
    *,
    file: str | None = None,
    media_type: str | None = None,
    delivered: bool = False,
) -> Response:
    """The result's bytes, or JSON with them; two files are sent as a ZIP archive unless ``file`` names one.

    Without ``media_type`` it is negotiated here. ``delivered``: nobody else is expected to ask for the result, so it
    need not be kept for long. Raises Problem: result_expired, not_acceptable.
    """
    file_names = [file] if file else list(result.files)
    own_type = result.files[file_names[0]].content_type if len(file_names) == 1 else ZIP
    media_type = media_type or negotiate(request, (own_type, JSON, BYTES))
    media_type = media_type if media_type in (JSON, BYTES) else own_type
    delivered_at = app.clock() if delivered else None

    async def read() -> bytes:
        result_bytes = app.store.result_bytes
        data = {name: await result_bytes(result.files[name], delivered_at=delivered_at) for name in file_names}
        if media_type == JSON:
            return await asyncio.to_thread(_json_result, job_id, result, data)
        return data[file_names[0]] if len(file_names) == 1 else await asyncio.to_thread(_zip, result, data)

    # a client may keep a result, but asks whether the job is still there; compressing JSON that is a picture costs
    # more than it saves
    cache = "no-store" if request.method == "POST" else "private, no-cache"
    timings = result.timings.model_dump().items()
    headers = {
        "X-Job-Id": job_id, "X-Model": result.model, "X-Model-Version": result.version, "X-Model-Digest": result.digest,
        "X-Matte-Foreground": result.foreground,
        "Server-Timing": ", ".join(f"{stage};dur={seconds * 1000:.1f}" for stage, seconds in timings),
        "Vary": "Accept", "Cache-Control": f"{cache}, no-transform" if media_type == JSON else cache,
    }  # fmt: skip
    if result.uncertainty is not None:
        headers["X-Matte-Uncertainty"] = f"{result.uncertainty:.2f}"
    if request.method == "POST":
        return Response(await read(), 200, headers, media_type)
    # a file's key has the attempt that made it: what it names never changes
    etag = make_etag(job_id, media_type, *(result.files[name].key for name in file_names))
    return await conditional_response(request, read, media_type, etag=etag, headers=headers)


def file_extension(content_type: str) -> str:
    """``png`` for ``image/png``."""
    return content_type.rpartition("/")[2]


def _json_result(job_id: str, result: Result, data: dict[str, bytes]) -> bytes:
    document: dict[str, Any] = {
        "id": job_id, "model": result.model, "version": result.version, "digest": result.digest, "arm": result.version,
        "width": result.width, "height": result.height,
        "foreground": result.foreground, "uncertainty": result.uncertainty, "timings": result.timings.model_dump(),
    }  # fmt: skip
    document |= {f"{name}_b64": base64.b64encode(content).decode() for name, content in data.items()}
    return json.dumps(document).encode()


def _zip(result: Result, data: dict[str, bytes]) -> bytes:
    """Stored, not deflated: the pictures are compressed already. The same result gives the same bytes."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name, content in data.items():
            stem = "cutout" if name == "result" else name
            archive.writestr(zipfile.ZipInfo(f"{stem}.{file_extension(result.files[name].content_type)}"), content)
    return buffer.getvalue()
