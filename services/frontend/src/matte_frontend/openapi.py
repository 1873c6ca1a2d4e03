"""The description of the REST interface, written by hand beside the contracts' own JSON schemas.

A test holds it against the routes, so that neither has what the other lacks.
"""

from __future__ import annotations

import functools
import json
from importlib.metadata import version
from typing import Any

from matte_core.contracts.catalog import Catalog, ModelView
from matte_core.contracts.job import JobView
from matte_core.contracts.limits import Limits
from matte_core.contracts.options import Options
from matte_core.errors import CODES, Problem
from pydantic.json_schema import models_json_schema
from starlette.requests import Request
from starlette.responses import Response

from matte_frontend.openapi_examples import CATALOG, JOB, JSON_RESULT, PICTURE_B64, ROLLOUT, STREAM
from matte_frontend.rollouts.summary import RolloutReport

Spec = dict[str, Any]
_REF = "#/components/schemas/"
_BINARY: Spec = {"schema": {"type": "string", "format": "binary"}}


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
        "paths": _predict_paths() | _job_paths() | _other_paths(),
        "components": {"schemas": _schemas(), "parameters": _parameters()},
    }


def _schemas() -> Spec:
    """The contracts', the form's and the JSON body's, and the problem's."""
    models = [(model, "serialization") for model in (Catalog, ModelView, JobView, Limits, RolloutReport)]
    _, found = models_json_schema(models, ref_template=_REF + "{model}")  # type: ignore[arg-type]
    options = Options.model_json_schema(ref_template=_REF + "{model}")["properties"]
    form = {"image": {"type": "string", "format": "binary"}, "bg_image": {"type": "string", "format": "binary"}}
    base64 = {"type": "string", "contentEncoding": "base64"}
    return dict(found["$defs"]) | {
        "Form": {"type": "object", "required": ["image"], "properties": form | options | _VERSION},
        "JsonBody": {
            "type": "object",
            "required": ["image_b64"],
            "additionalProperties": False,
            "properties": {"image_b64": base64, "bg_image_b64": base64} | options | _VERSION,
        },
        "JsonResult": {
            "type": "object",
            "properties": {name: {} for name in JSON_RESULT} | {"result_b64": base64, "mask_b64": base64},
        },
        "Problem": {
            "type": "object",
            "required": ["type", "title", "status", "code", "detail"],
            "properties": {
                "type": {"type": "string", "format": "uri"},
                "title": {"type": "string"},
                "status": {"type": "integer"},
                "code": {"type": "string", "enum": sorted(CODES)},
                "detail": {"type": "string"},
                "instance": {"type": "string"},
                "retry_after": {"type": "number", "description": "seconds"},
            },
        },
    }


_VERSION: Spec = {"version": {"type": "string", "description": "exact (1.2.0), major (1) or minor (1.2)"}}


def _parameters() -> Spec:
    options = Options.model_json_schema()["properties"]
    found = {
        name: {"name": name, "in": "query", "description": schema.get("description", ""), "schema": schema}
        for name, schema in options.items()
    }
    headers = {
        "Prefer": (
            "RFC 7240: respond-async, wait=N (seconds); preview: a small preview among the events of a job",
            "wait=5",
        ),
        "Idempotency-Key": ("a UUID, say: requests with the same one are one job", "order-4711"),
        "X-Route-Key": ("requests with the same key stay on one version of the model; kept as a digest", "user-17"),
        "traceparent": ("W3C trace context", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
        "X-Request-Id": ("comes back in the answer", "my-request-1"),
        "Last-Event-ID": ("send what came after this event", "1767225600000-0"),
    }
    for name, (description, example) in headers.items():
        found[name] = {
            "name": name, "in": "header", "description": description, "schema": {"type": "string"}, "example": example
        }  # fmt: skip
    found["version"] = {"name": "version", "in": "query", "schema": _VERSION["version"], "example": "2"}
    found["model_query"] = {"name": "model", "in": "query", "schema": {"type": "string"}, "example": "unet"}
    found["model"] = {
        "name": "model", "in": "path", "required": True, "schema": {"type": "string"}, "example": "unet"
    }  # fmt: skip
    found["id"] = {"name": "id", "in": "path", "required": True, "schema": {"type": "string"}, "example": JOB["id"]}
    return found


def _named(*names: str) -> list[Spec]:
    return [{"$ref": f"#/components/parameters/{name}"} for name in names]


def _json(schema: str, example: object) -> Spec:
    return {"application/json": {"schema": {"$ref": _REF + schema}, "example": example}}


def _problems(*codes: str) -> Spec:
    """Answers by status, with an example per code."""
    by_status: dict[int, list[str]] = {}
    for code in codes:
        by_status.setdefault(CODES[code].status, []).append(code)
    return {
        str(status): {
            "description": "; ".join(CODES[code].title for code in same),
            "content": {
                "application/problem+json": {
                    "schema": {"$ref": _REF + "Problem"},
                    "examples": {
                        c: {"value": Problem(c, "What exactly, and how to mend it.").document()} for c in same
                    },
                }
            },
        }
        for status, same in sorted(by_status.items())
    }


_REFUSED = (
    "malformed_request", "unknown_parameter", "invalid_parameter", "picture_missing", "idempotency_key_reused",
    "payload_too_large", "not_a_picture", "unsupported_format", "picture_empty", "picture_truncated",
    "picture_corrupt", "picture_animated", "too_many_pixels", "model_not_found", "version_not_found", "queue_full",
    "model_not_ready", "storage_unavailable", "storage_full", "internal_error",
)  # fmt: skip
_ENDED = ("job_cancelled", "job_expired", "out_of_memory", "attempts_exhausted")


def _body(*, model: bool = False) -> Spec:
    example: Spec = {"image_b64": PICTURE_B64, "format": "webp", "bg_color": "#ffffff"}
    return {
        "required": True,
        "content": {
            "image/*": _BINARY,
            "application/octet-stream": _BINARY,
            "multipart/form-data": {"schema": {"$ref": _REF + "Form"}},
            "application/json": {
                "schema": {"$ref": _REF + "JsonBody"}, "example": example | ({"model": "unet"} if model else {})
            },
        },
    }  # fmt: skip


_ACCEPTED: Spec = {
    "description": "The job is queued; Location has its address",
    "headers": {"Location": {"schema": {"type": "string"}}},
    "content": _json("JobView", JOB),
}
_RESULT_HEADERS = (
    *("X-Job-Id", "X-Model", "X-Model-Version", "X-Model-Digest", "X-Subject-Found"),
    *("Server-Timing", "X-Request-Id"),
)
_RESULT: Spec = {
    "description": "The picture; a ZIP archive of cut-out and mask for output=both; JSON if it is asked for",
    "headers": {name: {"schema": {"type": "string"}} for name in _RESULT_HEADERS},
    "content": {
        "image/png": _BINARY,
        "image/webp": _BINARY,
        "application/zip": _BINARY,
        **_json("JsonResult", JSON_RESULT),
    },
}
_OPTIONS = tuple(Options.model_fields)
_HEADERS = ("Prefer", "Idempotency-Key", "X-Route-Key", "traceparent", "X-Request-Id")


def _predict(summary: str, operation: str, *parameters: str) -> Spec:
    return {
        "post": {
            "operationId": operation, "summary": summary, "tags": ["predict"],
            "parameters": _named(*parameters, *_OPTIONS, *_HEADERS), "requestBody": _body(),
            "responses": {"200": _RESULT, "202": _ACCEPTED}
            | _problems(*_REFUSED, *_ENDED, "not_acceptable", "wait_exceeded"),
        }
    }  # fmt: skip


def _predict_paths() -> Spec:
    major: Spec = {"name": "major", "in": "path", "required": True, "schema": {"type": "integer"}, "example": 1}
    default = _predict("Cut out with the default model, by its current split", "predict", "model_query", "version")
    pinned = _predict("Cut out with the default model, pinned to a major version", "predictMajor")
    pinned["post"]["parameters"].append(major)
    split = _predict(
        "Cut out with a model, by its current split or a pinned version", "predictModel", "model", "version"
    )
    return {"/predict": default, "/v{major}/predict": pinned, "/models/{model}/predict": split}


def _get(summary: str, operation: str, content: Spec, *codes: str, parameters: tuple[str, ...] = ()) -> Spec:
    return {
        "operationId": operation, "summary": summary, "parameters": _named(*parameters),
        "responses": {"200": {"description": "OK", "content": content}} | _problems(*codes, "internal_error"),
    }  # fmt: skip


def _job_paths() -> Spec:
    gone = ("job_not_found", "storage_unavailable")
    result = _get("The result", "jobResult", _RESULT["content"], "not_acceptable", "job_not_finished",
                  "result_expired", *_ENDED, *gone, parameters=("id",))  # fmt: skip
    file: Spec = {"name": "file", "in": "query", "schema": {"enum": ["result", "mask"]}, "example": "mask"}
    result["parameters"].append(file)
    stream = {"text/event-stream": {"schema": {"type": "string"}, "example": STREAM}}
    events = _get("What happens to the job, as it happens", "jobEvents", stream, *gone,
                  parameters=("id", "Last-Event-ID"))  # fmt: skip
    events["responses"]["204"] = {"description": "Everything was sent before"}
    return {
        "/v1/jobs": {
            "post": {
                "operationId": "createJob", "summary": "Queue a picture", "tags": ["jobs"],
                "parameters": _named("model_query", "version", *_OPTIONS, *_HEADERS[1:]),
                "requestBody": _body(model=True), "responses": {"202": _ACCEPTED} | _problems(*_REFUSED),
            }
        },
        "/v1/jobs/{id}": {
            "get": _get("The job as it is", "readJob", _json("JobView", JOB), *gone, parameters=("id",)),
            "delete": _get("Cancel the job; one that has ended is removed with its pictures", "deleteJob",
                           _json("JobView", JOB), *gone, parameters=("id",)),
        },
        "/v1/jobs/{id}/events": {"get": events},
        "/v1/jobs/{id}/result": {"get": result},
    }  # fmt: skip


def _rollout_paths() -> Spec:
    codes = ("not_found", "model_not_found", "version_not_found", "model_not_ready", "storage_unavailable")
    exact: Spec = {
        "name": "version", "in": "path", "required": True, "schema": {"type": "string"}, "example": ROLLOUT["version"]
    }  # fmt: skip
    html = {"text/html": {"schema": {"type": "string"}}}
    found = {
        "": _get("What a rollout has shown (MATTE_ROLLOUT_REPORTS)", "rollout", _json("RolloutReport", ROLLOUT),
                 *codes, parameters=("model",)),
        "/report": _get("The same as a page with pictures", "rolloutReport", html, *codes, parameters=("model",)),
    }  # fmt: skip
    for operation in found.values():
        operation["parameters"].append(exact)
    return {f"/v1/rollouts/{{model}}/{{version}}{end}": {"get": operation} for end, operation in found.items()}


def _other_paths() -> Spec:
    store = ("model_not_ready", "storage_unavailable")
    status = {"application/json": {"schema": {"type": "object"}, "example": {"status": "ok"}}}
    model = _json("ModelView", CATALOG["models"][0])
    limits = _json("Limits", Limits().model_dump(mode="json"))
    return {
        "/models": {"get": _get("Models, versions, weights", "listModels", _json("Catalog", CATALOG), *store)},
        "/models/{model}": {
            "get": _get("One model", "readModel", model, "model_not_found", *store, parameters=("model",))
        },
        **_rollout_paths(),
        "/v1/limits": {"get": _get("What is accepted", "limits", limits)},
        "/healthz": {"get": _get("The process is alive", "healthz", status)},
        "/readyz": {"get": _get("It can serve", "readyz", status, *store, "shutting_down")},
        "/openapi.json": {
            "get": _get("This document", "openapi", {"application/json": {"schema": {"type": "object"}}})
        },
    }  # fmt: skip
