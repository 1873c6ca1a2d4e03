"""The OpenAPI document of the REST interface, written by hand beside the contracts' own JSON schemas.

A test compares it with the routes, so that neither has what the other lacks; clients generated from it are tested
against a frontend.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Iterable, Mapping
from importlib.metadata import version
from typing import Any

from matte_core.contracts.catalog import Catalog, ModelView
from matte_core.contracts.job import JobView, Limits
from matte_core.contracts.options import Options
from matte_core.errors import CODES, Problem
from pydantic.json_schema import models_json_schema
from starlette.requests import Request
from starlette.responses import Response

from matte_frontend.openapi_examples import ABOUT, CATALOG, JOB, JSON_RESULT, PICTURE_B64, ROLLOUT, STREAM
from matte_frontend.rollouts.report import RolloutReport

Spec = dict[str, Any]
OPTION_NAMES = tuple(Options.model_fields)
_SCHEMAS = "#/components/schemas/"
_TEXT: Spec = {"type": "string"}
_BASE64: Spec = {"type": "string", "contentEncoding": "base64"}
_BINARY: Spec = {"type": "string", "format": "binary"}
_BINARY_CONTENT: Spec = {"schema": _BINARY}
#: what a request may name beside the options, in the query and in bodies alike
_ROUTING: Spec = {
    "model": _TEXT | {"description": "a model's name. Default: the default model"},
    "version": _TEXT | {"description": "exact (1.2.0), minor (1.2) or major (1). Default: by the model's split"},
}
#: prefixes of the bodies' schemas, and what each takes of ``_ROUTING``
_BODIES: Mapping[str, tuple[str, ...]] = {"": ("model", "version"), "Model": ("version",), "Major": ()}
_IN_QUERY = "For a body that is the picture itself; in a form or in JSON it is a field."
_IN_BODY = "Leave it out of the query: where both have it, the values must be equal."

_REQUEST_HEADERS: Mapping[str, tuple[str, Spec, str]] = {
    "Prefer": (
        "RFC 7240: respond-async (202 with the job), wait=N (202 after N seconds), preview (a small picture among"
        " the job's events)",
        _TEXT, "wait=5",
    ),
    "Idempotency-Key": (
        "e.g. a UUID; requests with the same key are one job", _TEXT | {"pattern": "^[!-~]{1,200}$"}, "order-4711",
    ),
    "X-Route-Key": (
        "requests with the same key stay on one version of the model; kept as a digest",
        _TEXT | {"pattern": "^[ -~]{1,128}$"}, "user-17",
    ),
    "traceparent": ("W3C trace context", _TEXT, "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
    "X-Request-Id": ("returned in the response", _TEXT, "my-request-1"),
    "If-None-Match": ("ETags of what the client has: 304 if one of them is current", _TEXT, '"0123456789abcdef"'),
    "Range": ("one range of bytes: 206 with that part", _TEXT, "bytes=0-1023"),
    "If-Range": ("the ETag that Range applies to; the whole body if it has changed", _TEXT, '"0123456789abcdef"'),
    "Last-Event-ID": ("resume after this event", _TEXT, "1767225600000-0"),
}  # fmt: skip
_RESPONSE_HEADERS: Mapping[str, str] = {
    "X-Request-Id": "the request's own if it is valid, else a new one",
    "traceparent": "W3C trace context of this request",
    "Server-Timing": "milliseconds by stage",
    "Location": "path of the job",
    "Preference-Applied": "the parts of Prefer that were applied",
    "X-Job-Id": "the job's id",
    "X-Model": "the model's name",
    "X-Model-Version": "the version that answered",
    "X-Matte-Foreground": "found, or none: the picture has no subject",
    "X-Matte-Uncertainty": "share of the subject that the mask is expected to get wrong, 0 to 1: 0.07; if known",
    "X-Model-Digest": "digest of the version's folder",
    "Retry-After": "seconds",
    "ETag": "identifies these bytes in this media type",
    "Accept-Ranges": "bytes",
    "Content-Range": "the range of bytes, and how many there are",
}
#: every response has them
_ALWAYS = ("X-Request-Id", "traceparent", "Server-Timing")
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
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Matte", "version": version("matte-frontend"),
            "description": "Background removal, matting and masks. Every error is an RFC 9457 problem document.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "paths": _submit_paths() | _job_paths() | _other_paths(),
        "components": {
            "schemas": _schemas(),
            "parameters": _parameters(),
            "responses": _responses(),
            "headers": {name: {"description": text, "schema": _TEXT} for name, text in _RESPONSE_HEADERS.items()},
            "examples": {
                code: {"value": Problem(code, "What exactly, and how to mend it.").document()} for code in CODES
            },
        },
    }  # fmt: skip


def _operation(
    id_: str, summary: str, parameters: tuple[str, ...], responses: Spec, problems: tuple[str, ...], tag: str = ""
) -> Spec:
    by_status: dict[int, list[str]] = {}
    for code in problems:
        by_status.setdefault(CODES[code].status, []).append(code)
    failures = {
        str(status): _problem_response("; ".join(CODES[code].title for code in codes), codes)
        for status, codes in sorted(by_status.items())
    }
    return {
        "operationId": id_, "summary": summary,
        "parameters": [{"$ref": f"#/components/parameters/{name}"} for name in (*parameters, *_TRACE_HEADERS)],
        "responses": responses | failures | {"default": response_ref("Other")},
    } | ({"tags": [tag]} if tag else {})  # fmt: skip


def _get(operation_id: str, summary: str, content: Spec, *problems: str, parameters: tuple[str, ...] = ()) -> Spec:
    ok = {"200": {"description": "OK", "headers": header_refs(), "content": content}}
    return _operation(operation_id, summary, parameters, ok, (*problems, "internal_error"))


def _submit_paths() -> Spec:
    problems = (*_REJECTIONS, *_JOB_FAILURES, "not_acceptable", "wait_exceeded")
    responses = {"200": response_ref("Result"), "202": response_ref("Accepted")}
    default = "Cut out with the default model, by its current split"
    major = "Cut out with the default model, pinned to a major version"
    model = "Cut out with a model, by its current split or a pinned version"

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


def _other_paths() -> Spec:
    def untyped(example: Spec | None) -> Spec:
        return {"application/json": {"schema": {"type": "object"}} | ({"example": example} if example else {})}

    store_problems = ("model_not_ready", "storage_unavailable")
    catalog, model = json_content("Catalog", CATALOG), json_content("ModelView", CATALOG["models"][0])
    limits = json_content("Limits", Limits().model_dump(mode="json"))
    ok = untyped({"status": "ok"})
    report, html = json_content("RolloutReport", ROLLOUT), {"text/html": {"schema": {"type": "string"}}}
    rollout_problems = ("not_found", "model_not_found", "version_not_found", *store_problems)
    of_version = {"parameters": ("model", "exact_version")}
    numbers = "What a rollout has shown (MATTE_ROLLOUT_REPORTS)"
    page = "The same as a page with pictures"
    return {
        "/v1/rollouts/{model}/{version}": {"get": _get("rollout", numbers, report, *rollout_problems, **of_version)},
        "/v1/rollouts/{model}/{version}/report": {
            "get": _get("rolloutReport", page, html, *rollout_problems, **of_version)
        },
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


# --- references ---


def response_ref(name: str) -> Spec:
    return {"$ref": f"#/components/responses/{name}"}


def header_refs(*names: str) -> Spec:
    """Headers of a response, with those that every response has."""
    return {name: {"$ref": f"#/components/headers/{name}"} for name in (*names, *_ALWAYS)}


def json_content(schema: str, example: object) -> Spec:
    return {"application/json": {"schema": {"$ref": _SCHEMAS + schema}, "example": example}}


def request_body(schema_prefix: str) -> Spec:
    """A picture as the body itself, in a form, or in JSON. ``application/octet-stream`` is what generators know."""
    example: Spec = {"image_b64": PICTURE_B64, "format": "webp", "bg_color": "#ffffff"}
    return {
        "required": True,
        "content": {
            "application/octet-stream": _BINARY_CONTENT,
            "image/*": _BINARY_CONTENT,
            "multipart/form-data": {"schema": {"$ref": f"{_SCHEMAS}{schema_prefix}Form"}},
            **json_content(f"{schema_prefix}JsonBody", example if schema_prefix else example | {"model": "unet"}),
        },
    }


def _problem_response(description: str, codes: Iterable[str] = ()) -> Spec:
    content: Spec = {"schema": {"$ref": _SCHEMAS + "Problem"}}
    if codes:
        content["examples"] = {code: {"$ref": f"#/components/examples/{code}"} for code in codes}
    problem = {"application/problem+json": content}
    return {"description": description, "headers": header_refs("Retry-After"), "content": problem}


# --- components ---


def _schemas() -> Spec:
    models = [(model, "serialization") for model in (Catalog, ModelView, JobView, Limits, RolloutReport)]
    _, generated = models_json_schema(models, ref_template=_SCHEMAS + "{model}")  # type: ignore[arg-type]
    schemas: Spec = dict(generated["$defs"])
    for prefix, routing in _BODIES.items():
        fields = _with_note({name: _ROUTING[name] for name in routing} | _options(), _IN_BODY)
        # in JSON, null is the same as leaving a string out
        nullable = {
            name: schema | ({"type": ["string", "null"]} if schema["type"] == "string" and "enum" not in schema else {})
            for name, schema in fields.items()
        }
        schemas[f"{prefix}Form"] = _closed_object(["image"], {"image": _BINARY, "bg_image": _BINARY} | fields)
        schemas[f"{prefix}JsonBody"] = _closed_object(
            ["image_b64"], {"image_b64": _BASE64, "bg_image_b64": _BASE64} | nullable
        )
    pixels: Spec = {"type": "integer", "description": "pixels"}
    timings = {"type": "object", "additionalProperties": {"type": "number"}, "description": "seconds by stage"}
    # the JSON that a picture is sent in; mask_b64 only for output=both
    schemas["JsonResult"] = {
        "type": "object", "required": ["id", "model", "version", "digest", "arm", "width", "height", "timings"],
        "properties": dict.fromkeys(("id", "model", "version", "digest", "arm"), _TEXT)
        | {
            "foreground": {"enum": ["found", "none"], "type": "string"},
            "uncertainty": {"type": ["number", "null"], "minimum": 0, "maximum": 1},
        }
        | {"width": pixels, "height": pixels, "timings": timings}
        | {"result_b64": _BASE64, "mask_b64": _BASE64},
    }  # fmt: skip
    schemas["Problem"] = {
        "type": "object", "required": ["type", "title", "status", "code", "detail"],
        "properties": {
            "type": {"type": "string", "format": "uri"}, "title": _TEXT, "status": {"type": "integer"},
            "code": {"type": "string", "enum": sorted(CODES)}, "detail": _TEXT, "instance": _TEXT,
            "retry_after": {"type": "number", "description": "seconds"},
        },
    }  # fmt: skip
    return schemas


def _closed_object(required: list[str], properties: Spec) -> Spec:
    return {"type": "object", "required": required, "additionalProperties": False, "properties": properties}


def _options() -> Spec:
    """Schema by option. No ``default`` is declared: generated clients would send it, in the query and the body."""
    schemas: Spec = dict(Options.model_json_schema(ref_template=_SCHEMAS + "{model}")["properties"])
    for schema in schemas.values():
        default = schema.pop("default", None)
        del schema["title"]
        if schema.pop("anyOf", None):
            schema["type"] = "string"
        text = schema.get("description", "")
        if default is not None:
            default_text = f"Default: {str(default).lower() if isinstance(default, bool) else default}"
            text = f"{text}. {default_text}" if text else default_text
        schema["description"] = text
    return schemas


def _with_note(schemas: Spec, note: str) -> Spec:
    return {name: schema | {"description": f"{schema['description']}. {note}"} for name, schema in schemas.items()}


def _parameters() -> Spec:
    parameters: Spec = {
        name: {"name": name, "in": "query", "description": schema.pop("description"), "schema": schema}
        for name, schema in _with_note(_ROUTING | _options(), _IN_QUERY).items()
    }
    parameters["model_query"] = parameters.pop("model")
    for name, (description, schema, example) in _REQUEST_HEADERS.items():
        parameters[name] = {
            "name": name, "in": "header", "description": description, "schema": schema, "example": example
        }  # fmt: skip
    in_path: Mapping[str, tuple[str, Spec, object]] = {
        "model": ("model", _TEXT, "unet"),
        "id": ("id", _TEXT | {"pattern": "^[0-9a-f]{32}$"}, JOB["id"]),
        "major": ("major", {"type": "integer", "minimum": 0, "maximum": 999_999_999}, 1),
        "exact_version": ("version", _TEXT, ROLLOUT["version"]),
    }
    for key, (name, schema, value) in in_path.items():
        parameters[key] = {"name": name, "in": "path", "required": True, "schema": schema, "example": value}
    parameters["file"] = {
        "name": "file", "in": "query", "schema": {"enum": ["result", "mask"], "type": "string"},
        "description": "one of the two files of output=both. Default: all there are, two as a ZIP archive",
    }  # fmt: skip
    return parameters


def _responses() -> Spec:
    result_headers = header_refs(
        "X-Job-Id", "X-Model", "X-Model-Version", "X-Model-Digest", "X-Matte-Foreground", "X-Matte-Uncertainty"
    )
    stored_headers = result_headers | header_refs("ETag", "Accept-Ranges")
    result: Spec = {
        "description": "The picture; a ZIP archive of cut-out and mask for output=both; JSON if Accept prefers it",
        "headers": result_headers,
        # generators keep the first kind they know: bytes, of which JSON is a kind too
        "content": dict.fromkeys(
            ("image/png", "image/webp", "application/zip", "application/octet-stream"), _BINARY_CONTENT
        )
        | json_content("JsonResult", JSON_RESULT),
    }
    return {
        "Accepted": {
            "description": "The job is queued; Location has its address",
            "headers": header_refs("Location", "X-Job-Id", "Preference-Applied"),
            "content": json_content("JobView", JOB),
        },
        "Result": result,
        "StoredResult": result | {"headers": stored_headers},
        "PartOfResult": result
        | {"description": "The part that Range asks for", "headers": stored_headers | header_refs("Content-Range")},
        "NotModified": {"description": "The client has it already", "headers": header_refs("ETag")},
        "Other": _problem_response(
            "Any other problem, such as a method, a host, an origin or headers that are not accepted"
        ),
    }
