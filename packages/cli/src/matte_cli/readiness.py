"""Whether a server is ready, and what it still waits for."""

from __future__ import annotations

from dataclasses import dataclass

import httpx
from matte_core.contracts.catalog import Catalog
from pydantic import ValidationError

from matte_cli.downloads import Awaited, awaited


@dataclass(frozen=True, slots=True)
class Readiness:
    """``waiting_for`` is empty if the server is ready."""

    waiting_for: str = ""
    models: tuple[str, ...] = ()
    awaited: tuple[Awaited, ...] = ()


def judge(status: int | None, catalog: Catalog | None) -> Readiness:
    """Readiness from the status of ``/readyz`` (None: no response) and the catalog (None: none yet)."""
    if status is None:
        return Readiness("the frontend to answer")
    if catalog is None or not catalog.models:
        return Readiness("inference to load the first model")
    default = catalog.model(catalog.default_model) or catalog.models[0]
    failed = {v.version for v in default.versions if v.download and v.download.error}
    missing = [
        f"{default.name} {v.version}"
        for v in default.versions
        # where one that failed is not the only one, the others answer for it
        if v.weight and not v.ready and not (v.version in failed and default.ready)
    ]
    ready = tuple(f"{model.name} {v.version}" for model in catalog.models for v in model.versions if v.ready)
    if not default.served:
        return Readiness("the router to start", ready)
    if missing:  # the versions that unpinned requests may get; the others may follow
        return Readiness("a replica of " + ", ".join(missing), ready, tuple(awaited(catalog)))
    if status != 200:
        return Readiness("the frontend to be ready", ready, tuple(awaited(catalog)))
    return Readiness("", ready, tuple(awaited(catalog)))


async def ask(client: httpx.AsyncClient) -> Readiness:
    """The readiness of a server; an unreachable server is a state, not an error."""
    try:
        status = (await client.get("/readyz")).status_code
        answer = await client.get("/models")
        catalog = Catalog.model_validate_json(answer.content) if answer.status_code == 200 else None
    except httpx.HTTPError:
        return judge(None, None)
    except ValidationError:
        return judge(status, None)
    return judge(status, catalog)
