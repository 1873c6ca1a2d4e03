"""Components of the OpenAPI document: schemas, parameters, headers, and what operations are put together from."""

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
_REF = "#/components/schemas/"
_TEXT: Spec = {"type": "string"}
_BASE64: Spec = {"type": "string", "contentEncoding": "base64"}
BINARY: Spec = {"schema": {"type": "string", "format": "binary"}}
#: what a request may name beside the options, in the query and in bodies alike
_CHOICE: Spec = {
    "model": _TEXT | {"description": "a model's name. Default: the default model"},
    "version": _TEXT | {"description": "exact (1.2.0), minor (1.2) or major (1). Default: by the model's split"},
}
#: prefixes of the bodies' schemas, and what each takes of ``_CHOICE``
_BODIES: Mapping[str, tuple[str, ...]] = {"": ("model", "version"), "Model": ("version",), "Major": ()}
_IN_QUERY = "For a body that is the picture itself; in a form or in JSON it is a field."
_IN_BODY = "Leave it out of the query: where both have it, the values must be equal."
OPTIONS = tuple(Options.model_fields)

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
_ANSWER_HEADERS: Mapping[str, str] = {
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
_OTHER = "Any other problem, such as a method, a host, an origin or headers that are not accepted"
ACCEPTED: Spec = {"$ref": "#/components/responses/Accepted"}
RESULT: Spec = {"$ref": "#/components/responses/Result"}
#: headers of a request for what the caller may have already, or wants a part of, and the answers to it
CONDITIONAL = ("If-None-Match", "Range", "If-Range")
FOUND: Spec = {
    "200": {"$ref": "#/components/responses/StoredResult"},
    "206": {"$ref": "#/components/responses/PartOfResult"},
    "304": {"$ref": "#/components/responses/NotModified"},
}
#: every answer has them
ALWAYS = ("X-Request-Id", "traceparent", "Server-Timing")
#: every request may have them
TRACED = ("X-Request-Id", "traceparent")


def components() -> Spec:
    """``components`` of the document."""
    return {
        "schemas": _schemas(),
        "parameters": _parameters(),
        "responses": {"Accepted": _ACCEPTED, "Result": _RESULT, "StoredResult": _STORED, "PartOfResult": _PART,
                      "NotModified": _SAME, "Other": _problem_answer(_OTHER)},
        "headers": {name: {"description": text, "schema": _TEXT} for name, text in _ANSWER_HEADERS.items()},
        "examples": {
            code: {"value": Problem(code, "What exactly, and how to mend it.").document()} for code in CODES
        },
    }  # fmt: skip


def _schemas() -> Spec:
    """The contracts', the problem's, and those of forms and JSON."""
    models = [(model, "serialization") for model in (Catalog, ModelView, JobView, Limits, RolloutReport)]
    _, found = models_json_schema(models, ref_template=_REF + "{model}")  # type: ignore[arg-type]
    picture = BINARY["schema"]
    bodies: Spec = {}
    for prefix, choice in _BODIES.items():
        named = {name: _CHOICE[name] for name in choice} | options()
        bodies[f"{prefix}Form"] = {
            "type": "object",
            "required": ["image"],
            "additionalProperties": False,
            "properties": {"image": picture, "bg_image": picture} | _noted(named, _IN_BODY),
        }
        bodies[f"{prefix}JsonBody"] = {
            "type": "object",
            "required": ["image_b64"],
            "additionalProperties": False,
            "properties": {"image_b64": _BASE64, "bg_image_b64": _BASE64} | _nullable(_noted(named, _IN_BODY)),
        }
    return dict(found["$defs"]) | bodies | {"JsonResult": _json_result(), "Problem": _problem()}


def options() -> Spec:
    """Schema by option. No ``default`` is declared: generated clients would send it, in the query and the body."""
    found = Options.model_json_schema(ref_template=_REF + "{model}")["properties"]
    for name, schema in found.items():
        default = schema.pop("default", None)
        del schema["title"]
        if schema.pop("anyOf", None):
            schema["type"] = "string"
        text = schema.get("description", "")
        if default is not None:
            said = str(default).lower() if isinstance(default, bool) else default
            text = f"{text}. Default: {said}" if text else f"Default: {said}"
        found[name] = schema | {"description": text}
    return dict(found)


def _noted(schemas: Spec, note: str) -> Spec:
    return {name: schema | {"description": f"{schema['description']}. {note}"} for name, schema in schemas.items()}


def _nullable(schemas: Spec) -> Spec:
    """In JSON, null is the same as leaving a text out."""
    return {
        name: schema | ({"type": ["string", "null"]} if schema["type"] == "string" and "enum" not in schema else {})
        for name, schema in schemas.items()
    }


def _json_result() -> Spec:
    """The JSON that a picture travels in; ``mask_b64`` only for output=both."""
    numbers: Spec = {"type": "integer", "description": "pixels"}
    text = dict.fromkeys(("id", "model", "version", "digest", "arm"), _TEXT)
    timings = {"type": "object", "additionalProperties": {"type": "number"}, "description": "seconds by stage"}
    return {
        "type": "object",
        "required": ["id", "model", "version", "digest", "arm", "width", "height", "timings"],
        "properties": text
        | {"subject_found": {"type": "boolean"}, "width": numbers, "height": numbers, "timings": timings}
        | {"result_b64": _BASE64, "mask_b64": _BASE64},
    }  # fmt: skip


def _problem() -> Spec:
    return {
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


def _parameters() -> Spec:
    found = {
        name: {"name": name, "in": "query", "description": schema.pop("description"), "schema": schema}
        for name, schema in _noted(_CHOICE | options(), _IN_QUERY).items()
    }
    found["model_query"] = found.pop("model")
    for name, (description, schema, example) in _REQUEST_HEADERS.items():
        found[name] = {
            "name": name, "in": "header", "description": description, "schema": schema, "example": example
        }  # fmt: skip
    id_pattern = {"pattern": "^[0-9a-f]{32}$"}
    paths: Mapping[str, tuple[str, Spec, object]] = {
        "model": ("model", _TEXT, "unet"),
        "id": ("id", _TEXT | id_pattern, JOB["id"]),
        "major": ("major", {"type": "integer", "minimum": 0, "maximum": 999_999_999}, 1),
        "exact_version": ("version", _TEXT, ROLLOUT["version"]),
    }
    for key, (name, schema, value) in paths.items():
        found[key] = {"name": name, "in": "path", "required": True, "schema": schema, "example": value}
    files = {"enum": ["result", "mask"], "type": "string"}
    found["file"] = {
        "name": "file", "in": "query", "schema": files,
        "description": "one of the two files of output=both. Default: all there are, two as a ZIP archive",
    }  # fmt: skip
    return found


def named(*names: str) -> list[Spec]:
    """References to parameters."""
    return [{"$ref": f"#/components/parameters/{name}"} for name in names]


def headers(*names: str) -> Spec:
    """References to headers of an answer, with those that every answer has."""
    return {name: {"$ref": f"#/components/headers/{name}"} for name in (*names, *ALWAYS)}


def json_of(schema: str, example: object) -> Spec:
    """JSON content of a schema."""
    return {"application/json": {"schema": {"$ref": _REF + schema}, "example": example}}


def body(prefix: str) -> Spec:
    """A picture as the body itself, in a form, or in JSON. ``application/octet-stream`` is what generators know."""
    example: Spec = {"image_b64": PICTURE_B64, "format": "webp", "bg_color": "#ffffff"}
    return {
        "required": True,
        "content": {
            "application/octet-stream": BINARY,
            "image/*": BINARY,
            "multipart/form-data": {"schema": {"$ref": f"{_REF}{prefix}Form"}},
            **json_of(f"{prefix}JsonBody", example | ({} if prefix else {"model": "unet"})),
        },
    }  # fmt: skip


def problems(codes: Iterable[str]) -> Spec:
    """Answers by status, with an example per code, and what else may come between a client and its answer."""
    by_status: dict[int, list[str]] = {}
    for code in codes:
        by_status.setdefault(CODES[code].status, []).append(code)
    found = {
        str(status): _problem_answer("; ".join(CODES[code].title for code in same), same)
        for status, same in sorted(by_status.items())
    }
    return found | {"default": {"$ref": "#/components/responses/Other"}}


def _problem_answer(description: str, codes: Iterable[str] = ()) -> Spec:
    examples = {code: {"$ref": f"#/components/examples/{code}"} for code in codes}
    content: Spec = {"schema": {"$ref": _REF + "Problem"}}
    return {
        "description": description,
        "headers": headers("Retry-After"),
        "content": {"application/problem+json": content | ({"examples": examples} if examples else {})},
    }


_ACCEPTED: Spec = {
    "description": "The job is queued; Location has its address",
    "headers": headers("Location", "X-Job-Id", "Preference-Applied"),
    "content": json_of("JobView", JOB),
}
#: generators keep the first kind they know: bytes, of which JSON is a kind too
_RESULT: Spec = {
    "description": "The picture; a ZIP archive of cut-out and mask for output=both; JSON if it is asked for",
    "headers": headers("X-Job-Id", "X-Model", "X-Model-Version", "X-Model-Digest", "X-Subject-Found"),
    "content": {
        "image/png": BINARY,
        "image/webp": BINARY,
        "application/zip": BINARY,
        "application/octet-stream": BINARY,
        **json_of("JsonResult", JSON_RESULT),
    },
}
_STORED = _RESULT | {"headers": _RESULT["headers"] | headers("ETag", "Accept-Ranges")}
_PART = _STORED | {
    "description": "The part that Range asks for",
    "headers": _STORED["headers"] | headers("Content-Range"),
}
_SAME: Spec = {"description": "The caller has it", "headers": headers("ETag")}
