"""Writes the CRDs of charts/matte-crds from the contracts: python scripts/crds.py [--check]"""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import generated
import yaml
from crd_schema import Schema, structural
from matte_core.contracts.k8s import GROUP, VERSION
from matte_core.contracts.k8s.common import Resource
from matte_core.contracts.k8s.model import Model, ModelVersion
from matte_core.contracts.k8s.pool import Pool

TEMPLATES = generated.ROOT / "charts/matte-crds/templates"
HEADER = "# Made by scripts/crds.py from matte_core.contracts.k8s (make crds): change the contracts, not this file.\n"
Column = dict[str, Any]


def _column(name: str, path: str, kind: str = "string", description: str = "", *, wide: bool = False) -> Column:
    """A printer column; ``wide``: only with ``kubectl get -o wide``."""
    column: Column = {"name": name, "type": kind, "jsonPath": path}
    if description:
        column["description"] = description
    return column | ({"priority": 1} if wide else {})


_READY = _column("Ready", '.status.conditions[?(@.type=="Ready")].status')
_REASON = _column("Reason", '.status.conditions[?(@.type=="Ready")].reason')
_AGE = _column("Age", ".metadata.creationTimestamp", "date")


@dataclass(frozen=True)
class Definition:
    """What a CustomResourceDefinition has besides its schema."""

    contract: type[Resource]
    short_name: str
    columns: tuple[Column, ...]
    subresources: dict[str, Any] = field(default_factory=lambda: {"status": {}})


DEFINITIONS = (
    Definition(
        Pool,
        "mpool",
        (
            _READY,
            _column("Workers", ".status.workers", "integer", "Ready worker pods"),
            _column("Desired", ".status.desiredWorkers", "integer", "Worker pods that Ray currently wants"),
            _column("GPUs", ".spec.workers.gpus", "integer", "GPUs per worker pod"),
            _column("Models", ".status.models", "integer", "Model versions served by this Pool"),
            _REASON,
            _AGE,
            _column("RayService", ".status.rayService", wide=True),
        ),
    ),
    Definition(
        Model,
        "mmodel",
        (
            _READY,
            _column("Version", ".spec.version", description="Version in the spec"),
            _column("Serving", ".status.readyVersion", description="Newest version that can answer"),
            _column("Family", ".spec.family"),
            _column("Pool", ".spec.pool"),
            _REASON,
            _AGE,
            _column("Replicas", ".spec.replicas", "integer", wide=True),
            _column("Default", ".spec.default", "boolean", wide=True),
            _column("Remote", ".spec.remote.gradio.url", wide=True),
        ),
        {"status": {}, "scale": {"specReplicasPath": ".spec.replicas", "statusReplicasPath": ".status.replicas"}},
    ),
    Definition(
        ModelVersion,
        "mversion",
        (
            _column("Model", ".spec.model"),
            _column("Version", ".spec.version"),
            _READY,
            _column("Family", ".spec.family"),
            _column("Pool", ".spec.pool"),
            _REASON,
            _AGE,
            _column(
                "Download", ".status.download.percent", "integer", "Percent of the weights that are there", wide=True
            ),
            _column("Source", ".spec.source", wide=True),
            _column("Application", ".status.application", wide=True),
        ),
    ),
)


def definitions() -> dict[str, dict[str, Any]]:
    """CustomResourceDefinitions by plural name. Helm keeps them, and with them all objects, on uninstall."""
    found = {}
    for definition in DEFINITIONS:
        kind = definition.contract.__name__
        singular, plural = kind.lower(), f"{kind.lower()}s"
        names = {"kind": kind, "listKind": f"{kind}List", "plural": plural, "singular": singular}
        version = {
            "name": VERSION, "served": True, "storage": True, "additionalPrinterColumns": list(definition.columns),
            "subresources": definition.subresources,
            "schema": {"openAPIV3Schema": object_schema(definition.contract)},
        }  # fmt: skip
        found[plural] = {
            "apiVersion": "apiextensions.k8s.io/v1",
            "kind": "CustomResourceDefinition",
            "metadata": {
                "name": f"{plural}.{GROUP}",
                "annotations": {"helm.sh/resource-policy": "keep"},
                "labels": {"app.kubernetes.io/name": "matte-crds", "app.kubernetes.io/part-of": "matte"},
            },
            "spec": {
                "group": GROUP,
                "scope": "Namespaced",
                "names": names | {"shortNames": [definition.short_name], "categories": ["matte"]},
                "versions": [version],
            },
        }
    return found


def object_schema(contract: type[Resource]) -> Schema:
    """The structural schema of an object, without the content of ``metadata``, which the API server validates."""
    schema = structural(contract)
    common = {"apiVersion": {"type": "string"}, "kind": {"type": "string"}, "metadata": {"type": "object"}}
    return schema | {"required": ["spec"], "properties": schema["properties"] | common}


def files() -> dict[Path, str]:
    found = {}
    for plural, definition in definitions().items():
        text = HEADER + yaml.safe_dump(definition, sort_keys=False, width=120, allow_unicode=True)
        if "{{" in text:
            raise ValueError(f"{plural}: helm would take {{{{ for a template")
        found[TEMPLATES / f"{plural}.yaml"] = text
    return found


if __name__ == "__main__":
    sys.exit(generated.main(files(), "crds"))
