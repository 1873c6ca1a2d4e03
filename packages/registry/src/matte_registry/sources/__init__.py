"""Where versions lie; each kind through its own client, imported only when it is used."""

from __future__ import annotations

import importlib
from collections.abc import Mapping

from matte_core.contracts.registry import Reason
from matte_core.domain.source import Kind, Source, parse_source

from matte_registry.errors import RegistryError
from matte_registry.settings import RegistrySettings
from matte_registry.sources.base import Store

#: module, class, and the extra of the package that brings its client
_KINDS: Mapping[Kind, tuple[str, str, str | None]] = {
    Kind.FILE: ("local", "LocalFolder", None),
    Kind.PVC: ("local", "LocalFolder", None),
    Kind.S3: ("objects", "Objects", None),
    Kind.GS: ("objects", "Objects", None),
    Kind.HF: ("hub", "Hub", None),
    Kind.OCI: ("oci", "Oci", None),
    Kind.MLFLOW: ("mlflow", "Mlflow", "mlflow"),
}


def parsed(text: str) -> Source:
    """A source in parts.

    Raises:
        RegistryError: SOURCE_INVALID.
    """
    try:
        return parse_source(text)
    except ValueError as error:
        raise RegistryError(Reason.SOURCE_INVALID, str(error)) from None


def open_store(source: Source, settings: RegistrySettings) -> Store:
    """The place that a source names; nothing is asked of it yet.

    Raises:
        RegistryError: its client is not installed, or the settings lack something it needs.
    """
    module, name, extra = _KINDS[source.kind]
    try:
        kind = getattr(importlib.import_module(f"matte_registry.sources.{module}"), name)
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("matte_"):
            raise
        package = f"matte-registry[{extra}]" if extra else "matte-registry"
        raise RegistryError(
            Reason.CLIENT_MISSING, f"{source.kind}:// needs {error.name}, which is not installed: install {package}"
        ) from None
    store: Store = kind(source, settings)
    return store
