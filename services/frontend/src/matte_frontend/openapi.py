"""The OpenAPI document of the REST interface, written by hand beside the contracts' own JSON schemas.

A test compares it with the routes, so that neither has what the other lacks; clients generated from it are tested
against a frontend.
"""

from __future__ import annotations

import functools
import json
from importlib.metadata import version

from matte_core.contracts.limits import Limits
from starlette.requests import Request
from starlette.responses import Response

from matte_frontend.openapi_components import (
    OPTION_NAMES,
    Spec,
    components,
    header_refs,
    json_content,
    parameter_refs,
    problem_responses,
    request_body,
    response_ref,
)
from matte_frontend.openapi_examples import ABOUT, CATALOG, JOB, ROLLOUT, STREAM

_REJECTIONS = (
    "malformed_request", "unknown_parameter", "invalid_parameter", "picture_missing", "idempotency_key_reused",
    "payload_too_large", "not_a_picture", "unsupported_format", "picture_empty", "picture_truncated",
    "picture_corrupt", "picture_animated", "too_many_pixels", "model_not_found", "version_not_found", "queue_full",
    "model_not_ready", "storage_unavailable", "storage_full", "internal_error",
)  # fmt: skip
_JOB_FAILURES = ("job_canceled", "job_expired", "out_of_memory", "attempts_exhausted")
_SUBMIT_HEADERS = ("Prefer", "Idempotency-Key", "X-Route-Key")
#: every request may have them
_TRACE_HEADERS = ("X-Request-Id", "traceparent")


async def read(_request: Request) -> Response:
    """``GET /openapi.json``."""
    return Response(_text(), media_type="application/json")


@functools.cache
def _text() -> str:
    return json.dumps(document())


def document() -> Spec:
    """The OpenAPI 3.1 document."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Matte",
            "version": version("matte-frontend"),
            "description": "Background removal, matting and masks. Every error is an RFC 9457 problem document.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "paths": _submit_paths() | _job_paths() | _rollout_paths() | _info_paths(),
        "components": components(),
    }


def _operation(
    operation_id: str,
    summary: str,
    parameters: tuple[str, ...],
    responses: Spec,
    problems: tuple[str, ...],
    tag: str = "",
) -> Spec:
    return {
        "operationId": operation_id,
        "summary": summary,
        "parameters": parameter_refs(*parameters, *_TRACE_HEADERS),
        "responses": responses | problem_responses(problems),
    } | ({"tags": [tag]} if tag else {})


def _get(operation_id: str, summary: str, content: Spec, *problems: str, parameters: tuple[str, ...] = ()) -> Spec:
    ok = {"200": {"description": "OK", "headers": header_refs(), "content": content}}
    return _operation(operation_id, summary, parameters, ok, (*problems, "internal_error"))


def _submit_paths() -> Spec:
    problems = (*_REJECTIONS, *_JOB_FAILURES, "not_acceptable", "wait_exceeded")
    responses = {"200": response_ref("Result"), "202": response_ref("Accepted")}
    default, major, model = (
        "Cut out with the default model, by its current split",
        "Cut out with the default model, pinned to a major version",
        "Cut out with a model, by its current split or a pinned version",
    )

    def predict(operation_id: str, summary: str, schema_prefix: str, *parameters: str) -> Spec:
        names = (*parameters, *OPTION_NAMES, *_SUBMIT_HEADERS)
        post = _operation(operation_id, summary, names, responses, problems, "predict")
        return {"post": post | {"requestBody": request_body(schema_prefix)}}

    return {
        "/predict": predict("predict", default, "", "model_query", "version"),
        "/v{major}/predict": predict("predictMajor", major, "Major", "major"),
        "/models/{model}/predict": predict("predictModel", model, "Model", "model", "version"),
    }


def _job_paths() -> Spec:
    names = ("model_query", "version", *OPTION_NAMES, *_SUBMIT_HEADERS)
    create = _operation("createJob", "Queue a picture", names, {"202": response_ref("Accepted")}, _REJECTIONS)
    job, job_problems = json_content("JobView", JOB), ("job_not_found", "storage_unavailable")
    stream = {"text/event-stream": {"schema": {"type": "string"}, "example": STREAM}}
    events = _get(
        "jobEvents", "What happens to the job, as it happens", stream, *job_problems, parameters=("id", "Last-Event-ID")
    )
    events["responses"]["204"] = {"description": "Everything was sent before", "headers": header_refs()}
    result = _get(
        "jobResult", "The result", {}, "unknown_parameter", "invalid_parameter", "not_acceptable", "job_not_finished",
        "result_expired", "range_not_satisfiable", *_JOB_FAILURES, *job_problems,
        parameters=("id", "file", "If-None-Match", "Range", "If-Range"),
    )  # fmt: skip
    result["responses"] |= {
        "200": response_ref("StoredResult"), "206": response_ref("PartOfResult"), "304": response_ref("NotModified"),
    }  # fmt: skip
    delete_summary = "Cancel the job; one that has ended is removed with its pictures"
    paths = {
        "/v1/jobs": {"post": create | {"requestBody": request_body("")}},
        "/v1/jobs/{id}": {
            "get": _get("readJob", "The job as it is", job, *job_problems, parameters=("id",)),
            "delete": _get("deleteJob", delete_summary, job, *job_problems, parameters=("id",)),
        },
        "/v1/jobs/{id}/events": {"get": events},
        "/v1/jobs/{id}/result": {"get": result},
    }
    for path in paths.values():
        for operation in path.values():
            operation["tags"] = ["jobs"]
    return paths


def _rollout_paths() -> Spec:
    problems = ("not_found", "model_not_found", "version_not_found", "model_not_ready", "storage_unavailable")
    parameters = ("model", "exact_version")
    report, html = json_content("RolloutReport", ROLLOUT), {"text/html": {"schema": {"type": "string"}}}
    numbers_summary = "What a rollout has shown (MATTE_ROLLOUT_REPORTS)"
    page_summary = "The same as a page with pictures"
    return {
        "/v1/rollouts/{model}/{version}": {
            "get": _get("rollout", numbers_summary, report, *problems, parameters=parameters)
        },
        "/v1/rollouts/{model}/{version}/report": {
            "get": _get("rolloutReport", page_summary, html, *problems, parameters=parameters)
        },
    }


def _info_paths() -> Spec:
    def untyped(example: Spec | None) -> Spec:
        return {"application/json": {"schema": {"type": "object"}} | ({"example": example} if example else {})}

    store_problems = ("model_not_ready", "storage_unavailable")
    catalog, model = json_content("Catalog", CATALOG), json_content("ModelView", CATALOG["models"][0])
    limits = json_content("Limits", Limits().model_dump(mode="json"))
    ok = untyped({"status": "ok"})
    return {
        "/models": {"get": _get("listModels", "Models, versions, weights", catalog, *store_problems)},
        "/models/{model}": {
            "get": _get("readModel", "One model", model, "model_not_found", *store_problems, parameters=("model",))
        },
        "/v1/limits": {"get": _get("limits", "What is accepted", limits)},
        "/version": {"get": _get("version", "What runs here", untyped(ABOUT))},
        "/healthz": {"get": _get("healthz", "The process is alive", ok)},
        "/readyz": {"get": _get("readyz", "It can serve", ok, *store_problems, "shutting_down")},
        "/openapi.json": {"get": _get("openapi", "This document", untyped(None))},
    }
