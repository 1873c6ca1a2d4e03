"""Which families there are. Each is imported only when it is asked for, so grabcut needs no torch."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any

from matte_core.contracts.catalog import VersionConfig

from matte_inference.families import grabcut
from matte_inference.families.base import Segmenter, refuse_absent

#: families that need more than every inference image has, by module
_MODULES: Mapping[str, str] = {
    "unet": "matte_inference.families.unet",
    "transformers": "matte_inference.families.hf",
    "birefnet": "matte_inference.families.birefnet",
    "sam2": "matte_inference.families.sam2",
    "gradio": "matte_inference.families.remote",
}
#: a stage after any of them
_REFINEMENT = "matte_inference.families.vitmatte"
FAMILIES = ("grabcut", *_MODULES)


def load(config: VersionConfig, device: str | None = None) -> Segmenter:
    """The version, loaded, its weights checked against their digest.

    Args:
        config: which version of which family, and from where.
        device: ``cpu`` or ``cuda``; None: cuda where there is one and ``config.num_gpus`` asks for it.

    Raises:
        ValueError: an unknown family or parameter.
        WeightsError: ``config.source`` cannot be had, or is not what is pinned.
        RuntimeError: torch is not installed.
    """
    if config.parameters.get("refine") == "vitmatte":
        refined: Segmenter = _module(config, _REFINEMENT).load(config, device, load)
        return refined
    if config.family == "grabcut":
        return grabcut.load(config)
    if config.family not in _MODULES:
        raise ValueError(f"{config.app}: unknown family {config.family!r}; there are {', '.join(FAMILIES)}")
    refuse_absent(config)  # said even where torch is missing too
    segmenter: Segmenter = _module(config, _MODULES[config.family]).load(config, device)
    return segmenter


def _module(config: VersionConfig, name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("matte_"):
            raise
        raise RuntimeError(
            f"{config.app}: the family {config.family} needs {error.name}, which is not installed; make run TORCH=1"
        ) from error
