"""From what a caller sent to a job that is sound: parameters, model and version, pictures."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

from matte_core.contracts.catalog import Route
from matte_core.contracts.job import JobSpec, Picture
from matte_core.contracts.limits import Limits
from matte_core.contracts.options import Options
from matte_core.domain.routing import pinned_version
from matte_core.errors import Problem
from matte_core.pictures.probe import probe
from pydantic import ValidationError

from matte_frontend.body import Inputs
from matte_frontend.caller import Caller
from matte_frontend.frontend import Frontend

_PLAIN = Options()
_NAMES = frozenset(Options.model_fields)
#: probing walks the whole file; from this size on it leaves the event loop
_HEAVY = 2_000_000


@dataclass(frozen=True, slots=True)
class Asked:
    """A request that is sound. ``version`` is exact, None: by the split; ``named`` is what was asked for."""

    model: str
    version: str | None
    named: str | None
    caller: Caller
    options: Options
    picture: Picture
    image: bytes
    background: bytes | None = None
    background_type: str = ""


def parse_options(parameters: Mapping[str, object], *, also: frozenset[str]) -> tuple[Options, dict[str, str]]:
    """Options, and the parameters named in ``also`` (strings).

    Raises:
        Problem: unknown_parameter with the allowed ones, invalid_parameter with one error per field.
    """
    if not parameters:
        return _PLAIN, {}
    for name in parameters:
        if name not in _NAMES and name not in also:
            allowed = sorted(_NAMES | also)
            raise Problem(
                "unknown_parameter", f"There is no parameter {name!r}. There is: {', '.join(allowed)}.",
                parameter=name, allowed=allowed,
            )  # fmt: skip
    rest = {name: str(value) for name, value in parameters.items() if name in also and value not in (None, "")}
    try:
        return Options.model_validate({k: v for k, v in parameters.items() if k in _NAMES}), rest
    except ValidationError as error:
        raise invalid(error) from error


def invalid(error: ValidationError) -> Problem:
    """``invalid_parameter`` with what is wrong with each."""
    errors = [
        {"parameter": ".".join(map(str, e["loc"])), "message": e["msg"].removeprefix("Value error, ")}
        for e in error.errors(include_url=False, include_context=False, include_input=False)
    ]
    detail = "; ".join(f"{e['parameter']}: {e['message']}" if e["parameter"] else e["message"] for e in errors)
    return Problem("invalid_parameter", detail, errors=errors)


def version_for(route: Route, named: str | None, caller: Caller) -> str | None:
    """The exact version that alone may answer; None: by the split.

    Raises:
        Problem: version_not_found.
    """
    try:
        return pinned_version(route, named, caller.owner.tenant, _joined(caller.headers) if route.rules else {})
    except LookupError:
        available = [arm.version for arm in route.arms]
        raise Problem(
            "version_not_found", f"{route.model} has no version {named}. It has: {', '.join(available)}.",
            model=route.model, versions=available,
        ) from None  # fmt: skip


def _joined(headers: Mapping[str, str]) -> dict[str, str]:
    """Each name once: several lines of one name are a list (RFC 9110, section 5.3)."""
    joined: dict[str, str] = {}
    for name, value in headers.items():
        joined[name] = f"{joined[name]}, {value}" if name in joined else value
    return joined


async def sound(frontend: Frontend, inputs: Inputs, caller: Caller, *, model: str | None, major: str | None) -> Asked:
    """Checks everything that can be checked before anything is stored.

    Args:
        frontend: whose catalog and limits count.
        inputs: what came.
        caller: who asks.
        model: from the address; None: the parameter ``model``, else the default model.
        major: the version that the address pins; None: the parameter ``version``.

    Raises:
        Problem: any of the request and the picture.
    """
    with frontend.telemetry.refusing():
        also = {"version"} if major is None else set()
        also |= {"model"} if model is None and major is None else set()
        options, rest = parse_options(inputs.parameters, also=frozenset(also))
        route = await frontend.catalog.route(model or rest.get("model"))
    with frontend.telemetry.refusing(route.model):
        if not frontend.catalog.has_room:
            raise Problem("storage_full", "The store has no room for more jobs just now.", retry_after=10)
        named = major or rest.get("version")
        version = version_for(route, named, caller)
        picture = await probed(inputs.image, frontend.limits)
        if inputs.background is None:
            return Asked(route.model, version, named, caller, options, picture, inputs.image)
        behind = await probed(inputs.background, frontend.limits)
        kind = f"image/{behind.format.lower()}"
        return Asked(route.model, version, named, caller, options, picture, inputs.image, inputs.background, kind)


async def probed(data: bytes, limits: Limits) -> Picture:
    """``probe``, in a thread where it could hold up others."""
    return await asyncio.to_thread(probe, data, limits) if len(data) > _HEAVY else probe(data, limits)


def to_job(
    frontend: Frontend,
    asked: Asked,
    *,
    origin: str = "",
    traceparent: str | None = None,
    idempotency_key: str | None = None,
    preview: bool = False,
) -> tuple[JobSpec, dict[str, bytes]]:
    """The job for a sound request, and its bytes by blob key."""
    job_id, now, blobs = frontend.new_id(), frontend.clock(), frontend.store.blobs
    image = blobs.ref(job_id, "image", len(asked.image), f"image/{asked.picture.format.lower()}")
    data = {image.key: asked.image}
    background = None
    if asked.background is not None:
        background = blobs.ref(job_id, "background", len(asked.background), asked.background_type)
        data[background.key] = asked.background
    spec = JobSpec(
        id=job_id, model=asked.model, version=asked.version, tenant=asked.caller.owner.tenant,
        user=asked.caller.owner.user, route_key=asked.caller.route_key, options=asked.options, image=image,
        background=background, picture=asked.picture, created_at=now,
        expires_at=now + frontend.limits.job_ttl_seconds, origin=origin, idempotency_key=idempotency_key,
        fingerprint=fingerprint(asked) if idempotency_key else "", preview=preview, traceparent=traceparent,
    )  # fmt: skip
    return spec, data


def fingerprint(asked: Asked) -> str:
    """A digest of everything that makes two requests the same: what was asked for, not what traffic made of it."""
    digest = hashlib.blake2b(digest_size=16)
    for part in (asked.image, asked.background or b""):
        digest.update(len(part).to_bytes(8, "big"))
        digest.update(part)
    digest.update(f"{asked.options.model_dump_json()}|{asked.model}|{asked.named or ''}".encode())
    return digest.hexdigest()
