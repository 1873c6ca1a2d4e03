"""BiRefNet from the published checkpoints, lite and full: a folder with model.safetensors.

The network's shape is read from the tensors. A config.json or Python files in the folder are ignored.

Parameters of a version, else from matte.yaml:
    size: side of the network's input in pixels, or [height, width]; multiples of 32; 1024, as in training.
    patches: ``columns`` for checkpoints older than November 2024 whose card asks for that code, else ``channels``.
    mean, std, resize, activation, refine: see ``OneChannelParameters``; ``refine: vitmatte``: see that module.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import torch
from matte_core.contracts.catalog import VersionConfig
from pydantic import Field
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from matte_inference.families.base import open_weights, resolve_parameters, validate
from matte_inference.families.birefnet_net import STEP, BiRefNet, PatchOrder
from matte_inference.families.swin_net import SwinShape, position_index
from matte_inference.families.torch_common import OneChannelParameters, OneChannelSegmenter, choose_device

_WEIGHTS = "model.safetensors"
#: prefixes that parallel and compiled training add to every name
_WRAPPERS = re.compile(r"^(module\.|_orig_mod\.)+")
_INDEX = ".relative_position_index"
#: names that an error lists of each kind
_MAX_NAMES = 5

Side = Annotated[int, Field(ge=STEP, le=4096, multiple_of=STEP)]


class Parameters(OneChannelParameters):
    size: Side | tuple[Side, Side] = 1024
    patches: PatchOrder = "channels"

    @property
    def shape(self) -> tuple[int, int]:
        return self.size if isinstance(self.size, tuple) else (self.size, self.size)


def read_tensors(path: Path) -> dict[str, Tensor]:
    """A checkpoint's tensors by their names without wrappers, floating ones as float32. Raises FileNotFoundError, or
    ValueError if the file is broken.
    """
    try:
        tensors = load_file(path)
    except SafetensorError as error:
        raise ValueError(f"{path} is not a sound safetensors file: {error}") from error
    return {_WRAPPERS.sub("", name): t.float() if t.is_floating_point() else t for name, t in tensors.items()}


def build_network(tensors: Mapping[str, Tensor], where: str, order: PatchOrder = "channels") -> BiRefNet:
    """The network of ``tensors``, which it holds. Raises ValueError if they are not those of a BiRefNet; it names the
    tensors that are missing, unknown or of another shape.
    """
    shapes = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    try:
        swin = SwinShape.of(shapes)
    except KeyError as error:
        raise ValueError(f"{where} has no weights of a BiRefNet with a Swin backbone: no {error.args[0]}") from None
    with torch.device("meta"):  # no time and no memory for values that the checkpoint's replace
        network = BiRefNet(swin, order)
    expected = {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}
    differing = [name for name in expected if name in shapes and shapes[name] != expected[name]]
    kinds = {
        "missing": sorted(expected.keys() - shapes.keys()),
        "unknown": sorted(shapes.keys() - expected.keys()),
        "of another shape": sorted(f"{name} {shapes[name]} instead of {expected[name]}" for name in differing),
    }
    differences = [
        f"{len(names)} {kind}: {', '.join(names[:_MAX_NAMES])}" + (", …" if len(names) > _MAX_NAMES else "")
        for kind, names in kinds.items()
        if names
    ]
    if differences:
        raise ValueError(f"{where} has no weights of this BiRefNet ({swin}): {'; '.join(differences)}")
    index = position_index(swin.window)  # never the file's: a wrong one reads beyond the table
    network.load_state_dict(
        {name: index if name.endswith(_INDEX) else tensor for name, tensor in tensors.items()}, assign=True
    )
    return network


def load(config: VersionConfig, device: str | None = None) -> OneChannelSegmenter:
    """Raises ValueError for wrong parameters or weights, FileNotFoundError if there is no model.safetensors."""
    validate(Parameters, config.parameters, config.app)  # before a download
    with open_weights(config) as ready:
        parameters = resolve_parameters(Parameters, config, ready)
        path = ready.folder / _WEIGHTS
        network = build_network(read_tensors(path), str(path), parameters.patches)
    return OneChannelSegmenter(network, parameters, digest=ready.digest, device=choose_device(config, device))
