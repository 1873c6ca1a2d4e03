"""SAM 2 for pictures, from a local folder: it cuts out what the caller's hints point at.

Source: N. Ravi et al., "SAM 2: Segment Anything in Images and Videos", 2024; the class is transformers' own. Without
hints, what GrabCut finds stands in for them.

Parameters of a version, else from matte.yaml:
    mean, std: per channel, else from preprocessor_config.json, else ImageNet's.
    refine: ``guided`` fits the alpha to the picture's edges; ``vitmatte``: see that module.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import torch
from matte_core.contracts.catalog import VersionConfig
from matte_core.contracts.options import Hint
from torch import Tensor
from torch.nn import functional
from transformers import AutoConfig, Sam2Config, Sam2Model

from matte_inference.families.base import Alpha, FamilyParameters, Local, Prepared, parameters_of, to_size, weights
from matte_inference.families.grabcut import cleaned, find_subject, grown
from matte_inference.families.hf import colors, refuse_code
from matte_inference.families.torch_common import chosen_device, inference, placed, stacked, unstacked
from matte_inference.pixels.arrays import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    Float32Array,
    Pixels,
    UInt8Array,
    fit_within,
    normalize,
    resize,
)

#: how a prompt's points are meant; a box is its two corners
_OUTSIDE, _INSIDE, _TOP_LEFT, _BOTTOM_RIGHT = 0, 1, 2, 3
#: published for videos, and holding the model for pictures
_TYPES = ("sam2", "sam2_video")
#: where saliency is looked for, pixels of the longer side; below the other, a picture has none
_SIDE, _LEAST = 320, 8


class Point(NamedTuple):
    """Of a prompt: a place in shares of the picture, and how it is meant."""

    x: float
    y: float
    meant: int


Prompt = tuple[Point, ...]


class Parameters(FamilyParameters):
    """The family's parameters, with what the folder's preprocessor says filled in."""

    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD


@dataclass(frozen=True, slots=True)
class Asked:
    """One picture, float32 (3, side, side), and what of it: the alpha is the union of the prompts' masks."""

    picture: Float32Array
    prompts: tuple[Prompt, ...]


class Sam2Segmenter(Local):
    """Runs one model."""

    def __init__(self, model: Any, parameters: Parameters, *, digest: str, device: str) -> None:
        self._side = int(model.config.prompt_encoder_config.image_size)
        self._model, self._parameters = placed(model, device), parameters
        self.digest, self.device = digest, device

    def prepare(self, pixels: Pixels) -> Prepared:
        """An :class:`Asked`; the aspect is not kept, as in the model's own processor."""
        picture = normalize(resize(pixels.rgb, self._side, self._side), self._parameters.mean, self._parameters.std)
        hints = pixels.hints
        if not any(hint.subject for hint in hints):
            hints = (*guessed(pixels.rgb), *hints)
        return Asked(picture, prompts_of(hints))

    def forward(self, batch: Sequence[Prepared]) -> list[Alpha]:
        """Alphas at the network's size, float32 0 … 1: the pictures are read together, the prompts answered singly."""
        with inference(self.device):
            maps = self._model.get_image_embeddings(stacked([asked.picture for asked in batch], self.device))
            masks = [self._union([m[i : i + 1] for m in maps], asked.prompts) for i, asked in enumerate(batch)]
            return [*unstacked(torch.stack(masks))]

    def finish(self, pixels: Pixels, alpha: Alpha) -> UInt8Array:
        """The alpha at the picture's size."""
        return to_size(pixels, alpha, guided=self._parameters.refine == "guided")

    def _union(self, maps: list[Tensor], prompts: Sequence[Prompt]) -> Tensor:
        logits = torch.stack([self._best(maps, prompt) for prompt in prompts]).amax(dim=0)
        size = (self._side, self._side)
        return functional.interpolate(logits[None, None], size, mode="bilinear", align_corners=False)[0, 0].sigmoid()

    def _best(self, maps: list[Tensor], prompt: Prompt) -> Tensor:
        """The logits (h, w) of the mask that the model trusts most; a single point leaves it three to choose from."""
        points = torch.tensor([[[(x * self._side, y * self._side) for x, y, _ in prompt]]], device=self.device)
        labels = torch.tensor([[[label for *_, label in prompt]]], device=self.device)
        output = self._model(
            image_embeddings=maps, input_points=points, input_labels=labels, multimask_output=len(prompt) == 1
        )
        best = int(output.iou_scores[0, 0].argmax())
        return output.pred_masks[0, 0, best].float()  # type: ignore[no-any-return]


# --- hints --------------------------------------------------------------------------------------------------------


def prompts_of(hints: Sequence[Hint]) -> tuple[Prompt, ...]:
    """One prompt per box, with the subject's points in it; one for the subject's points that are in no box.

    What is not the subject is so for all of them.
    """
    boxes = [hint for hint in hints if hint.is_box]
    points = [hint for hint in hints if hint.subject and not hint.is_box]
    outside = _meant((hint for hint in hints if not hint.subject), _OUTSIDE)
    found = [(*_corners(box), *_meant((p for p in points if _within(p, box)), _INSIDE), *outside) for box in boxes]
    loose = _meant((p for p in points if not any(_within(p, box) for box in boxes)), _INSIDE)
    return tuple(found) + (((*loose, *outside),) if loose else ())


def _meant(points: Iterable[Hint], meant: int) -> Prompt:
    return tuple(Point(point.at[0], point.at[1], meant) for point in points)


def _corners(box: Hint) -> Prompt:
    left, top, right, bottom = box.at
    return Point(left, top, _TOP_LEFT), Point(right, bottom, _BOTTOM_RIGHT)


def _within(point: Hint, box: Hint) -> bool:
    (x, y), (left, top, right, bottom) = point.at, box.at
    return left <= x <= right and top <= y <= bottom


def guessed(rgb: UInt8Array) -> tuple[Hint, ...]:
    """Hints for a picture that came with none: a box around what GrabCut finds from saliency, and a point deep in it.

    The picture's center, where nothing stands out.
    """
    small = resize(rgb, *fit_within(*rgb.shape[:2], side=_SIDE))
    part = _heaviest(small) if min(small.shape[:2]) >= _LEAST else np.zeros((1, 1), np.uint8)
    if not part.any() or part.all():
        return (Hint((0.5, 0.5)),)
    height, width = part.shape
    left, top, wide, high = cv2.boundingRect(part)
    depth = cv2.distanceTransform(cv2.copyMakeBorder(part, 1, 1, 1, 1, cv2.BORDER_CONSTANT), cv2.DIST_L2, 3)
    y, x = np.unravel_index(int(depth[1:-1, 1:-1].argmax()), part.shape)
    box = Hint((left / width, top / height, (left + wide) / width, (top + high) / height))
    return box, Hint(((float(x) + 0.5) / width, (float(y) + 0.5) / height))


def _heaviest(rgb: UInt8Array) -> UInt8Array:
    """The connected part of the subject with the most saliency in it: uint8 (H, W) of 0 and 1."""
    where = find_subject(rgb)
    mask = cleaned(grown(rgb, where), where.likely)
    count, labels = cv2.connectedComponents(mask, connectivity=4)
    weights = np.bincount(labels.ravel(), where.likely.ravel(), minlength=count)
    weights[0] = -1
    return np.where(labels == weights.argmax(), mask, 0).astype(np.uint8)


# --- loading ------------------------------------------------------------------------------------------------------


def read_model(folder: Path) -> Any:
    """The SAM 2 in ``folder``, from safetensors alone; of one for videos, the part for pictures.

    Raises:
        FileNotFoundError: there is no config.json.
        ValueError: it is another model's folder, brings code of its own, or lacks weights.
        OSError: there are no safetensors.
    """
    refuse_code(folder)
    kind = AutoConfig.from_pretrained(folder, trust_remote_code=False, local_files_only=True)
    if kind.model_type not in _TYPES:
        raise ValueError(f"{folder} has a model of type {kind.model_type!r}, not one of {', '.join(_TYPES)}")
    parts = {name: getattr(kind, name) for name in Sam2Config.sub_configs_defaults}
    model, report = Sam2Model.from_pretrained(
        folder, config=Sam2Config(**parts), use_safetensors=True, dtype=torch.float32, local_files_only=True,
        output_loading_info=True,
    )  # fmt: skip
    if missing := sorted(report["missing_keys"]):
        raise ValueError(f"{folder} lacks {len(missing)} tensors of SAM 2, such as {missing[0]}")
    return model


def load(config: VersionConfig, device: str | None = None) -> Sam2Segmenter:
    """The version from the folder ``config.source``.

    Raises:
        FileNotFoundError, ValueError, OSError: see :func:`read_model`; no source, weights that cannot be had, or
            wrong parameters.
    """
    with weights(config) as ready:
        parameters = parameters_of(Parameters, config, ready, colors(ready.folder))
        model = read_model(ready.folder)
    return Sam2Segmenter(model, parameters, digest=ready.digest, device=chosen_device(config, device))
