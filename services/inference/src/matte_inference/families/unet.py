"""The compact U-Net whose weights the package carries: a folder with model.safetensors and matte.yaml."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated

import torch
import yaml
from matte_core.contracts.base import Contract
from matte_core.contracts.catalog import VersionConfig
from matte_registry.folder import file_hash
from pydantic import Field
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from matte_inference.families.base import (
    Alpha,
    Local,
    Prepared,
    guided_wanted,
    known,
    to_size,
    weights,
)
from matte_inference.families.torch_common import chosen_device, inference, placed, stacked, unstacked
from matte_inference.families.unet_net import UNet
from matte_inference.pixels.resize import normalized, resized
from matte_inference.pixels.types import Bytes, Pixels

MODELS = Path(__file__).parents[1] / "models"
_WEIGHTS = "model.safetensors"
Triple = Annotated[tuple[float, float, float], Field(description="red, green, blue, of 0 … 1")]


class About(Contract):
    """What ``matte.yaml`` says of a folder of weights."""

    family: str = Field(pattern="^unet$")
    version: str
    license: str
    size: int = Field(ge=16, le=2048, multiple_of=16, description="side of the network's input, pixels")
    mean: Triple
    std: Triple
    weights: Mapping[str, str] = Field(description="sha256:… of each file of weights")


class UNetSegmenter(Local):
    """Runs a network that gives logits (N, 1, H, W) for pictures (N, 3, size, size)."""

    def __init__(self, network: nn.Module, about: About, *, digest: str, device: str, guided: bool) -> None:
        self._network = placed(network, device)
        self._about, self._guided = about, guided
        self.digest, self.device = digest, device

    def prepare(self, pixels: Pixels) -> Prepared:
        """float32 (3, size, size); the aspect is not kept, as in training."""
        side = self._about.size
        return normalized(resized(pixels.rgb, side, side), self._about.mean, self._about.std)

    def forward(self, batch: Sequence[Prepared]) -> list[Alpha]:
        """Alphas (size, size), float32 0 … 1."""
        with inference(self.device):
            logits = self._network(stacked(batch, self.device))
            return [*unstacked(torch.sigmoid(logits.float())[:, 0])]

    def finish(self, pixels: Pixels, alpha: Alpha) -> Bytes:
        """The alpha at the picture's size."""
        return to_size(pixels, alpha, guided=self._guided)


def read_about(folder: Path) -> About:
    """The folder's ``matte.yaml``, after its weights were checked against the digests it names.

    Raises:
        FileNotFoundError: a file is missing.
        ValueError: the YAML is not what is expected, or the weights differ: they must not be loaded.
    """
    about = About.model_validate(yaml.safe_load((folder / "matte.yaml").read_text()))
    found = f"sha256:{file_hash(folder / _WEIGHTS)}"
    if about.weights.get(_WEIGHTS) != found:
        raise ValueError(f"{folder / _WEIGHTS} has the digest {found}; matte.yaml says otherwise: refusing to load it")
    return about


def read_network(path: Path) -> UNet:
    """The network with the weights of a safetensors file.

    Raises:
        ValueError: the file is broken or does not fit the network.
    """
    network = UNet()
    try:
        network.load_state_dict(load_file(path))
    except (SafetensorError, RuntimeError) as error:
        raise ValueError(f"{path} has no weights of this network: {error}") from error
    return network


def load(config: VersionConfig, device: str | None = None) -> UNetSegmenter:
    """The version from ``config.source``, by default the package's own folder for ``config.version``.

    Raises:
        FileNotFoundError, ValueError: see :func:`read_about`, :func:`read_network` and ``weights``.
    """
    known(config.parameters, ())
    guided, where = guided_wanted(config.parameters), chosen_device(config, device)
    with weights(config, MODELS / f"unet-{config.version}") as found:
        about, network = read_about(found.folder), read_network(found.folder / _WEIGHTS)
    return UNetSegmenter(network, about, digest=found.digest, device=where, guided=guided)
