"""The CustomResourceDefinitions, from the contracts."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from matte_core.contracts.k8s import GROUP, VERSION
from matte_core.contracts.k8s.common import Resource
from matte_core.contracts.k8s.model import Model, ModelVersion
from matte_core.contracts.k8s.pool import Pool

from generators.crd_schema import Schema, structural

Column = dict[str, Any]


def _column(name: str, path: str, kind: str = "string", description: str = "", *, wide: bool = False) -> Column:
    """A column of ``kubectl get``; a wide one is shown with ``-o wide`` only."""
    column: Column = {"name": name, "type": kind, "jsonPath": path}
    if description:
        column["description"] = description
    return column | ({"priority": 1} if wide else {})


def _condition(name: str, field_name: str, type_: str = "Ready") -> Column:
    return _column(name, f'.status.conditions[?(@.type=="{type_}")].{field_name}')


_AGE = _column("Age", ".metadata.creationTimestamp", "date")


@dataclass(frozen=True)
class Definition:
    """What a CustomResourceDefinition says beside the schema."""

    contract: type[Resource]
    short: str
    columns: tuple[Column, ...]
    subresources: dict[str, Any] = field(default_factory=lambda: {"status": {}})

    @property
    def kind(self) -> str:
        """``ModelVersion``."""
        return self.contract.__name__

    @property
    def plural(self) -> str:
        """``modelversions``."""
        return f"{self.kind.lower()}s"


DEFINITIONS = (
    Definition(
        Pool,
        "mpool",
        (
            _condition("Ready", "status"),
            _column("Workers", ".status.workers", "integer", "Ready worker pods"),
            _column("Desired", ".status.desiredWorkers", "integer", "Worker pods that Ray currently wants"),
            _column("GPUs", ".spec.workers.gpus", "integer", "GPUs per worker pod"),
            _column("Models", ".status.models", "integer", "Model versions served by this Pool"),
            _condition("Reason", "reason"),
            _AGE,
            _column("RayService", ".status.rayService", wide=True),
        ),
    ),
    Definition(
        Model,
        "mmodel",
        (
            _condition("Ready", "status"),
            _column("Version", ".spec.version", description="Version in the spec"),
            _column("Serving", ".status.readyVersion", description="Newest version that can answer"),
            _column("Family", ".spec.family"),
            _column("Pool", ".spec.pool"),
            _condition("Reason", "reason"),
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
            _condition("Ready", "status"),
            _column("Family", ".spec.family"),
            _column("Pool", ".spec.pool"),
            _condition("Reason", "reason"),
            _AGE,
            _column("Source", ".spec.source", wide=True),
            _column("Application", ".status.application", wide=True),
        ),
    ),
)


def definitions() -> Iterator[tuple[str, dict[str, Any]]]:
    """Each plural name with its CustomResourceDefinition."""
    for definition in DEFINITIONS:
        yield definition.plural, rendered(definition)


def rendered(definition: Definition) -> dict[str, Any]:
    """The CustomResourceDefinition. Helm keeps it, and with it everybody's objects, when its release goes."""
    kind, plural = definition.kind, definition.plural
    names = {"kind": kind, "listKind": f"{kind}List", "plural": plural, "singular": kind.lower()}
    return {
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
            "names": names | {"shortNames": [definition.short], "categories": ["matte"]},
            "versions": [_version(definition)],
        },
    }


def _version(definition: Definition) -> dict[str, Any]:
    return {
        "name": VERSION,
        "served": True,
        "storage": True,
        "additionalPrinterColumns": list(definition.columns),
        "subresources": definition.subresources,
        "schema": {"openAPIV3Schema": object_schema(definition.contract)},
    }


def object_schema(contract: type[Resource]) -> Schema:
    """The structural schema of an object; what every object has is left to the API server."""
    schema = structural(contract)
    common = {"apiVersion": {"type": "string"}, "kind": {"type": "string"}, "metadata": {"type": "object"}}
    return schema | {"required": ["spec"], "properties": schema["properties"] | common}
