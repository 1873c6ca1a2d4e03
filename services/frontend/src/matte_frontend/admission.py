"""From an HTTP request to a job: parameters, model, version and pictures are validated before anything is stored."""

from __future__ import annotations

import asyncio
import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass

from matte_core.contracts.catalog import Route
from matte_core.contracts.job import JobSpec, Limits, Owner, Picture
from matte_core.contracts.options import Options
from matte_core.domain.routing import pinned_version
from matte_core.errors import Problem
from matte_core.pictures.probe import probe
from pydantic import ValidationError
from starlette.requests import Request

from matte_frontend.body import Inputs, read_inputs
from matte_frontend.problems import invalid_parameter, unknown_parameter
from matte_frontend.state import AppState, owner_of

_DEFAULT_OPTIONS = Options()
_OPTION_NAMES = frozenset(Options.model_fields)
_IDEMPOTENCY_KEY = re.compile(r"[\x21-\x7e]{1,200}")
_ROUTE_KEY = re.compile(r"[\x20-\x7e]{1,128}")
#: bytes; probing walks the whole file, and from this size on it leaves the event loop
_THREAD_BYTES = 2_000_000


@dataclass(frozen=True, slots=True)
class ValidatedRequest:
    """A request that can become a job. ``version`` is exact, None: by the traffic split; ``requested_version`` is as
    the client wrote it.
    """

    model: str
    version: str | None
    requested_version: str | None
    owner: Owner
    route_key: str | None
    options: Options
    picture: Picture
    image: bytes
    background: bytes | None = None
    background_type: str = ""


async def validate_request(
    app: AppState, request: Request, inputs: Inputs | None = None, *, model: str | None = None, major: str | None = None
) -> ValidatedRequest:
    """Checks everything that can be checked before anything is stored; raises Problem.

    ``inputs`` are by default those in the body; ``model`` and ``major`` (a version) are what the address names.
    """
    with app.count_rejections():
        owner, route_key, route_keys = owner_of(request), None, request.headers.getlist("x-route-key")
        if route_keys:
            if len(route_keys) > 1 or not _ROUTE_KEY.fullmatch(route_keys[0]):
                raise _invalid_header("X-Route-Key", "1 to 128 printable ASCII characters, given once")
            # the key itself may be personal, and is not kept
            digest = hashlib.blake2b(route_keys[0].encode(), digest_size=16, person=b"matte-route-key")
            route_key = digest.hexdigest()
        if inputs is None:
            inputs = await read_inputs(request, app.limits.max_bytes)
        routing_names = {"version"} if major is None else set()
        routing_names |= {"model"} if model is None and major is None else set()
        options, routing = parse_options(inputs.parameters, also=frozenset(routing_names))
        route = await app.catalog.route(model or routing.get("model"))
    with app.count_rejections(route.model):
        if not app.catalog.has_memory:
            raise Problem("storage_full", "The store has no room for more jobs just now.", retry_after=10)
        requested = major or routing.get("version")
        version = resolve_version(route, requested, owner, request.headers)
        picture = await _probe(inputs.image, app.limits)
        background_type = ""
        if inputs.background is not None:
            background_type = f"image/{(await _probe(inputs.background, app.limits)).format.lower()}"
    return ValidatedRequest(
        route.model, version, requested, owner, route_key, options, picture, inputs.image, inputs.background,
        background_type,
    )  # fmt: skip


def idempotency_key(request: Request) -> str | None:
    key = request.headers.get("idempotency-key")
    if key is not None and not _IDEMPOTENCY_KEY.fullmatch(key):
        raise _invalid_header("Idempotency-Key", "1 to 200 visible ASCII characters")
    return key


def _invalid_header(name: str, message: str) -> Problem:
    return invalid_parameter(name, message, f"{name} must be {message}.")


def parse_options(parameters: Mapping[str, object], *, also: frozenset[str]) -> tuple[Options, dict[str, str]]:
    """Options, and the parameters named in ``also``. Raises Problem: unknown_parameter, invalid_parameter."""
    if not parameters:
        return _DEFAULT_OPTIONS, {}
    for name in parameters:
        if name not in _OPTION_NAMES and name not in also:
            allowed = sorted(_OPTION_NAMES | also)
            raise unknown_parameter(f"There is no parameter {name!r}. There is: {', '.join(allowed)}.", name, allowed)
    rest = {name: str(value) for name, value in parameters.items() if name in also and value not in (None, "")}
    try:
        return Options.model_validate({k: v for k, v in parameters.items() if k in _OPTION_NAMES}), rest
    except ValidationError as error:
        errors = [
            {"parameter": ".".join(map(str, e["loc"])), "message": e["msg"].removeprefix("Value error, ")}
            for e in error.errors(include_url=False, include_context=False, include_input=False)
        ]
        detail = "; ".join(f"{e['parameter']}: {e['message']}" if e["parameter"] else e["message"] for e in errors)
        raise Problem("invalid_parameter", detail, errors=errors) from error


def resolve_version(route: Route, requested: str | None, owner: Owner, headers: Mapping[str, str]) -> str | None:
    """The exact version to which a requested one (1.2.0, 1.2 or 1) or a rule by tenant or header pins the job; None: by
    the traffic split. Raises Problem: version_not_found.
    """
    # several lines of one header are a list (RFC 9110, 5.3); the names are in lower case
    joined: dict[str, str] = {}
    for name, value in headers.items() if route.rules else ():
        joined[name] = f"{joined[name]}, {value}" if name in joined else value
    try:
        return pinned_version(route, requested, owner.tenant, joined)
    except LookupError:
        available = [arm.version for arm in route.arms]
        raise Problem(
            "version_not_found", f"{route.model} has no version {requested}. It has: {', '.join(available)}.",
            model=route.model, versions=available,
        ) from None  # fmt: skip


async def _probe(data: bytes, limits: Limits) -> Picture:
    return await asyncio.to_thread(probe, data, limits) if len(data) > _THREAD_BYTES else probe(data, limits)


def build_job(
    app: AppState,
    request: Request,
    validated: ValidatedRequest,
    *,
    origin: str = "",
    idempotency_key: str | None = None,
    preview: bool = False,
) -> tuple[JobSpec, dict[str, bytes]]:
    """The job for a validated request, and its bytes by blob key."""
    job_id, now, blobs = app.new_id(), app.clock(), app.store.blobs
    image = blobs.ref(job_id, "image", len(validated.image), f"image/{validated.picture.format.lower()}")
    data = {image.key: validated.image}
    background = None
    if validated.background is not None:
        background = blobs.ref(job_id, "background", len(validated.background), validated.background_type)
        data[background.key] = validated.background
    fingerprint = ""
    if idempotency_key:  # what makes two requests the same: what the client asked for, not where traffic was routed
        digest = hashlib.blake2b(digest_size=16)
        for part in (validated.image, validated.background or b""):
            digest.update(len(part).to_bytes(8, "big"))
            digest.update(part)
        options = validated.options.model_dump_json()
        digest.update(f"{options}|{validated.model}|{validated.requested_version or ''}".encode())
        fingerprint = digest.hexdigest()
    spec = JobSpec(
        id=job_id, model=validated.model, version=validated.version, tenant=validated.owner.tenant,
        user=validated.owner.user, route_key=validated.route_key, options=validated.options, image=image,
        background=background, picture=validated.picture, created_at=now,
        expires_at=now + app.limits.job_ttl_seconds, origin=origin, idempotency_key=idempotency_key,
        fingerprint=fingerprint, preview=preview, traceparent=request.scope["matte"]["traceparent"],
    )  # fmt: skip
    return spec, data
