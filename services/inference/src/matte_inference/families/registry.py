"""Loads a version of any family. Each family's module is imported only when it is needed, so grabcut needs no torch."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any

from matte_core.contracts.catalog import VersionConfig
from matte_core.contracts.family import VITMATTE

from matte_inference.families import grabcut
from matte_inference.families.base import Segmenter, check_source_exists

#: modules of the families that need more than every inference image has
_MODULES: Mapping[str, str] = {
    "unet": "matte_inference.families.unet",
    "transformers": "matte_inference.families.hf",
    "birefnet": "matte_inference.families.birefnet",
    "sam2": "matte_inference.families.sam2",
    "onnx": "matte_inference.families.onnx",
    "gradio": "matte_inference.families.remote",
}
#: modules of the stages that can follow any of them, by the parameter ``refine``
_REFINEMENTS: Mapping[str, str] = {VITMATTE: "matte_inference.families.vitmatte"}
FAMILIES = ("grabcut", *_MODULES)


def load(config: VersionConfig, device: str | None = None) -> Segmenter:
    """The loaded version on ``device``; None: cuda if there is one and ``config.num_gpus`` asks for it, else cpu.

    Raises ValueError for an unknown family or parameter, WeightsError if ``config.source`` cannot be downloaded or has
    another digest, RuntimeError if torch is not installed.
    """
    if refinement := _REFINEMENTS.get(str(config.parameters.get("refine"))):
        return _import(config, refinement).load(config, device, load)  # type: ignore[no-any-return]
    if config.family == "grabcut":
        return grabcut.load(config)
    if config.family not in _MODULES:
        raise ValueError(f"{config.app}: unknown family {config.family!r}; there are {', '.join(FAMILIES)}")
    check_source_exists(config)  # reported even if torch is missing too
    return _import(config, _MODULES[config.family]).load(config, device)  # type: ignore[no-any-return]


def _import(config: VersionConfig, module: str) -> Any:
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("matte_"):
            raise
        raise RuntimeError(
            f"{config.app}: the family {config.family} needs {error.name}, which is not installed; make run TORCH=1"
        ) from error
