"""The description of the REST interface, written by hand beside the contracts' own JSON schemas.

A test holds it against the routes, so that neither has what the other lacks; clients generated from it are
tried against a frontend.
"""

from __future__ import annotations

import functools
import json
from importlib.metadata import version

from matte_core.contracts.limits import Limits
from starlette.requests import Request
from starlette.responses import Response

from matte_frontend.openapi_examples import ABOUT, CATALOG, JOB, ROLLOUT, STREAM
from matte_frontend.openapi_parts import (
    ACCEPTED,
    CONDITIONAL,
    FOUND,
    OPTIONS,
    RESULT,
    TRACED,
    Spec,
    body,
    components,
    headers,
    json_of,
    named,
    problems,
)

_REFUSED = (
    "malformed_request", "unknown_parameter", "invalid_parameter", "picture_missing", "idempotency_key_reused",
    "payload_too_large", "not_a_picture", "unsupported_format", "picture_empty", "picture_truncated",
    "picture_corrupt", "picture_animated", "too_many_pixels", "model_not_found", "version_not_found", "queue_full",
    "model_not_ready", "storage_unavailable", "storage_full", "internal_error",
)  # fmt: skip
_ENDED = ("job_canceled", "job_expired", "out_of_memory", "attempts_exhausted")
_SUBMITTED = ("Prefer", "Idempotency-Key", "X-Route-Key")
_STORE = ("model_not_ready", "storage_unavailable")


async def read(_request: Request) -> Response:
    """``GET /openapi.json``."""
    return Response(_text(), media_type="application/json")


@functools.cache
def _text() -> str:
    return json.dumps(document())


def document() -> Spec:
    """The OpenAPI 3.1 document."""
    paths = _predict_paths() | _job_paths() | _other_paths()
    for item in paths.values():
        for operation in item.values():
            operation["parameters"] += named(*TRACED)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Matte",
            "version": version("matte-frontend"),
            "description": "Background removal, matting and masks. Every error is an RFC 9457 problem document.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "paths": paths,
        "components": components(),
    }


def _predict(summary: str, operation: str, prefix: str, *parameters: str) -> Spec:
    return {
        "post": {
            "operationId": operation, "summary": summary, "tags": ["predict"],
            "parameters": named(*parameters, *OPTIONS, *_SUBMITTED), "requestBody": body(prefix),
            "responses": {"200": RESULT, "202": ACCEPTED}
            | problems((*_REFUSED, *_ENDED, "not_acceptable", "wait_exceeded")),
        }
    }  # fmt: skip


def _predict_paths() -> Spec:
    return {
        "/predict": _predict(
            "Cut out with the default model, by its current split", "predict", "", "model_query", "version"
        ),
        "/v{major}/predict": _predict(
            "Cut out with the default model, pinned to a major version", "predictMajor", "Major", "major"
        ),
        "/models/{model}/predict": _predict(
            "Cut out with a model, by its current split or a pinned version", "predictModel", "Model", "model",
            "version",
        ),
    }  # fmt: skip


def _operation(summary: str, operation: str, content: Spec, *codes: str, parameters: tuple[str, ...] = ()) -> Spec:
    return {
        "operationId": operation, "summary": summary, "parameters": named(*parameters),
        "responses": {"200": {"description": "OK", "headers": headers(), "content": content}}
        | problems((*codes, "internal_error")),
    }  # fmt: skip


def _job_paths() -> Spec:
    gone = ("job_not_found", "storage_unavailable")
    job = json_of("JobView", JOB)
    result = _operation("The result", "jobResult", {}, "unknown_parameter", "invalid_parameter", "not_acceptable",
                        "job_not_finished", "result_expired", "range_not_satisfiable", *_ENDED, *gone,
                        parameters=("id", "file", *CONDITIONAL))  # fmt: skip
    result["responses"] |= FOUND
    stream = {"text/event-stream": {"schema": {"type": "string"}, "example": STREAM}}
    events = _operation("What happens to the job, as it happens", "jobEvents", stream, *gone,
                        parameters=("id", "Last-Event-ID"))  # fmt: skip
    events["responses"]["204"] = {"description": "Everything was sent before", "headers": headers()}
    found = {
        "/v1/jobs": {
            "post": {
                "operationId": "createJob", "summary": "Queue a picture",
                "parameters": named("model_query", "version", *OPTIONS, *_SUBMITTED),
                "requestBody": body(""), "responses": {"202": ACCEPTED} | problems(_REFUSED),
            }
        },
        "/v1/jobs/{id}": {
            "get": _operation("The job as it is", "readJob", job, *gone, parameters=("id",)),
            "delete": _operation("Cancel the job; one that has ended is removed with its pictures", "deleteJob", job,
                                 *gone, parameters=("id",)),
        },
        "/v1/jobs/{id}/events": {"get": events},
        "/v1/jobs/{id}/result": {"get": result},
    }  # fmt: skip
    for item in found.values():
        for operation in item.values():
            operation["tags"] = ["jobs"]
    return found


def _rollout_paths() -> Spec:
    codes = ("not_found", "model_not_found", "version_not_found", *_STORE)
    which = ("model", "exact_version")
    html = {"text/html": {"schema": {"type": "string"}}}
    numbers = _operation("What a rollout has shown (MATTE_ROLLOUT_REPORTS)", "rollout",
                         json_of("RolloutReport", ROLLOUT), *codes, parameters=which)  # fmt: skip
    page = _operation("The same as a page with pictures", "rolloutReport", html, *codes, parameters=which)
    return {
        "/v1/rollouts/{model}/{version}": {"get": numbers},
        "/v1/rollouts/{model}/{version}/report": {"get": page},
    }


def _other_paths() -> Spec:
    status = {"application/json": {"schema": {"type": "object"}, "example": {"status": "ok"}}}
    anything = {"application/json": {"schema": {"type": "object"}}}
    about = {"application/json": {"schema": {"type": "object"}, "example": ABOUT}}
    catalog, model = json_of("Catalog", CATALOG), json_of("ModelView", CATALOG["models"][0])
    limits = json_of("Limits", Limits().model_dump(mode="json"))
    return {
        "/models": {"get": _operation("Models, versions, weights", "listModels", catalog, *_STORE)},
        "/models/{model}": {
            "get": _operation("One model", "readModel", model, "model_not_found", *_STORE, parameters=("model",))
        },
        **_rollout_paths(),
        "/v1/limits": {"get": _operation("What is accepted", "limits", limits)},
        "/version": {"get": _operation("What runs here", "version", about)},
        "/healthz": {"get": _operation("The process is alive", "healthz", status)},
        "/readyz": {"get": _operation("It can serve", "readyz", status, *_STORE, "shutting_down")},
        "/openapi.json": {"get": _operation("This document", "openapi", anything)},
    }  # fmt: skip
