"""Names of the objects that the operator creates."""

from __future__ import annotations

import hashlib

from matte_core.contracts.catalog import app_name

_LABEL_MAX = 63


def ray_service_name(pool: str) -> str:
    """Name of a Pool's RayService and of its PodDisruptionBudget."""
    return f"matte-{pool}"


def model_version_name(model: str, version: str) -> str:
    """Name of a ModelVersion: the Serve application's name where that is a DNS label, else with a hash."""
    name = app_name(model, version)
    if len(name) <= _LABEL_MAX and name == name.lower():
        return name
    digest = hashlib.sha256(name.encode()).hexdigest()[:8]
    return f"{name.lower()[: _LABEL_MAX - 9].rstrip('-')}-{digest}"
