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
from transformers import AutoConfig, AutoModelForSemanticSegmentation, AutoModelForUniversalSegmentation

from matte_inference.families.base import open_weights, resolve_parameters
from matte_inference.families.torch_common import NetworkParameters, NetworkSegmenter, choose_device

_SIZE = 512
_LOCAL = {"trust_remote_code": False, "local_files_only": True}


class Parameters(NetworkParameters):
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


class TransformersSegmenter(NetworkSegmenter):
    _parameters: Parameters

    def _alphas(self, pictures: Tensor) -> Tensor:
        output, parameters = self._network(pixel_values=pictures), self._parameters
        if "class_queries_logits" in output:  # a universal model
            classes, masks = output.class_queries_logits.float(), output.masks_queries_logits.float()
            probabilities = query_probabilities(classes, masks)
        elif output.logits.shape[1] == 1:
            return output.logits[:, 0].float().sigmoid()  # type: ignore[no-any-return]
        else:
            probabilities = output.logits.float().softmax(dim=1)
        if parameters.background is not None:
            return 1 - probabilities[:, parameters.background]
        if parameters.foreground is None:
            return probabilities[:, 0]
        return probabilities[:, list(parameters.foreground)].sum(dim=1).clamp(max=1)


def query_probabilities(classes: Tensor, masks: Tensor) -> Tensor:
    """Class probabilities per pixel (N, C, h, w), summing to at most 1, from queries.

    Source: B. Cheng et al., "Per-Pixel Classification is Not All You Need for Semantic Segmentation", 2021, §3.4;
    pixels that several queries claim are shared out, and pixels that no query claims stay unclaimed.
    """
    claims = torch.einsum("nqc,nqhw->nchw", classes.softmax(dim=-1)[..., :-1], masks.sigmoid())
    return claims / claims.sum(dim=1, keepdim=True).clamp(min=1)


def refuse_custom_code(folder: Path) -> None:
    """Raises ValueError if a configuration has ``auto_map``, FileNotFoundError if there is no config.json."""
    for path in sorted({folder / "config.json", *folder.rglob("*.json")}):
        content = json.loads(path.read_text())
        if isinstance(content, dict) and "auto_map" in content:
            raise ValueError(
                f"{path} has auto_map: the model brings its own code, which Matte never executes;"
                " choose an architecture that transformers has itself"
            )


def read_preprocessor(folder: Path) -> dict[str, Any]:
    """Those of size, mean and std that preprocessor_config.json has."""
    path = folder / "preprocessor_config.json"
    if not path.exists():
        return {}
    content = json.loads(path.read_text())
    size = content.get("size")
    side = max((v for v in size.values() if isinstance(v, int)), default=None) if isinstance(size, dict) else size
    fields = {"size": side, "mean": content.get("image_mean"), "std": content.get("image_std")}
    return {name: value for name, value in fields.items() if value is not None}


def read_mean_and_std(folder: Path) -> dict[str, Any]:
    return {name: value for name, value in read_preprocessor(folder).items() if name != "size"}


def read_model(folder: Path) -> Any:
    config = AutoConfig.from_pretrained(folder, **_LOCAL)
    if config.model_type == "oneformer":
        raise ValueError("OneFormer needs a task written as text beside the picture: choose another architecture")
    for auto in (AutoModelForSemanticSegmentation, AutoModelForUniversalSegmentation):
        if type(config) in auto._model_mapping:  # the only list of what it takes
            return auto.from_pretrained(folder, use_safetensors=True, dtype=torch.float32, **_LOCAL)
    raise ValueError(f"transformers has no semantic or universal segmentation class for {config.model_type!r}")


def load(config: VersionConfig, device: str | None = None) -> TransformersSegmenter:
    """Raises ValueError for wrong parameters or weights; FileNotFoundError or OSError for missing files."""
    with open_weights(config) as ready:
        refuse_custom_code(ready.folder)
        parameters = resolve_parameters(Parameters, config, ready, read_preprocessor(ready.folder))
        model = read_model(ready.folder)
    labels: int = model.config.num_labels
    ids = parameters.foreground if parameters.foreground is not None else (parameters.background,)
    if ids == (None,):
        if labels != 1:
            raise ValueError(f"the model has {labels} labels: parameters must name foreground or background")
    elif not ids or not all(i is not None and 0 <= i < labels for i in ids):
        raise ValueError(f"foreground and background are class ids of 0 … {labels - 1}")
    return TransformersSegmenter(model, parameters, digest=ready.digest, device=choose_device(config, device))
