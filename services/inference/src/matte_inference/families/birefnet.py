"""BiRefNet from the published checkpoints, lite and full: a folder with model.safetensors.

The network's shape is read from the tensors. A config.json and Python files beside them are neither read nor run.

Parameters of a version, else from matte.yaml:
    size: side of the network's input in pixels, or [height, width]; multiples of 32; 1024, as in training.
    patches: ``columns`` for checkpoints older than November 2024 whose card asks for that code, else ``channels``.
    mean, std, resize, activation, refine: see ``OneChannelParameters``; ``refine: vitmatte``: see that module.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated

import torch
from matte_core.contracts.catalog import VersionConfig
from pydantic import Field
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from matte_inference.families.base import parameters_of, validated, weights
from matte_inference.families.birefnet_net import STEP, BiRefNet, PatchOrder
from matte_inference.families.swin_net import SwinShape, position_index
from matte_inference.families.torch_common import OneChannelParameters, OneChannelSegmenter, chosen_device

_WEIGHTS = "model.safetensors"
#: what parallel and compiled training put before every name
_WRAPPERS = ("module.", "_orig_mod.")
_INDEX = ".relative_position_index"
_NAMED = 5

Side = Annotated[int, Field(ge=STEP, le=4096, multiple_of=STEP)]


class Parameters(OneChannelParameters):
    """The family's parameters."""

    size: Side | tuple[Side, Side] = 1024
    patches: PatchOrder = "channels"

    @property
    def shape(self) -> tuple[int, int]:
        return self.size if isinstance(self.size, tuple) else (self.size, self.size)


class BiRefNetSegmenter(OneChannelSegmenter):
    """Runs a :class:`BiRefNet`."""


def read_tensors(path: Path) -> dict[str, Tensor]:
    """A checkpoint's tensors by their plain names, floating ones as float32.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is broken.
    """
    try:
        found = load_file(path)
    except SafetensorError as error:
        raise ValueError(f"{path} is not a sound safetensors file: {error}") from error
    return {_plain(name): tensor.float() if tensor.is_floating_point() else tensor for name, tensor in found.items()}


def _plain(name: str) -> str:
    while (prefix := next((p for p in _WRAPPERS if name.startswith(p)), None)) is not None:
        name = name.removeprefix(prefix)
    return name


def built(tensors: Mapping[str, Tensor], where: str, order: PatchOrder = "channels") -> BiRefNet:
    """The network that ``tensors`` are of, holding them.

    Raises:
        ValueError: they are not those of a BiRefNet; it names what is missing, unknown or of another shape.
    """
    shapes = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    try:
        swin = SwinShape.of(shapes)
    except KeyError as error:
        raise ValueError(f"{where} has no weights of a BiRefNet with a Swin backbone: no {error.args[0]}") from None
    with torch.device("meta"):  # no time and no memory for values that the checkpoint's replace
        network = BiRefNet(swin, order)
    wanted = {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}
    if found := differences(wanted, shapes):
        raise ValueError(f"{where} has no weights of this BiRefNet ({swin}): {found}")
    index = position_index(swin.window)  # never the file's: a wrong one reads beyond the table
    network.load_state_dict(
        {name: index if name.endswith(_INDEX) else tensor for name, tensor in tensors.items()}, assign=True
    )
    return network


def differences(wanted: Mapping[str, tuple[int, ...]], found: Mapping[str, tuple[int, ...]]) -> str:
    """What of ``found`` is not as ``wanted``, in words; empty where all is."""
    both = (name for name in wanted if name in found and found[name] != wanted[name])
    wrong = [f"{name} {found[name]} instead of {wanted[name]}" for name in both]
    kinds = {
        "missing": wanted.keys() - found.keys(),
        "unknown": found.keys() - wanted.keys(),
        "of another shape": wrong,
    }
    return "; ".join(f"{len(names)} {kind}: {_some(names)}" for kind, names in kinds.items() if names)


def _some(names: Iterable[str]) -> str:
    ordered = sorted(names)
    return ", ".join(ordered[:_NAMED]) + (", …" if len(ordered) > _NAMED else "")


def load(config: VersionConfig, device: str | None = None) -> BiRefNetSegmenter:
    """The version from the folder ``config.source``.

    Raises:
        FileNotFoundError: there is no model.safetensors.
        ValueError: no source, weights that cannot be had or are of something else, or wrong parameters.
    """
    validated(Parameters, config.parameters, config.app)  # before a download
    with weights(config) as ready:
        parameters = parameters_of(Parameters, config, ready)
        path = ready.folder / _WEIGHTS
        network = built(read_tensors(path), str(path), parameters.patches)
    return BiRefNetSegmenter(network, parameters, digest=ready.digest, device=chosen_device(config, device))
