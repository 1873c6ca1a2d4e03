"""The interface of a model family, and what all families share: parameters, weights, and fitting the alpha.

A family turns one picture into one alpha in three steps, so that a replica can overlap them: ``prepare`` and
``finish`` run in threads, for single pictures; ``forward`` runs for a batch, one at a time, on the device. Where
another process does the work, ``forward`` is called for single pictures, by several threads at once.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, Protocol, TypeVar

import numpy as np
from matte_core.contracts.base import Contract
from matte_core.contracts.catalog import VersionConfig
from matte_core.contracts.registry import Reason
from matte_core.errors import Problem
from matte_registry.errors import RegistryError, missing_folder
from matte_registry.policy import VerificationPolicy
from matte_registry.progress import OnProgress, ignore
from matte_registry.registry import Ready, Registry
from pydantic import Field, ValidationError

from matte_inference.pixels.arrays import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    Filter,
    Float32Array,
    Pixels,
    UInt8Array,
    fit_box,
    resize_picture,
    to_uint8,
)
from matte_inference.pixels.guided import refine
from matte_inference.pixels.hints import refine_with_hints

#: the input of ``forward`` for one picture, in a form of the family's own
Prepared = Any
Alpha = UInt8Array | Float32Array
C = TypeVar("C", bound=Contract)
#: is told how far the downloads of a call of ``load`` are; set by whoever calls it
on_download: ContextVar[OnProgress] = ContextVar("on_download", default=ignore)


class Segmenter(Protocol):
    """One loaded version. ``prepare`` and ``finish`` are thread-safe.

    ``forward`` is called by one thread at a time, unless the version is ``remote``. A :class:`Problem` that it raises
    for a single picture is the picture's outcome; any other exception counts as a failure of the model.
    """

    digest: str  # ``sha256:…`` of the weights' folder as in the registry; without weights, of the code version
    device: str  # ``cpu``, ``cuda``, …
    batch_limit: int | None  # the largest batch that is faster than one by one; None: not known
    remote: bool  # another process runs the model: it may be away, needs no warm-up, takes several pictures at once

    def available(self) -> bool:
        """Whether pictures can be segmented now. May take seconds; called by one thread at a time."""

    def prepare(self, pixels: Pixels) -> Prepared:
        """The input of ``forward`` for one picture."""

    def forward(self, batch: Sequence[Prepared]) -> list[Alpha]:
        """One alpha per item, in order, at the network's size: uint8 0 … 255 or float32 0 … 1, (h, w)."""

    def finish(self, pixels: Pixels, alpha: Alpha) -> UInt8Array:
        """The alpha at the picture's size, uint8 (H, W). NaN raises ``Problem("internal_error")``."""


class LocalSegmenter:
    """Base of the segmenters that run in the replica itself."""

    batch_limit: int | None = None
    remote = False

    def available(self) -> bool:
        return True


class FamilyParameters(Contract):
    refine: Literal["none", "guided"] = Field("none", description="guided: the alpha is fitted to the picture's edges")
    digest: str | None = Field(None, description="of the weights' folder; another one is refused")


class PictureParameters(FamilyParameters):
    """How a picture becomes a network's input."""

    mean: tuple[float, float, float] = Field(IMAGENET_MEAN, description="red, green, blue, of 0 … 1")
    std: tuple[float, float, float] = IMAGENET_STD
    resize: Literal["stretch", "letterbox"] = Field("stretch", description="letterbox keeps the aspect")


def to_size(
    pixels: Pixels, alpha: Alpha, *, guided: bool, letterbox: bool = False, filter_: Filter = "area"
) -> UInt8Array:
    """A network's alpha at the picture's size, uint8 (H, W), changed where the caller's hints contradict it, and fitted
    to the picture's edges if ``guided``.

    If ``letterbox``, the picture is in the top left of the alpha, with its aspect kept. Without ``guided``, the alpha
    is resized by ``filter_``. NaN or infinity raise
    ``Problem("internal_error")``.
    """
    if letterbox:
        height, width = fit_box(pixels.height, pixels.width, alpha.shape[:2])
        alpha = alpha[:height, :width]
    soft: Float32Array = np.multiply(alpha, 1 / 255 if alpha.dtype == np.uint8 else 1, dtype=np.float32)
    if not np.isfinite(soft).all():
        raise Problem("internal_error", "The model's output is not a number on this picture.")
    if pixels.hints:
        soft = refine_with_hints(pixels.rgb, soft, pixels.hints)
    if guided:
        return refine(pixels.rgb, soft)
    return resize_picture(to_uint8(soft), pixels.height, pixels.width, filter_)


def resolve_parameters(
    kind: type[C], config: VersionConfig, ready: Ready, defaults: Mapping[str, Any] = MappingProxyType({})
) -> C:
    """A version's parameters: from ``config.parameters``, else ``matte.yaml``, else ``defaults``, else the family's own
    defaults. Wrong ones raise ValueError.
    """
    stated = ready.metadata.family_parameters if ready.metadata else {}
    return validate(kind, {**defaults, **stated, **config.parameters}, config.app)


def validate(kind: type[C], given: Mapping[str, Any], where: str) -> C:
    """``given`` as a contract. Raises ValueError with one line that names every wrong field: Serve shows no more of a
    failed start.
    """
    try:
        return kind.model_validate(given)
    except ValidationError as error:
        wrong = []
        for each in error.errors(include_url=False):
            name = ".".join(map(str, each["loc"]))
            if each["type"] == "extra_forbidden" and issubclass(kind, FamilyParameters):
                known = ", ".join(sorted(kind.model_fields))
                wrong.append(f"unknown parameter {name!r}: this family has {known}")
            else:
                wrong.append(f"{name}: {each['msg']}")
        raise ValueError(f"{where}: {'; '.join(wrong)}") from None


class WeightsError(ValueError):
    """The weights cannot be loaded; the message is ``Reason: text``, as in the conditions of a Model."""


@contextmanager
def open_weights(config: VersionConfig, default: Path | None = None, family: str | None = None) -> Iterator[Ready]:
    """The folder of ``config.source`` on this node, verified; the node's cache keeps it while the block runs.

    Without a source, the folder is ``default``. Its digest must be ``config.digest``, or ``digest`` among the
    parameters, if there is one; a ``matte.yaml`` must name ``family``, by default ``config.family``. Raises ValueError
    if there is neither source nor default, and :class:`WeightsError` if it cannot be downloaded or verified.
    """
    if not config.source and default is None:
        raise ValueError(f"{config.app}: the family {config.family} needs source, a folder with the weights")
    folder = _local_folder(config.source) if config.source else default
    digest, parameter = config.digest, config.parameters.get("digest")
    with _as_weights_error(config):
        if digest is not None and parameter not in (None, digest):
            detail = f"parameters.digest is {parameter}, pinned is {digest}: take it out"
            raise RegistryError(Reason.DIGEST_MISMATCH, detail)
        registry, policy = Registry(), VerificationPolicy(digest=digest or parameter, license=config.license)
        if folder is not None:
            ready = registry.check_folder(folder, policy)
        else:
            ready = registry.ensure(config.source or "", policy, on_download.get())
    try:
        named, family = ready.metadata.family if ready.metadata else None, family or config.family
        if named not in (None, family):
            raise WeightsError(
                f"{Reason.METADATA_INVALID}: {config.app}: matte.yaml in {ready.source} has family: {named}, but the"
                f" version is loaded as {family}: correct one of the two"
            )
        yield ready
    finally:
        ready.release()


def check_source_exists(config: VersionConfig) -> None:
    """Raises :class:`WeightsError` if ``config.source`` is a local folder that does not exist."""
    folder = _local_folder(config.source or "")
    if folder is not None and not folder.is_dir():
        with _as_weights_error(config):
            raise missing_folder(folder)


def _local_folder(source: str) -> Path | None:
    """The folder that a path or a ``file://`` address names."""
    if source.startswith("file://"):
        return Path(source.removeprefix("file://"))
    return Path(source) if source and "://" not in source else None


@contextmanager
def _as_weights_error(config: VersionConfig) -> Iterator[None]:
    try:
        yield
    except RegistryError as error:
        raise WeightsError(f"{error.reason}: {config.app}: {error}") from None
