"""Which families there are. Each is imported only when it is asked for, so grabcut needs no torch."""

from __future__ import annotations

import importlib
from collections.abc import Mapping

from matte_core.contracts.catalog import VersionConfig

from matte_inference.families import grabcut
from matte_inference.families.base import Segmenter

#: families that need more than every inference image has, by module
_MODULES: Mapping[str, str] = {
    "unet": "matte_inference.families.unet",
    "transformers": "matte_inference.families.hf",
    "gradio": "matte_inference.families.remote",
}
FAMILIES = ("grabcut", *_MODULES)


def load(config: VersionConfig, device: str | None = None) -> Segmenter:
    """The version, loaded, its weights checked against their digest.

    Args:
        config: which version of which family, and from where.
        device: ``cpu`` or ``cuda``; None: cuda where there is one and ``config.num_gpus`` asks for it.

    Raises:
        ValueError: an unknown family or parameter, or weights that are not what the configuration says.
        FileNotFoundError: there are no weights at ``config.source``.
        RuntimeError: torch is not installed.
    """
    if config.family == "grabcut":
        return grabcut.load(config)
    if config.family not in _MODULES:
        raise ValueError(f"{config.app}: unknown family {config.family!r}; there are {', '.join(FAMILIES)}")
    try:
        module = importlib.import_module(_MODULES[config.family])
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("matte_"):
            raise
        raise RuntimeError(
            f"{config.app}: the family {config.family} needs {error.name}, which is not installed; make run TORCH=1"
        ) from error
    segmenter: Segmenter = module.load(config, device)
    return segmenter
