"""Any native semantic or universal segmentation model of transformers, from a local folder.

Only classes of the transformers package itself run: a folder that asks for code of its own is refused.

Parameters of a version, else from matte.yaml:
    foreground: class ids whose probabilities sum to the alpha; or
    background: the class id whose probability is one minus the alpha.
    size: side of the network's input in pixels, else from preprocessor_config.json, else 512.
    mean, std: per channel, else from preprocessor_config.json, else ImageNet's.
    resize: ``letterbox`` keeps the picture's aspect.
    refine: ``guided`` fits the alpha to the picture's edges.
With one label, the alpha is its sigmoid and neither of the first two is needed.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Self

import torch
from matte_core.contracts.catalog import VersionConfig
from pydantic import Field, model_validator
from torch import Tensor
from transformers import (
    AutoConfig,
    AutoModelForSemanticSegmentation,
    AutoModelForUniversalSegmentation,
)

from matte_inference.families.base import parameters_of, weights
from matte_inference.families.torch_common import NetworkParameters, NetworkSegmenter, chosen_device

_SIZE = 512
_LOCAL = {"trust_remote_code": False, "local_files_only": True}


class Parameters(NetworkParameters):
    """The family's parameters, with what the folder's preprocessor says filled in."""

    foreground: tuple[int, ...] | None = None
    background: int | None = None
    size: int = Field(_SIZE, ge=32, le=4096)

    @property
    def shape(self) -> tuple[int, int]:
        return self.size, self.size

    @model_validator(mode="after")
    def _one(self) -> Self:
        if self.foreground is not None and self.background is not None:
            raise ValueError("foreground and background exclude each other")
        return self

    def check_labels(self, labels: int) -> None:
        """Refuses class ids that the model does not have, and a model whose alpha nothing says."""
        ids = self.foreground if self.foreground is not None else (self.background,)
        if ids == (None,):
            if labels != 1:
                raise ValueError(f"the model has {labels} labels: parameters must name foreground or background")
        elif not ids or not all(i is not None and 0 <= i < labels for i in ids):
            raise ValueError(f"foreground and background are class ids of 0 … {labels - 1}")


class TransformersSegmenter(NetworkSegmenter):
    """Runs one model; ``alpha_of`` is chosen by what the model's output has."""

    _parameters: Parameters

    def _alphas(self, pictures: Tensor) -> Tensor:
        return alpha_of(self._network(pixel_values=pictures), self._parameters)


def alpha_of(output: Any, parameters: Parameters) -> Tensor:
    """The foreground's probability, float (N, h, w), from a semantic or a universal model's output."""
    if "class_queries_logits" in output:
        chances = query_chances(output.class_queries_logits.float(), output.masks_queries_logits.float())
    elif output.logits.shape[1] == 1:
        return output.logits[:, 0].float().sigmoid()  # type: ignore[no-any-return]
    else:
        chances = output.logits.float().softmax(dim=1)
    if parameters.background is not None:
        return 1 - chances[:, parameters.background]
    if parameters.foreground is None:
        return chances[:, 0]
    return chances[:, list(parameters.foreground)].sum(dim=1).clamp(max=1)


def query_chances(classes: Tensor, masks: Tensor) -> Tensor:
    """Class probabilities per pixel (N, C, h, w), summing to at most 1, from queries.

    Source: B. Cheng et al., "Per-Pixel Classification is Not All You Need for Semantic Segmentation", 2021, §3.4;
    pixels claimed more than once are shared out, and what no query claims stays unclaimed.
    """
    claims = torch.einsum("nqc,nqhw->nchw", classes.softmax(dim=-1)[..., :-1], masks.sigmoid())
    return claims / claims.sum(dim=1, keepdim=True).clamp(min=1)


def refuse_code(folder: Path) -> None:
    """Refuses a folder whose configuration names code of its own.

    Raises:
        FileNotFoundError: there is no config.json.
        ValueError: a configuration has ``auto_map``.
    """
    for path in sorted({folder / "config.json", *folder.rglob("*.json")}):
        content = json.loads(path.read_text())
        if isinstance(content, dict) and "auto_map" in content:
            raise ValueError(
                f"{path} has auto_map: the model brings its own code, which Matte never executes;"
                " choose an architecture that transformers has itself"
            )


def preprocessing(folder: Path) -> dict[str, Any]:
    """Size, mean and std that preprocessor_config.json gives; what it does not give is absent."""
    path = folder / "preprocessor_config.json"
    if not path.exists():
        return {}
    content = json.loads(path.read_text())
    size = content.get("size")
    side = max((v for v in size.values() if isinstance(v, int)), default=None) if isinstance(size, dict) else size
    found = {"size": side, "mean": content.get("image_mean"), "std": content.get("image_std")}
    return {name: value for name, value in found.items() if value is not None}


def colors(folder: Path) -> dict[str, Any]:
    """Mean and std that preprocessor_config.json gives."""
    return {name: value for name, value in preprocessing(folder).items() if name != "size"}


def read_model(folder: Path) -> Any:
    """The model in ``folder``, from safetensors alone.

    Raises:
        ValueError: transformers has no segmentation class for it.
        OSError: there are no safetensors.
    """
    config = AutoConfig.from_pretrained(folder, **_LOCAL)
    if config.model_type == "oneformer":
        raise ValueError("OneFormer needs a task written as text beside the picture: choose another architecture")
    for auto in (AutoModelForSemanticSegmentation, AutoModelForUniversalSegmentation):
        if type(config) in auto._model_mapping:  # the only list of what it takes
            return auto.from_pretrained(folder, use_safetensors=True, dtype=torch.float32, **_LOCAL)
    raise ValueError(f"transformers has no semantic or universal segmentation class for {config.model_type!r}")


def load(config: VersionConfig, device: str | None = None) -> TransformersSegmenter:
    """The version from the folder ``config.source``.

    Raises:
        FileNotFoundError: there is no config.json.
        ValueError: no source, weights that cannot be had, code of its own, no such class, or wrong parameters.
    """
    with weights(config) as ready:
        refuse_code(ready.folder)
        parameters = parameters_of(Parameters, config, ready, preprocessing(ready.folder))
        model = read_model(ready.folder)
    parameters.check_labels(model.config.num_labels)
    return TransformersSegmenter(model, parameters, digest=ready.digest, device=chosen_device(config, device))
