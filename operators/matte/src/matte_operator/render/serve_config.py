"""RouteTable and versions as Ray Serve's configuration: the text of ``serveConfigV2``, the same for the same input."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from matte_core.contracts.catalog import RouteTable, VersionConfig
from matte_core.contracts.family import Family
from matte_core.contracts.k8s.model import ModelVersionSpec

from matte_operator.domain.ray_state import ROUTER


def version_config(spec: ModelVersionSpec) -> VersionConfig:
    """A ModelVersion as inference loads it. ``replicas`` stays out: Serve changes them in place, not by ``args``."""
    parameters = dict(spec.parameters)
    if spec.remote:
        parameters |= {"url": spec.remote.gradio.url, "api_name": spec.remote.gradio.api_name}
    return VersionConfig(
        model=spec.model,
        version=spec.version,
        family=(spec.family or Family.GRADIO).value,
        source=spec.source,
        digest=spec.digest,
        parameters=parameters,
        license=spec.license,
        num_cpus=spec.resources.cpus,
        num_gpus=spec.resources.gpus,
        slots=spec.slots,
        threads=spec.threads,
        max_batch_size=spec.batching.max_size,
        batch_wait_seconds=spec.batching.wait_seconds,
    )


def serve_config(versions: Iterable[ModelVersionSpec], table: RouteTable) -> str:
    """``serveConfigV2`` of a Pool (JSON, which is YAML): the router with its table, then the versions by name."""
    apps = sorted((_version_app(spec) for spec in versions), key=lambda app: str(app["name"]))
    config = {"proxy_location": "Disabled", "applications": [_router_app(table), *apps]}
    return json.dumps(config, sort_keys=True, indent=1) + "\n"


def _router_app(table: RouteTable) -> dict[str, Any]:
    return {
        "name": ROUTER,
        "route_prefix": None,
        "import_path": "matte_inference.apps:router",
        "deployments": [{"name": "Router", "user_config": table.model_dump(mode="json")}],
    }


def _version_app(spec: ModelVersionSpec) -> dict[str, Any]:
    config = version_config(spec)
    return {
        "name": config.app,
        "route_prefix": None,
        "import_path": "matte_inference.apps:model_version",
        "args": config.model_dump(mode="json", exclude_defaults=True),
        "deployments": [{"name": "ModelVersion", "num_replicas": spec.replicas}],
    }
