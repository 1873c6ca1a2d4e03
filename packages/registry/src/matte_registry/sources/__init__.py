"""Where versions lie; each kind through its own client, imported only when it is used."""

from __future__ import annotations

import importlib
from collections.abc import Mapping

from matte_core.contracts.registry import Reason

from matte_registry.errors import RegistryError
from matte_registry.settings import RegistrySettings
from matte_registry.source_url import Scheme, Source, parse_source
from matte_registry.sources.base import Store

#: module, class, and the extra of the package that brings its client
_KINDS: Mapping[Scheme, tuple[str, str, str | None]] = {
    Scheme.FILE: ("local", "LocalFolder", None),
    Scheme.PVC: ("local", "LocalFolder", None),
    Scheme.S3: ("objects", "Objects", None),
    Scheme.GS: ("objects", "Objects", None),
    Scheme.HF: ("hub", "Hub", None),
    Scheme.OCI: ("oci", "Oci", None),
    Scheme.MLFLOW: ("mlflow", "Mlflow", "mlflow"),
    Scheme.CATALOG: ("known", "KnownModel", None),
    Scheme.NPM: ("npm", "NpmPackage", None),
    Scheme.HTTPS: ("web", "WebFile", None),
}


def parse(text: str) -> Source:
    """A parsed source URL. Raises RegistryError (SOURCE_INVALID)."""
    try:
        return parse_source(text)
    except ValueError as error:
        raise RegistryError(Reason.SOURCE_INVALID, str(error)) from None


def open_store(source: Source, settings: RegistrySettings) -> Store:
    """The place that a source names; nothing is asked of it yet.

    Raises:
        RegistryError: its client is not installed, or the settings lack something it needs.
    """
    module, name, extra = _KINDS[source.scheme]
    try:
        kind = getattr(importlib.import_module(f"matte_registry.sources.{module}"), name)
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("matte_"):
            raise
        package = f"matte-registry[{extra}]" if extra else "matte-registry"
        raise RegistryError(
            Reason.CLIENT_MISSING, f"{source.scheme}:// needs {error.name}, which is not installed: install {package}"
        ) from None
    store: Store = kind(source, settings)
    return store
