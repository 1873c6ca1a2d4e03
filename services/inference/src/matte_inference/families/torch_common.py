"""What the torch families share: devices, tensors, and the segmenter that runs a network."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Literal, TypeVar

import numpy as np
import torch
from matte_core.contracts.catalog import VersionConfig
from pydantic import Field
from torch import Tensor, nn

from matte_inference.families.base import Alpha, LocalSegmenter, PictureParameters, Prepared, to_size
from matte_inference.pixels import arrays
from matte_inference.pixels.arrays import Float32Array, Pixels, UInt8Array

M = TypeVar("M", bound=nn.Module)


def choose_device(config: VersionConfig, device: str | None) -> str:
    """``device``, else cuda if there is one and the version has a GPU, else cpu. Sets torch's CPU threads."""
    if device is None:
        device = "cuda" if config.num_gpus > 0 and torch.cuda.is_available() else "cpu"
    if device == "cpu":
        torch.set_num_threads(config.threads)
    return device


def to_device(module: M, device: str) -> M:
    """The module on its device, for inference_mode only, in the memory layout that convolutions are fastest in."""
    ready = module.eval().requires_grad_(requires_grad=False).to(device)
    return ready.to(memory_format=torch.channels_last)


@contextmanager
def inference_mode(device: str) -> Iterator[None]:
    """Without gradients; in bfloat16 on a GPU."""
    kind = torch.device(device).type
    with torch.inference_mode(), torch.autocast(kind, dtype=torch.bfloat16, enabled=kind == "cuda"):
        yield


def to_tensor(batch: Sequence[Float32Array], device: str) -> Tensor:
    """Pictures (3, H, W) of one size as one tensor (N, 3, H, W) on the device."""
    tensor = torch.from_numpy(np.stack(batch)) if len(batch) > 1 else torch.from_numpy(batch[0])[None]
    if device != "cpu":
        tensor = tensor.pin_memory().to(device, non_blocking=True)
    return tensor.contiguous(memory_format=torch.channels_last)


def to_arrays(alphas: Tensor) -> list[Float32Array]:
    """A tensor (N, H, W) as N float32 arrays on the CPU."""
    return list(alphas.float().cpu().numpy())


class NetworkParameters(PictureParameters):
    @property
    def shape(self) -> tuple[int, int]:
        """Height and width of the network's input, pixels."""
        raise NotImplementedError


class NetworkSegmenter(LocalSegmenter):
    """Runs a network on pictures (N, 3, H, W); a family overrides what its output means."""

    def __init__(self, network: Any, parameters: NetworkParameters, *, digest: str, device: str) -> None:
        self._network, self._parameters = to_device(network, device), parameters
        self.digest, self.device = digest, device

    def prepare(self, pixels: Pixels) -> Prepared:
        """float32 (3, height, width)."""
        parameters = self._parameters
        to_shape = arrays.letterbox if parameters.resize == "letterbox" else arrays.resize
        return arrays.normalize(to_shape(pixels.rgb, *parameters.shape), parameters.mean, parameters.std)

    def forward(self, batch: Sequence[Prepared]) -> list[Alpha]:
        """Alphas at the network's output size, float32 0 … 1."""
        with inference_mode(self.device):
            return [*to_arrays(self._alphas(to_tensor(batch, self.device)))]

    def _alphas(self, pictures: Tensor) -> Tensor:
        """Alphas (N, h, w), float, of pictures (N, 3, H, W)."""
        raise NotImplementedError

    def finish(self, pixels: Pixels, alpha: Alpha) -> UInt8Array:
        parameters = self._parameters
        return to_size(pixels, alpha, guided=parameters.refine == "guided", letterbox=parameters.resize == "letterbox")


class OneChannelParameters(NetworkParameters):
    activation: Literal["sigmoid", "none"] = Field("sigmoid", description="none: the output is an alpha already")


class OneChannelSegmenter(NetworkSegmenter):
    """Runs a network that gives logits, or alphas, (N, 1, H, W)."""

    _parameters: OneChannelParameters

    def _alphas(self, pictures: Tensor) -> Tensor:
        output: Tensor = self._network(pictures).float()[:, 0]
        return output.sigmoid() if self._parameters.activation == "sigmoid" else output.clamp(0, 1)
