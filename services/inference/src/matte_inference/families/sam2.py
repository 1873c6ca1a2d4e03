"""SAM 2 for pictures, from a local folder: it cuts out what the caller's hints point at.

Source: N. Ravi et al., "SAM 2: Segment Anything in Images and Videos", 2024; the class is transformers' own. Without
hints, it is prompted with what GrabCut finds.

Parameters of a version, else from matte.yaml:
    mean, std: per channel, else from preprocessor_config.json, else ImageNet's.
    refine: ``guided`` fits the alpha to the picture's edges; ``vitmatte``: see that module.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
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

from matte_inference.families import base
from matte_inference.families.base import Alpha, FamilyParameters, LocalSegmenter, Prepared
from matte_inference.families.grabcut import find_subject, remove_specks, run_grabcut
from matte_inference.families.hf import read_mean_and_std, refuse_custom_code
from matte_inference.families.torch_common import choose_device, inference_mode, to_arrays, to_device, to_tensor
from matte_inference.pixels import arrays
from matte_inference.pixels.arrays import IMAGENET_MEAN, IMAGENET_STD, Float32Array, Pixels, UInt8Array

#: labels of a prompt's points; a box is its two corners
_OUTSIDE, _INSIDE, _TOP_LEFT, _BOTTOM_RIGHT = 0, 1, 2, 3
#: points that stand for a stroke
_STROKE_POINTS = 5
#: the models for videos contain the one for pictures
_TYPES = ("sam2", "sam2_video")
#: saliency is computed at this size (pixels of the longer side); pictures with a shorter side than this have none
_SIDE, _MIN_SIDE = 320, 8


class Point(NamedTuple):
    """A labeled point of a prompt, in shares of the picture."""

    x: float
    y: float
    label: int


Prompt = tuple[Point, ...]


class Parameters(FamilyParameters):
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD


@dataclass(frozen=True, slots=True)
class PromptedPicture:
    """A picture, float32 (3, side, side), whose alpha is the union of the prompts' masks."""

    picture: Float32Array
    prompts: tuple[Prompt, ...]


class Sam2Segmenter(LocalSegmenter):
    def __init__(self, model: Any, parameters: Parameters, *, digest: str, device: str) -> None:
        self._side = int(model.config.prompt_encoder_config.image_size)
        self._model, self._parameters = to_device(model, device), parameters
        self.digest, self.device = digest, device

    def prepare(self, pixels: Pixels) -> Prepared:
        """A :class:`PromptedPicture`; the aspect is not kept, as in the model's own processor."""
        scaled = arrays.resize(pixels.rgb, self._side, self._side)
        picture = arrays.normalize(scaled, self._parameters.mean, self._parameters.std)
        hints = pixels.hints
        if not any(hint.subject for hint in hints):
            hints = (*default_hints(pixels.rgb), *hints)
        return PromptedPicture(picture, to_prompts(hints))

    def forward(self, batch: Sequence[Prepared]) -> list[Alpha]:
        """Alphas at the network's size, float32 0 … 1. The pictures are embedded together, the prompts run singly."""
        with inference_mode(self.device):
            maps = self._model.get_image_embeddings(to_tensor([item.picture for item in batch], self.device))
            masks = [self._union([m[i : i + 1] for m in maps], item.prompts) for i, item in enumerate(batch)]
            return [*to_arrays(torch.stack(masks))]

    def finish(self, pixels: Pixels, alpha: Alpha) -> UInt8Array:
        unhinted = replace(pixels, hints=())  # the prompts were the hints
        return base.to_size(unhinted, alpha, guided=self._parameters.refine == "guided")

    def _union(self, maps: list[Tensor], prompts: Sequence[Prompt]) -> Tensor:
        logits = torch.stack([self._best_mask(maps, prompt) for prompt in prompts]).amax(dim=0)
        size = (self._side, self._side)
        return functional.interpolate(logits[None, None], size, mode="bilinear", align_corners=False)[0, 0].sigmoid()

    def _best_mask(self, maps: list[Tensor], prompt: Prompt) -> Tensor:
        """The logits (h, w) of the mask with the highest predicted IoU; a single point gives three masks."""
        points = torch.tensor([[[(x * self._side, y * self._side) for x, y, _ in prompt]]], device=self.device)
        labels = torch.tensor([[[label for *_, label in prompt]]], device=self.device)
        output = self._model(
            image_embeddings=maps, input_points=points, input_labels=labels, multimask_output=len(prompt) == 1
        )
        best = int(output.iou_scores[0, 0].argmax())
        return output.pred_masks[0, 0, best].float()  # type: ignore[no-any-return]


def to_prompts(hints: Sequence[Hint]) -> tuple[Prompt, ...]:
    """One prompt per box, with the subject's points in it, and one for the subject's points outside of all boxes.
    Points of the background are in every prompt. Strokes count as points along them.
    """
    boxes = [hint for hint in hints if hint.is_box]
    hints = [point for hint in hints for point in along(hint)]
    points = [hint for hint in hints if hint.subject and not hint.is_box]

    def labeled(points: list[Hint], label: int) -> Prompt:
        return tuple(Point(point.at[0], point.at[1], label) for point in points)

    outside = labeled([hint for hint in hints if not hint.subject], _OUTSIDE)
    prompts = []
    for box in boxes:
        left, top, right, bottom = box.at
        inside = labeled([point for point in points if _within(point, box)], _INSIDE)
        prompts.append((Point(left, top, _TOP_LEFT), Point(right, bottom, _BOTTOM_RIGHT), *inside, *outside))
    loose = labeled([point for point in points if not any(_within(point, box) for box in boxes)], _INSIDE)
    if loose:
        prompts.append((*loose, *outside))
    return tuple(prompts)


def along(hint: Hint) -> list[Hint]:
    """The points of a stroke, spread evenly over its length; any other hint as it is."""
    if hint.width is None:
        return [hint]
    places = np.array(hint.points)
    lengths = np.concatenate(([0.0], np.hypot(*np.diff(places, axis=0).T).cumsum()))
    at = np.linspace(0, lengths[-1], _STROKE_POINTS)
    xy = zip(*(np.interp(at, lengths, places[:, axis]) for axis in (0, 1)), strict=True)
    return [Hint((float(x), float(y)), subject=hint.subject) for x, y in xy]


def _within(point: Hint, box: Hint) -> bool:
    (x, y), (left, top, right, bottom) = point.at, box.at
    return left <= x <= right and top <= y <= bottom


def default_hints(rgb: UInt8Array) -> tuple[Hint, ...]:
    """Hints for a picture without any: a box around the most salient part that GrabCut finds, and a point deep in it;
    the picture's center if there is none.
    """
    small = arrays.resize(rgb, *arrays.fit_within(*rgb.shape[:2], side=_SIDE))
    part = np.zeros((1, 1), np.uint8)
    if min(small.shape[:2]) >= _MIN_SIDE:
        where = find_subject(small)
        mask = remove_specks(run_grabcut(small, where), where.likely)
        count, labels = cv2.connectedComponents(mask, connectivity=4)
        weights = np.bincount(labels.ravel(), where.likely.ravel(), minlength=count)
        weights[0] = -1
        part = np.where(labels == weights.argmax(), mask, 0).astype(np.uint8)
    if not part.any() or part.all():
        return (Hint((0.5, 0.5)),)
    height, width = part.shape
    left, top, wide, high = cv2.boundingRect(part)
    depth = cv2.distanceTransform(cv2.copyMakeBorder(part, 1, 1, 1, 1, cv2.BORDER_CONSTANT), cv2.DIST_L2, 3)
    y, x = np.unravel_index(int(depth[1:-1, 1:-1].argmax()), part.shape)
    box = Hint((left / width, top / height, (left + wide) / width, (top + high) / height))
    return box, Hint(((float(x) + 0.5) / width, (float(y) + 0.5) / height))


def read_model(folder: Path) -> Any:
    """The SAM 2 in ``folder``; of a model for videos, the part for pictures."""
    refuse_custom_code(folder)
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
    with base.open_weights(config) as ready:
        parameters = base.resolve_parameters(Parameters, config, ready, read_mean_and_std(ready.folder))
        model = read_model(ready.folder)
    return Sam2Segmenter(model, parameters, digest=ready.digest, device=choose_device(config, device))
