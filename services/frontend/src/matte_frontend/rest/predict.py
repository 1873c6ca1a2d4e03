"""``POST …/predict``: a picture in, a picture out."""

from __future__ import annotations

from dataclasses import replace

from matte_core.contracts.job import Result
from matte_core.domain.eta import retry_after
from matte_core.errors import Problem
from starlette.convertors import IntegerConvertor
from starlette.requests import Request
from starlette.responses import Response

from matte_frontend import problems
from matte_frontend.admission import Asked, sound
from matte_frontend.answers import BYTES, JSON, ZIP, job_answer, links, result_answer, wanted
from matte_frontend.body import read_inputs
from matte_frontend.caller import Caller, owner_of
from matte_frontend.frontend import Frontend, frontend_of
from matte_frontend.rest.submit import Prefer, admit, admit_and_wait


class Major(IntegerConvertor):
    """A major version in an address: Starlette's own number has no bound, and Python refuses to read a long one."""

    regex = "[0-9]{1,9}"


async def predict_default(request: Request) -> Response:
    """``/predict``: the default model by its current split; ``?version=`` pins, ``?model=`` names another model."""
    return await _predict(request, model=None, major=None)


async def predict_major(request: Request) -> Response:
    """``/v{major}/predict``: the default model, pinned to that major version."""
    return await _predict(request, model=None, major=str(request.path_params["major"]))


async def predict_model(request: Request) -> Response:
    """``/models/{model}/predict``: by the current split; ``?version=`` pins."""
    return await _predict(request, model=request.path_params["model"], major=None)


async def _predict(request: Request, *, model: str | None, major: str | None) -> Response:
    frontend, prefer = frontend_of(request), Prefer.of(request)
    with frontend.telemetry.refusing():
        caller = Caller.of(request)
        inputs = await read_inputs(request, frontend.limits.max_bytes)
    asked = await sound(frontend, inputs, caller, model=model, major=major)
    if prefer.asynchronous and prefer.wait is None:
        view = await frontend.view(await admit(frontend, request, asked), caller.owner)
        return job_answer(request, view, status=202, applied=prefer.applied)
    asked, kind = _negotiated(request, asked)
    longest = frontend.limits.max_wait_seconds
    within = longest if prefer.wait is None else min(prefer.wait, longest)
    alone = prefer.wait is None and "idempotency-key" not in request.headers
    job_id, event, _ = await admit_and_wait(frontend, request, asked, within, alone=alone)
    if event is None:
        return await _too_slow(frontend, request, job_id, prefer, within)
    problem = problems.of_event(job_id, event)
    if problem is not None:
        raise problem
    result = Result.model_validate(event.data["result"])
    delivered = "idempotency-key" not in request.headers
    return await result_answer(frontend, request, job_id, result, kind=kind, delivered=delivered)


def _negotiated(request: Request, asked: Asked) -> tuple[Asked, str]:
    """The request with the picture's format as ``Accept`` prefers it, where the parameters leave it open; and the
    media type to answer. Known before there is a job: nobody works for an answer that is not acceptable.
    """
    options = asked.options
    if options.effective_output == "both":
        return asked, wanted(request, (ZIP, JSON, BYTES))
    kinds = ("image/png", "image/webp") if options.format == "auto" else (f"image/{options.format}",)
    kind = wanted(request, (*kinds, JSON, BYTES))
    if kind == "image/webp" and options.format == "auto":
        asked = replace(asked, options=options.model_copy(update={"format": "webp"}))
    return asked, kind


async def _too_slow(frontend: Frontend, request: Request, job_id: str, prefer: Prefer, waited: float) -> Response:
    view = await frontend.view(job_id, owner_of(request))
    if prefer.wait is not None:
        return job_answer(request, view, status=202, applied=prefer.applied)
    raise Problem(
        "wait_exceeded", f"The job is still {view.state} after {waited:g} s; it goes on, ask for its result later.",
        retry_after=retry_after(view.eta_seconds), job=job_id, links=links(request, job_id),
    )  # fmt: skip
