"""Any segmentation network with one picture as its input, from an ONNX file, on onnxruntime.

Parameters of a version, else from matte.yaml:
    file: path of the ONNX file in the folder.
    size: side of the network's input in pixels; needed where the file leaves it open.
    multiple: for open sizes: the aspect is kept, the longer side is ``size``, and both sides are multiples of this.
    filter: ``area``, or ``lanczos`` as in Pillow.
    scale: pixels are divided by ``255``, or by the largest value of the picture (``max``).
    output: name of the output, by default the first.
    activation: ``sigmoid``, ``softmax`` or ``argmax`` over classes, or ``none``: the output is an alpha already.
    classes: ids of the classes that are the subject, by default all but the first.
    normalize: ``min-max`` stretches the alpha to 0 … 1 if the picture has a subject.
    mean, std, resize, refine: see ``PictureParameters``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import numpy as np
import onnxruntime
from matte_core.contracts.catalog import VersionConfig
from numpy.typing import NDArray
from pydantic import Field

from matte_inference.families.base import (
    Alpha,
    LocalSegmenter,
    PictureParameters,
    Prepared,
    open_weights,
    resolve_parameters,
    to_size,
)
from matte_inference.pixels import arrays
from matte_inference.pixels.arrays import Filter, Float32Array, Pixels, UInt8Array, fit_box

#: a network that is nowhere surer than this of a subject has found none
_SUBJECT = 0.5
Activation = Literal["sigmoid", "softmax", "argmax", "none"]


class Parameters(PictureParameters):
    file: str = "model.onnx"
    size: int | None = Field(None, ge=16, le=8192)
    multiple: int | None = Field(None, ge=1, le=256)
    filter: Filter = "area"
    scale: Literal["255", "max"] = "255"
    output: str | None = None
    activation: Activation = "sigmoid"
    classes: Annotated[tuple[int, ...], Field(min_length=1)] | None = None
    normalize: Literal["none", "min-max"] = "none"


@dataclass(frozen=True, slots=True)
class NetworkInput:
    picture: Float32Array  # (3, h, w)
    inner: tuple[int, int]  # height and width that the picture covers, at the top left


class OnnxSegmenter(LocalSegmenter):
    device = "cpu"

    def __init__(
        self, session: Any, parameters: Parameters, fixed: tuple[int, int] | None, *, digest: str
    ) -> None:  # fmt: skip
        self._session, self._parameters, self._fixed = session, parameters, fixed
        self._input = session.get_inputs()[0].name
        self._output = parameters.output or session.get_outputs()[0].name
        self.digest = digest

    def prepare(self, pixels: Pixels) -> Prepared:
        """A :class:`NetworkInput`."""
        parameters = self._parameters
        height, width = input_size(pixels.height, pixels.width, parameters, self._fixed)
        if parameters.resize == "letterbox":
            inner = fit_box(pixels.height, pixels.width, (height, width))
            rgb = arrays.letterbox(pixels.rgb, height, width, parameters.filter)
        else:
            inner = height, width
            rgb = arrays.resize_picture(pixels.rgb, height, width, parameters.filter)
        white = 255 if parameters.scale == "255" else max(1, int(rgb.max()))
        return NetworkInput(arrays.normalize(rgb, parameters.mean, parameters.std, white), inner)

    def forward(self, batch: Sequence[Prepared]) -> list[Alpha]:
        """Alphas at the network's output size, float32 0 … 1, one after the other."""
        return [self._alpha(item) for item in batch]

    def finish(self, pixels: Pixels, alpha: Alpha) -> UInt8Array:
        parameters = self._parameters
        return to_size(pixels, alpha, guided=parameters.refine == "guided", letterbox=parameters.resize == "letterbox")

    def _alpha(self, item: NetworkInput) -> Float32Array:
        output = self._session.run([self._output], {self._input: item.picture[None]})[0][0]
        alpha = activate(output, self._parameters.activation, self._parameters.classes)
        if self._parameters.normalize == "min-max":
            alpha = stretch_subject(alpha)
        return np.asarray(np.clip(alpha, 0, 1), np.float32)


def input_size(height: int, width: int, parameters: Parameters, fixed: tuple[int, int] | None) -> tuple[int, int]:
    """Height and width of the network's input for a picture of ``height`` and ``width``."""
    if fixed is not None:
        return fixed
    assert parameters.size is not None, "checked when the version is loaded"
    if parameters.multiple is None:
        return parameters.size, parameters.size
    step = parameters.multiple
    most = max(step, parameters.size // step * step)
    scaled = fit_box(height, width, (most, most))
    return min(most, -(-scaled[0] // step) * step), min(most, -(-scaled[1] // step) * step)


def activate(output: NDArray[Any], activation: Activation, classes: tuple[int, ...] | None) -> Float32Array:
    """The network's output for one picture, (C, h, w) or (h, w), as an alpha, float32 (h, w)."""
    planes = np.asarray(output, np.float32)
    planes = planes[None] if planes.ndim == 2 else planes
    subject = list(classes if classes is not None else range(1, len(planes)))
    if activation == "argmax":
        return np.isin(planes.argmax(0), subject).astype(np.float32)
    if activation == "softmax":
        chances = np.exp(planes - planes.max(0))
        alpha: Float32Array = chances[subject].sum(0) / chances.sum(0)
        return alpha
    plane: Float32Array = planes[subject].max(0) if classes is not None else planes[0]
    if activation == "sigmoid":
        plane = np.divide(1, 1 + np.exp(-plane), dtype=np.float32)
    return plane


def stretch_subject(alpha: Float32Array) -> Float32Array:
    """The alpha stretched to 0 … 1, if it has a subject; a flat one has none to set apart."""
    low, high = float(alpha.min()), float(alpha.max())
    if high < _SUBJECT or high - low < 1e-3:
        return alpha
    return (alpha - low) / (high - low)


def load(config: VersionConfig, device: str | None = None) -> OnnxSegmenter:
    """Loads the ONNX file of ``config.source``. Raises ValueError for wrong parameters or weights."""
    if device is None:
        device = "cuda" if config.num_gpus > 0 else "cpu"
    providers = ["CPUExecutionProvider"] if device == "cpu" else ["CUDAExecutionProvider", "CPUExecutionProvider"]
    with open_weights(config) as ready:
        parameters = resolve_parameters(Parameters, config, ready)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = config.threads, 1
        session = onnxruntime.InferenceSession(str(ready.folder / parameters.file), options, providers=providers)
    if session.get_providers() != providers:
        raise RuntimeError(f"{config.app}: asked for {device}, runs on {', '.join(session.get_providers())}")
    height, width = session.get_inputs()[0].shape[2:]
    fixed = (height, width) if isinstance(height, int) and isinstance(width, int) else None
    return OnnxSegmenter(session, parameters, fixed, digest=ready.digest)
