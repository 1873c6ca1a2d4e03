"""The compact U-Net whose weights the package carries: a folder with model.safetensors and matte.yaml.

Parameters of a version, else from matte.yaml:
    size: side of the network's input in pixels, a multiple of 16.
    mean, std, resize, activation, refine: see ``OneChannelParameters``.
"""

from __future__ import annotations

from pathlib import Path

from matte_core.contracts.catalog import VersionConfig
from matte_core.contracts.family import SIZE_MULTIPLE, Family
from pydantic import Field
from safetensors import SafetensorError
from safetensors.torch import load_file

from matte_inference.families.base import open_weights, resolve_parameters, validate
from matte_inference.families.torch_common import OneChannelParameters, OneChannelSegmenter, choose_device
from matte_inference.families.unet_net import UNet

MODELS = Path(__file__).parents[1] / "models"


class Parameters(OneChannelParameters):
    """By default those of the bundled weights' training."""

    size: int = Field(256, ge=16, le=2048, multiple_of=SIZE_MULTIPLE[Family.UNET])
    mean: tuple[float, float, float] = (0.5, 0.5, 0.5)
    std: tuple[float, float, float] = (0.25, 0.25, 0.25)

    @property
    def shape(self) -> tuple[int, int]:
        return self.size, self.size


def load(config: VersionConfig, device: str | None = None) -> OneChannelSegmenter:
    """Loads ``config.source``, by default the package's own folder for ``config.version``.

    Raises ValueError for wrong parameters or weights, FileNotFoundError if there is no model.safetensors.
    """
    validate(Parameters, config.parameters, config.app)  # before a download
    with open_weights(config, MODELS / f"unet-{config.version}") as ready:
        parameters = resolve_parameters(Parameters, config, ready)
        path, network = ready.folder / "model.safetensors", UNet()
        try:
            network.load_state_dict(load_file(path))
        except (SafetensorError, RuntimeError) as error:
            raise ValueError(f"{path} has no weights of this network: {error}") from error
    return OneChannelSegmenter(network, parameters, digest=ready.digest, device=choose_device(config, device))
