"""The model families that inference has, and the fields of ``matte.yaml`` that each of them honors."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum


class Family(StrEnum):
    """The model families that inference has."""

    GRABCUT = "grabcut"
    UNET = "unet"
    TRANSFORMERS = "transformers"
    BIREFNET = "birefnet"
    SAM2 = "sam2"
    ONNX = "onnx"
    GRADIO = "gradio"


#: families that load weights from ``source``
FAMILIES_WITH_WEIGHTS = frozenset({Family.UNET, Family.TRANSFORMERS, Family.BIREFNET, Family.SAM2, Family.ONNX})
#: the refinement stage: it has weights and a ``matte.yaml``, but no Model names it as its family
VITMATTE = "vitmatte"

_NETWORK = frozenset({"size", "mean", "std", "preprocessing.resize", "postprocessing.refine"})
#: The fields of ``matte.yaml`` that a family honors, besides family, version, license, weights and card, which apply
#: to all. A file that sets any other field is refused: when it is pushed, verified, pulled and loaded.
HONORED_FIELDS: Mapping[str, frozenset[str]] = {
    Family.UNET: _NETWORK | {"postprocessing.activation"},
    Family.TRANSFORMERS: _NETWORK | {"parameters.foreground", "parameters.background"},
    Family.BIREFNET: _NETWORK | {"postprocessing.activation", "parameters.patches"},
    Family.SAM2: frozenset({"mean", "std", "postprocessing.refine"}),
    Family.ONNX: _NETWORK
    | {"preprocessing.filter", "preprocessing.scale", "preprocessing.multiple"}
    | {"postprocessing.activation", "postprocessing.normalize"}
    | {"parameters.file", "parameters.output", "parameters.classes", "parameters.gpu_provider"},
    VITMATTE: frozenset({"mean", "std"}),
}
#: ``size`` must be a multiple of this
SIZE_MULTIPLE: Mapping[str, int] = {Family.UNET: 16, Family.BIREFNET: 32}
