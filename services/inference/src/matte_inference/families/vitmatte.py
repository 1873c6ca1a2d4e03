"""ViTMatte as the last stage of any family: refines its coarse alpha to a matte with hair and transparent parts.

Source: J. Yao et al., "ViTMatte: Boosting Image Matting with Pretrained Plain Vision Transformers", 2023; the class is
transformers' own.

Parameters of a version of any family that runs in the replica:
    refine: ``vitmatte``.
    refine_source: the folder with ViTMatte's config.json and safetensors: an address of the registry, or a path.
    refine_size: the longer side of ViTMatte's input, pixels; the aspect is kept; 1024.
    refine_band: the width of the unknown region on either side of the coarse edge, a share of that side; 0.02.
    refine_digest: of that folder; other weights are refused.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from matte_core.contracts.base import Contract
from matte_core.contracts.catalog import VersionConfig
from matte_core.contracts.family import VITMATTE
from matte_registry.manifest import text_digest
from pydantic import Field
from torch.nn import functional
from transformers import AutoConfig, VitMatteForImageMatting

from matte_inference.families import base
from matte_inference.families.base import Alpha, LocalSegmenter, Prepared, Segmenter
from matte_inference.families.hf import read_mean_and_std, refuse_custom_code
from matte_inference.families.torch_common import choose_device, inference_mode, to_arrays, to_device, to_tensor
from matte_inference.pixels.arrays import Float32Array, Pixels, UInt8Array, fit_within, normalize, resize

#: sides of ViTMatte's input are multiples of it
_STEP = 32
_HALF = (0.5, 0.5, 0.5)
#: coarse alphas beyond these count as known, away from the edge
_OUT, _IN = 0.1, 0.9
#: the trimap's values
_BACKGROUND, _UNKNOWN, _SUBJECT = 0.0, 128 / 255, 1.0


class Parameters(Contract):
    refine: str = Field(pattern="^vitmatte$")
    refine_source: str
    refine_size: int = Field(1024, ge=_STEP, le=4096)
    refine_band: float = Field(0.02, gt=0, le=0.5)
    refine_digest: str | None = None
    mean: tuple[float, float, float] = _HALF
    std: tuple[float, float, float] = _HALF


@dataclass(frozen=True, slots=True)
class NetworkInputs:
    """One picture for both networks; ``picture`` is float32 (3, h, w) at the matting's size."""

    coarse: Prepared
    picture: Float32Array


class RefinedSegmenter(LocalSegmenter):
    def __init__(self, coarse: Segmenter, model: Any, parameters: Parameters, *, digest: str, device: str) -> None:
        self._coarse, self._model, self._parameters = coarse, to_device(model, device), parameters
        self.digest, self.device = text_digest(f"{coarse.digest}\n{digest}\n"), device
        self.batch_limit = coarse.batch_limit

    def prepare(self, pixels: Pixels) -> Prepared:
        """A :class:`NetworkInputs`."""
        size = fit_within(pixels.height, pixels.width, side=self._parameters.refine_size)
        picture = normalize(resize(pixels.rgb, *size), self._parameters.mean, self._parameters.std)
        return NetworkInputs(self._coarse.prepare(pixels), picture)

    def forward(self, batch: Sequence[Prepared]) -> list[Alpha]:
        """Alphas at the matting's size, float32 0 … 1: coarse ones together, then one picture after the other."""
        alphas = self._coarse.forward([pair.coarse for pair in batch])
        return [self._matte(pair.picture, alpha) for pair, alpha in zip(batch, alphas, strict=True)]

    def finish(self, pixels: Pixels, alpha: Alpha) -> UInt8Array:
        return base.to_size(pixels, alpha, guided=False)

    def _matte(self, picture: Float32Array, alpha: Alpha) -> Alpha:
        coarse = np.multiply(alpha, 1 / 255 if alpha.dtype == np.uint8 else 1, dtype=np.float32)
        if not np.isfinite(coarse).all():
            return alpha  # the caller reports it; a trimap would hide it
        trimap = make_trimap(resize(coarse, *picture.shape[1:]), self._parameters.refine_band)
        unknown = trimap == np.float32(_UNKNOWN)
        if not unknown.any():
            return trimap
        return np.where(unknown, self._forward(picture, trimap), trimap)

    def _forward(self, picture: Float32Array, trimap: Float32Array) -> Float32Array:
        height, width = trimap.shape
        both = to_tensor([np.concatenate((picture, trimap[None]))], self.device)
        with inference_mode(self.device):
            alphas = self._model(functional.pad(both, (0, -width % _STEP, 0, -height % _STEP))).alphas
            return to_arrays(alphas[:, 0, :height, :width].clamp(0, 1))[0]


def make_trimap(alpha: Float32Array, band: float) -> Float32Array:
    """The trimap, float32 (H, W): background (0), subject (1), or unknown (128/255).

    Unknown are intermediate alphas, and all pixels within ``band`` (a share of the longer side) of these or of an edge.
    """
    reach = max(1, round(band * max(alpha.shape)))
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * reach + 1,) * 2)
    sure_in, sure_out = (cv2.erode(part.astype(np.uint8), kernel) for part in (alpha >= _IN, alpha <= _OUT))
    return np.select([sure_in == 1, sure_out == 1], [_SUBJECT, _BACKGROUND], _UNKNOWN).astype(np.float32)


def read_model(folder: Path) -> Any:
    refuse_custom_code(folder)
    config = AutoConfig.from_pretrained(folder, trust_remote_code=False, local_files_only=True)
    if config.model_type != "vitmatte":
        raise ValueError(f"{folder} has a model of type {config.model_type!r}, not vitmatte")
    return VitMatteForImageMatting.from_pretrained(
        folder, config=config, use_safetensors=True, dtype=torch.float32, local_files_only=True
    )


def load(
    config: VersionConfig, device: str | None, family: Callable[[VersionConfig, str | None], Segmenter]
) -> RefinedSegmenter:
    """The version without its refinement, loaded by ``family``, and the refinement."""
    own = {name: value for name, value in config.parameters.items() if name == "refine" or name.startswith("refine_")}
    rest = {name: value for name, value in config.parameters.items() if name not in own}
    stage = base.validate(Parameters, own, config.app)
    stage_config: dict[str, Any] = {"source": stage.refine_source, "digest": stage.refine_digest, "parameters": {}}
    with base.open_weights(config.model_copy(update=stage_config), family=VITMATTE) as ready:
        own_config = config.model_copy(update={"parameters": own})
        parameters = base.resolve_parameters(Parameters, own_config, ready, read_mean_and_std(ready.folder))
        coarse = family(config.model_copy(update={"parameters": rest}), device)
        if coarse.remote:
            raise ValueError(f"{config.app}: refine: vitmatte needs a family that runs here; {config.family} is remote")
        model = read_model(ready.folder)
    return RefinedSegmenter(coarse, model, parameters, digest=ready.digest, device=choose_device(config, device))
