"""Any network that segments one picture, from an ONNX file, on onnxruntime.

Parameters of a version, else from matte.yaml:
    file: path of the ONNX file in the folder.
    size: side of the network's input in pixels; only where the file leaves it open, and needed there.
    multiple: the aspect is kept: the longer side is ``size``, and both sides are multiples of this.
    filter: ``area``, or ``lanczos`` as in Pillow: for the picture, and for the alpha if it is not refined.
    scale: values are divided by ``255``, or by the largest one of the picture (``max``).
    output: name of the output, by default the first.
    activation: ``sigmoid``, ``softmax`` or ``argmax`` over classes, or ``none``: the output is an alpha already.
    classes: the output's channels that are the subject; after softmax and argmax, by default all but the first.
    normalize: ``min-max`` stretches the alpha to 0 … 1 if the picture has a subject.
    gpu_provider: ``cuda`` or ``tensorrt``, where the version has a GPU.
    mean, std, resize, refine: see ``PictureParameters``.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import numpy as np
from matte_core.contracts.catalog import VersionConfig
from matte_core.contracts.registry import Reason, Scale
from numpy.typing import NDArray
from pydantic import Field

from matte_inference.families.base import (
    Alpha,
    LocalSegmenter,
    PictureParameters,
    Prepared,
    WeightsError,
    open_weights,
    resolve_parameters,
    to_size,
    validate,
)
from matte_inference.families.onnx_session import OnnxNetwork, Provider, open_network
from matte_inference.pixels import arrays
from matte_inference.pixels.arrays import Filter, Float32Array, Pixels, UInt8Array, fit_box

#: a network that is nowhere surer than this has found no subject
SUBJECT = 0.5
#: an alpha whose values differ by less is flat
_FLAT = 1e-3
#: a larger batch is used only if each of its pictures takes at most this share of the time that it takes alone
_WORTH = 0.97
Activation = Literal["sigmoid", "softmax", "argmax", "none"]


class Parameters(PictureParameters):
    file: str = "model.onnx"
    size: int | None = Field(None, ge=16, le=8192)
    multiple: int | None = Field(None, ge=1, le=256)
    filter: Filter = "area"
    scale: Scale = "255"
    output: str | None = None
    activation: Activation = "sigmoid"
    classes: Annotated[tuple[Annotated[int, Field(ge=0)], ...], Field(min_length=1)] | None = None
    normalize: Literal["none", "min-max"] = "none"
    gpu_provider: Provider = "cuda"


@dataclass(frozen=True, slots=True)
class NetworkInput:
    picture: Float32Array  # (3, h, w)
    inner: tuple[int, int]  # height and width that the picture covers, at the top left


class OnnxSegmenter(LocalSegmenter):
    def __init__(self, network: OnnxNetwork, config: VersionConfig, parameters: Parameters, *, digest: str) -> None:
        self._network, self._parameters, self._where = network, parameters, f"{config.app}: {parameters.file}"
        self.digest, self.device = digest, network.device
        self.batch_limit = 1
        if network.open_batch and network.device != "cpu":
            self.batch_limit = measure_batch_limit(self._run_blank, config.max_batch_size)

    def prepare(self, pixels: Pixels) -> Prepared:
        """A :class:`NetworkInput`."""
        parameters = self._parameters
        height, width = self._network.shape or input_size(pixels.height, pixels.width, parameters)
        if parameters.resize == "letterbox":
            inner = fit_box(pixels.height, pixels.width, (height, width))
            rgb = arrays.letterbox(pixels.rgb, height, width, parameters.filter)
        else:
            inner = height, width
            rgb = arrays.resize_picture(pixels.rgb, height, width, parameters.filter)
        white = 255 if parameters.scale == "255" else max(1, int(rgb.max()))
        return NetworkInput(arrays.normalize(rgb, parameters.mean, parameters.std, white), inner)

    def forward(self, batch: Sequence[Prepared]) -> list[Alpha]:
        """Alphas at the network's output size, float32 0 … 1. Neighbors of one size share a batch."""
        alphas: list[Alpha] = []
        for _, same in itertools.groupby(batch, lambda item: item.picture.shape):
            for part in _batched(list(same), self.batch_limit or 1):
                outputs = self._network.run(np.stack([item.picture for item in part]))
                if len(outputs) != len(part):
                    raise self._unusable(f"its output is {outputs.shape} for {len(part)} pictures")
                alphas += [
                    self._alpha(output, item.inner, item.picture) for output, item in zip(outputs, part, strict=True)
                ]
        return alphas

    def finish(self, pixels: Pixels, alpha: Alpha) -> UInt8Array:
        parameters = self._parameters
        return to_size(
            pixels, alpha, guided=parameters.refine == "guided", letterbox=parameters.resize == "letterbox",
            filter_=parameters.filter,
        )  # fmt: skip

    def _alpha(self, output: NDArray[Any], inner: tuple[int, int], picture: Float32Array) -> Float32Array:
        parameters = self._parameters
        try:
            alpha = activate(output, parameters.activation, parameters.classes)
        except ValueError as error:
            raise self._unusable(str(error)) from None
        if parameters.normalize == "min-max":
            covered = tuple(
                -(-n * side // full) for n, side, full in zip(inner, alpha.shape, picture.shape[1:], strict=True)
            )
            alpha = stretch_subject(alpha, alpha[: covered[0], : covered[1]])
        return np.asarray(np.clip(alpha, 0, 1), np.float32)

    def _run_blank(self, count: int) -> None:
        height, width = self._network.shape or input_size(1, 1, self._parameters)
        self._network.run(np.zeros((count, 3, height, width), np.float32))

    def _unusable(self, text: str) -> WeightsError:
        return WeightsError(f"{Reason.WEIGHTS_UNUSABLE}: {self._where}: {text}")


def input_size(height: int, width: int, parameters: Parameters) -> tuple[int, int]:
    """Height and width of the input of a network that leaves them open, for a picture of ``height`` and ``width``."""
    assert parameters.size is not None, "checked when the version is loaded"
    if parameters.multiple is None:
        return parameters.size, parameters.size
    step = parameters.multiple
    most = parameters.size // step * step
    scaled = fit_box(height, width, (most, most))
    return -(-scaled[0] // step) * step, -(-scaled[1] // step) * step


def activate(output: NDArray[Any], activation: Activation, classes: tuple[int, ...] | None) -> Float32Array:
    """The output for one picture, (C, h, w) or (h, w), as an alpha, float32 (h, w). Raises ValueError if it is none."""
    shape = output.shape
    planes = np.asarray(output[None] if output.ndim == 2 else output, np.float32)
    if planes.ndim != 3 or 0 in shape:
        raise ValueError(f"its output is {shape} for a picture, not (height, width) of one or more channels")
    if activation == "argmax" and len(planes) == 1:  # of classes already
        chosen = np.isin(planes[0], classes) if classes is not None else planes[0] > 0
        return chosen.astype(np.float32)
    subject = list(
        range(1, len(planes)) if classes is None and activation in {"softmax", "argmax"} else classes or (0,)
    )
    if max(subject, default=len(planes)) >= len(planes) or (
        classes is None and activation in {"sigmoid", "none"} and len(planes) > 1
    ):
        raise ValueError(f"its output has {len(planes)} channels: say which are the subject in parameters.classes")
    if activation == "argmax":
        return np.isin(planes.argmax(0), subject).astype(np.float32)
    if activation == "softmax":
        chances = np.exp(planes - planes.max(0))
        return np.asarray(chances[subject].sum(0) / chances.sum(0), np.float32)
    plane = planes[subject].max(0)
    return np.asarray(0.5 + 0.5 * np.tanh(plane / 2) if activation == "sigmoid" else plane, np.float32)


def has_subject(alpha: Float32Array) -> bool:
    """Whether the network is surer than :data:`SUBJECT` anywhere, and not equally sure everywhere."""
    return float(alpha.max()) > SUBJECT and float(np.ptp(alpha)) > _FLAT


def stretch_subject(alpha: Float32Array, picture: Float32Array) -> Float32Array:
    """The alpha, stretched so that the part with the picture covers 0 … 1; unchanged if that has no subject."""
    if not has_subject(picture):
        return alpha
    low, high = picture.min(), picture.max()
    return np.asarray((alpha - low) / (high - low), np.float32)


def measure_batch_limit(run: Callable[[int], None], most: int) -> int:
    """The batch size up to ``most``, a power of two, that ``run`` takes the least time per picture for."""
    seconds: dict[int, float] = {}
    size = 1
    while size <= most:
        try:
            run(size)  # the first one of a size prepares the device for it
            begun = time.perf_counter()
            run(size)
        except MemoryError:
            break
        seconds[size] = time.perf_counter() - begun
        size *= 2
    return best_batch_size(seconds)


def best_batch_size(seconds: Mapping[int, float]) -> int:
    """From the seconds of a batch by its size, the size whose pictures take least; one by one unless more is faster."""
    per_picture = {size: took / size for size, took in seconds.items()}
    if not per_picture:
        return 1
    best = min(per_picture, key=lambda size: per_picture[size])
    return best if per_picture[best] <= _WORTH * per_picture[min(per_picture)] else 1


def _batched(items: list[NetworkInput], size: int) -> list[list[NetworkInput]]:
    return [items[at : at + size] for at in range(0, len(items), size)]


def check_size(parameters: Parameters, fixed: tuple[int, int] | None) -> None:
    """Raises ValueError unless the input's size is known, and stated by the file or by the parameters, not by both."""
    if fixed is None and parameters.size is None:
        raise ValueError("the file leaves the size of its input open: set size in matte.yaml")
    if fixed is None and parameters.multiple is not None and parameters.multiple > (parameters.size or 0):
        raise ValueError(
            f"size {parameters.size} is smaller than multiple {parameters.multiple}: correct one of the two"
        )
    if fixed is not None and parameters.multiple is not None:
        raise ValueError(f"the file fixes its input at {fixed[0]} × {fixed[1]}: leave out multiple")
    if fixed is not None and parameters.size not in {None, *fixed}:
        raise ValueError(
            f"the file fixes its input at {fixed[0]} × {fixed[1]}: correct size {parameters.size}, or leave it out"
        )


def load(config: VersionConfig, device: str | None = None) -> OnnxSegmenter:
    """Loads the ONNX file of ``config.source``, on CUDA if ``device`` or ``config.num_gpus`` asks for it, else the CPU.

    Raises ValueError for wrong parameters, and WeightsError for wrong weights, or if the device cannot be used.
    """
    validate(Parameters, config.parameters, config.app)  # before a download
    if device is None:
        device = "cuda" if config.num_gpus > 0 else "cpu"
    with open_weights(config) as ready:
        parameters = resolve_parameters(Parameters, config, ready)
        network = open_network(
            ready.folder, parameters.file, parameters.output, config, device, parameters.gpu_provider
        )
    try:
        check_size(parameters, network.shape)
    except ValueError as error:
        raise WeightsError(f"{Reason.METADATA_INVALID}: {config.app}: {parameters.file}: {error}") from None
    return OnnxSegmenter(network, config, parameters, digest=ready.digest)
