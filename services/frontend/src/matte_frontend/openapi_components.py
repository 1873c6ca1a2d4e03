"""Components of the OpenAPI document (schemas, parameters, headers, responses), and references to them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from matte_core.contracts.catalog import Catalog, ModelView
from matte_core.contracts.job import JobView
from matte_core.contracts.limits import Limits
from matte_core.contracts.options import Options
from matte_core.errors import CODES, Problem
from pydantic.json_schema import models_json_schema

from matte_frontend.openapi_examples import JOB, JSON_RESULT, PICTURE_B64, ROLLOUT
from matte_frontend.rollouts.summary import RolloutReport

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
        "a UUID, say: requests with the same one are one job", _TEXT | {"pattern": "^[!-~]{1,200}$"}, "order-4711",
    ),
    "X-Route-Key": (
        "requests with the same key stay on one version of the model; kept as a digest",
        _TEXT | {"pattern": "^[ -~]{1,128}$"}, "user-17",
    ),
    "traceparent": ("W3C trace context", _TEXT, "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
    "X-Request-Id": ("comes back in the answer", _TEXT, "my-request-1"),
    "If-None-Match": ("tags of what the caller has: 304 if it is still the same", _TEXT, '"0123456789abcdef"'),
    "Range": ("the part that is wanted: 206 with one range of bytes", _TEXT, "bytes=0-1023"),
    "If-Range": ("the tag that Range is meant for; all of it comes where it has another", _TEXT, '"0123456789abcdef"'),
    "Last-Event-ID": ("send what came after this event", _TEXT, "1767225600000-0"),
}  # fmt: skip
_RESPONSE_HEADERS: Mapping[str, str] = {
    "X-Request-Id": "the request's own where it has a sound one",
    "traceparent": "W3C trace context of this request",
    "Server-Timing": "milliseconds by stage",
    "Location": "path of the job",
    "Preference-Applied": "what was honored of Prefer",
    "X-Job-Id": "the job's id",
    "X-Model": "the model's name",
    "X-Model-Version": "the version that answered",
    "X-Subject-Found": "whether the model found a subject",
    "X-Model-Digest": "digest of the version's folder",
    "Retry-After": "seconds",
    "ETag": "names these bytes in this media type",
    "Accept-Ranges": "bytes",
    "Content-Range": "which of how many bytes",
}
#: every response has them
_ALWAYS = ("X-Request-Id", "traceparent", "Server-Timing")


# --- references ---


def response_ref(name: str) -> Spec:
    return {"$ref": f"#/components/responses/{name}"}


def parameter_refs(*names: str) -> list[Spec]:
    return [{"$ref": f"#/components/parameters/{name}"} for name in names]


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


def problem_responses(codes: Iterable[str]) -> Spec:
    """Responses by status, with an example per code, and what else may come between a client and its response."""
    by_status: dict[int, list[str]] = {}
    for code in codes:
        by_status.setdefault(CODES[code].status, []).append(code)
    responses = {
        str(status): _problem_response("; ".join(CODES[code].title for code in same), same)
        for status, same in sorted(by_status.items())
    }
    return responses | {"default": response_ref("Other")}


def _problem_response(description: str, codes: Iterable[str] = ()) -> Spec:
    content: Spec = {"schema": {"$ref": _SCHEMAS + "Problem"}}
    if codes:
        content["examples"] = {code: {"$ref": f"#/components/examples/{code}"} for code in codes}
    return {
        "description": description,
        "headers": header_refs("Retry-After"),
        "content": {"application/problem+json": content},
    }


# --- components ---


def components() -> Spec:
    return {
        "schemas": _schemas(),
        "parameters": _parameters(),
        "responses": _responses(),
        "headers": {name: {"description": text, "schema": _TEXT} for name, text in _RESPONSE_HEADERS.items()},
        "examples": {
            code: {"value": Problem(code, "What exactly, and how to mend it.").document()} for code in CODES
        },
    }  # fmt: skip


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
        "type": "object",
        "required": ["id", "model", "version", "digest", "arm", "width", "height", "timings"],
        "properties": dict.fromkeys(("id", "model", "version", "digest", "arm"), _TEXT)
        | {"subject_found": {"type": "boolean"}, "width": pixels, "height": pixels, "timings": timings}
        | {"result_b64": _BASE64, "mask_b64": _BASE64},
    }
    schemas["Problem"] = {
        "type": "object",
        "required": ["type", "title", "status", "code", "detail"],
        "properties": {
            "type": {"type": "string", "format": "uri"},
            "title": _TEXT,
            "status": {"type": "integer"},
            "code": {"type": "string", "enum": sorted(CODES)},
            "detail": _TEXT,
            "instance": _TEXT,
            "retry_after": {"type": "number", "description": "seconds"},
        },
    }
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
    result_headers = header_refs("X-Job-Id", "X-Model", "X-Model-Version", "X-Model-Digest", "X-Subject-Found")
    stored_headers = result_headers | header_refs("ETag", "Accept-Ranges")
    result: Spec = {
        "description": "The picture; a ZIP archive of cut-out and mask for output=both; JSON if it is asked for",
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
        "NotModified": {"description": "The caller has it", "headers": header_refs("ETag")},
        "Other": _problem_response(
            "Any other problem, such as a method, a host, an origin or headers that are not accepted"
        ),
    }
