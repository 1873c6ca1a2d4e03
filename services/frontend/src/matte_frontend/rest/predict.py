"""``POST …/predict`` and ``POST /v1/jobs``: a picture becomes a job, whose result is waited for or fetched later."""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass, replace

from matte_core.contracts.job import Event, JobSpec, Result
from matte_core.domain.eta import retry_after
from matte_core.errors import Problem
from starlette.convertors import IntegerConvertor
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from matte_frontend.admission import ValidatedRequest, build_job, idempotency_key, validate_request
from matte_frontend.problems import event_problem
from matte_frontend.responses import BYTES, JSON, ZIP, job_links, job_response, negotiate, result_response
from matte_frontend.state import AppState, app_state

_WAIT = re.compile(r"wait=(\d{1,5})")


class MajorConvertor(IntegerConvertor):
    """A major version in an address: Starlette's own integers have no limit, and Python refuses to parse long ones."""

    regex = "[0-9]{1,9}"


@dataclass(frozen=True, slots=True)
class Prefer:
    """RFC 7240: ``respond-async``, ``wait=N``, and our own ``preview``. ``applied`` says what was honored."""

    respond_async: bool
    wait: float | None
    preview: bool
    applied: str

    @classmethod
    def from_request(cls, request: Request) -> Prefer:
        preferences = [part.strip() for line in request.headers.getlist("prefer") for part in line.lower().split(",")]
        waits = [match for part in preferences if (match := _WAIT.fullmatch(part))]
        respond_async = "respond-async" in preferences
        applied = ["respond-async"] * respond_async + [match[0] for match in waits[:1]]
        return cls(respond_async, float(waits[0][1]) if waits else None, "preview" in preferences, ", ".join(applied))


async def create_job(request: Request) -> Response:
    """``POST /v1/jobs``: 202 with the job."""
    app = app_state(request)
    validated = await validate_request(app, request)
    return await _queue(app, request, validated, preview=Prefer.from_request(request).preview)


async def predict(request: Request) -> Response:
    """``/predict``: the default model by its current split; ``?version=`` pins, ``?model=`` names another model.
    ``/v{major}/predict`` pins a major version of the default model, ``/models/{model}/predict`` names a model.
    """
    app, prefer, path = app_state(request), Prefer.from_request(request), request.path_params
    major = str(path["major"]) if "major" in path else None
    validated = await validate_request(app, request, model=path.get("model"), major=major)
    if prefer.respond_async and prefer.wait is None:
        return await _queue(app, request, validated, preview=prefer.preview, preference_applied=prefer.applied)
    # before there is a job: nobody works for a result that is not acceptable
    options = validated.options
    if options.effective_output == "both":
        media_type = negotiate(request, (ZIP, JSON, BYTES))
    else:
        own_types = ("image/png", "image/webp") if options.format == "auto" else (f"image/{options.format}",)
        media_type = negotiate(request, (*own_types, JSON, BYTES))
        if media_type == "image/webp" and options.format == "auto":
            validated = replace(validated, options=options.model_copy(update={"format": "webp"}))
    key = idempotency_key(request)
    spec, data = build_job(app, request, validated, origin=app.event_broker.origin, idempotency_key=key)
    del validated  # only ``data`` has the pictures' bytes now, and is emptied once they are stored
    max_wait = app.limits.max_wait_seconds
    within = max_wait if prefer.wait is None else min(prefer.wait, max_wait)
    cancel = prefer.wait is None and key is None  # other requests may wait for a job with an idempotency key
    job_id, finished = await _admit_and_wait(app, request, spec, data, within, cancel_on_disconnect=cancel)
    if finished is None:
        view = await app.view(job_id, spec.owner)
        if prefer.wait is not None:
            return job_response(request, view, status=202, preference_applied=prefer.applied)
        raise Problem(
            "wait_exceeded", f"The job is still {view.state} after {within:g} s; it goes on, ask for its result later.",
            retry_after=retry_after(view.eta_seconds), job=job_id, links=job_links(request, job_id),
        )  # fmt: skip
    if (problem := event_problem(job_id, finished)) is not None:
        raise problem
    result = Result.model_validate(finished.data["result"])
    return await result_response(app, request, job_id, result, media_type=media_type, delivered=key is None)


async def _queue(
    app: AppState, request: Request, validated: ValidatedRequest, *, preview: bool, preference_applied: str = ""
) -> Response:
    """Queues a job that nobody waits for here; 202 with it, or with the job that has the same idempotency key."""
    spec, data = build_job(app, request, validated, preview=preview, idempotency_key=idempotency_key(request))
    view = await app.view((await app.admit(spec, data)).id, validated.owner)
    return job_response(request, view, status=202, preference_applied=preference_applied)


async def _admit_and_wait(
    app: AppState, request: Request, spec: JobSpec, data: dict[str, bytes], within: float, *, cancel_on_disconnect: bool
) -> tuple[str, Event | None]:
    """Queues a job, empties ``data``, and waits for its end: its id, and its ``finished`` event, or None after
    ``within`` seconds. Raises ClientDisconnect where the client went away and the job was canceled.
    """
    # subscribed before the job exists: its end cannot be missed
    async with app.event_broker.subscribe(spec.id, own_job=True) as subscription:
        admitted = await app.admit(spec, data)
        data.clear()
        if not admitted.existing:
            if not cancel_on_disconnect:
                return spec.id, await subscription.wait_finished(within)

            async def close_on_disconnect() -> None:
                while (await request.receive())["type"] != "http.disconnect":  # the body was read already
                    pass
                subscription.close()

            disconnect = asyncio.create_task(close_on_disconnect(), name=f"disconnect of {spec.id}")
            try:
                finished = await subscription.wait_finished(within)
            finally:
                disconnect.cancel()
            if finished is None and subscription.closed:
                await app.store.cancel(spec.id, app.clock(), owner=spec.owner)
                raise ClientDisconnect
            return spec.id, finished
    async with app.event_broker.subscribe(admitted.id) as subscription:
        return admitted.id, await subscription.wait_finished(within)
