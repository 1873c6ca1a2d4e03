"""The protocol of a model family, and what versions of any family share.

A family turns one picture into one alpha in three steps, so that a replica can overlap them: ``prepare`` and
``finish`` run in threads, for single pictures; ``forward`` runs for a batch, one at a time, on the device. Where
another process does the work, ``forward`` is called for single pictures, by several threads at once.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, Protocol, TypeVar

import numpy as np
from matte_core.contracts.base import Contract
from matte_core.contracts.catalog import VersionConfig
from matte_core.contracts.registry import Reason
from matte_core.errors import Problem
from matte_registry.errors import RegistryError
from matte_registry.folder import check_present
from matte_registry.policy import VerificationPolicy
from matte_registry.registry import Ready, Registry
from pydantic import Field, ValidationError

from matte_inference.pixels.arrays import Float32Array, Pixels, UInt8Array, fit_box, resize, to_uint8
from matte_inference.pixels.guided import refine

Prepared = Any
"""What ``forward`` takes for one picture: the family's own; nobody else looks into it."""
Alpha = UInt8Array | Float32Array
C = TypeVar("C", bound=Contract)


class Segmenter(Protocol):
    """One loaded version. ``prepare`` and ``finish`` are thread-safe.

    ``forward`` is called by one thread at a time, unless the version is ``remote``. A :class:`Problem` that it raises
    for a single picture is the answer; any other exception is taken for the model's failure.
    """

    digest: str
    """``sha256:…``: of the weights' folder as the registry has it; without weights, of the code version."""

    device: str
    """``cpu``, ``cuda``, …"""

    remote: bool
    """Another process does the work: it may be away, it is warm already, and it takes several pictures at once."""

    def available(self) -> bool:
        """Whether pictures can be segmented now. It may take seconds; one thread at a time asks."""
        ...

    def prepare(self, pixels: Pixels) -> Prepared:
        """What ``forward`` takes for one picture."""
        ...

    def forward(self, batch: Sequence[Prepared]) -> list[Alpha]:
        """One alpha per item, in order, at the network's size: uint8 0 … 255 or float32 0 … 1, (h, w)."""
        ...

    def finish(self, pixels: Pixels, alpha: Alpha) -> UInt8Array:
        """The alpha at the picture's size, uint8 (H, W). NaN raises ``Problem("internal_error")``."""
        ...


class Local:
    """What families share whose work is done in the replica itself."""

    remote = False

    def available(self) -> bool:
        """Always: it is loaded."""
        return True


class FamilyParameters(Contract):
    """The parameters of every family that runs in the replica."""

    refine: Literal["none", "guided"] = Field("none", description="guided: the alpha is fitted to the picture's edges")
    digest: str | None = Field(None, description="of the weights' folder; another one is refused")


def to_size(pixels: Pixels, alpha: Alpha, *, guided: bool, letterbox: bool = False) -> UInt8Array:
    """A network's alpha at the picture's size, uint8 (H, W), fitted to the picture's edges where ``guided``.

    Args:
        pixels: the picture.
        alpha: uint8 0 … 255 or float32 0 … 1, (h, w).
        guided: fit the alpha to the picture's edges.
        letterbox: the picture is in the top left of the alpha, at its own aspect.

    Raises:
        Problem: internal_error, the alpha has NaN or infinity.
    """
    if letterbox:
        height, width = fit_box(pixels.height, pixels.width, alpha.shape[:2])
        alpha = alpha[:height, :width]
    soft: Float32Array = np.multiply(alpha, 1 / 255 if alpha.dtype == np.uint8 else 1, dtype=np.float32)
    if not np.isfinite(soft).all():
        raise Problem("internal_error", "The model's output is not a number on this picture.")
    if guided:
        return refine(pixels.rgb, soft)
    return resize(to_uint8(soft), pixels.height, pixels.width)


def parameters_of(
    kind: type[C], config: VersionConfig, ready: Ready, defaults: Mapping[str, Any] = MappingProxyType({})
) -> C:
    """A version's parameters: ``config.parameters``, else ``matte.yaml``, else ``defaults``, else the family's own.

    Raises:
        ValueError: see :func:`validated`.
    """
    stated = ready.metadata.family_parameters if ready.metadata else {}
    return validated(kind, {**defaults, **stated, **config.parameters}, config.app)


def validated(kind: type[C], given: Mapping[str, Any], where: str) -> C:
    """``given`` as a contract.

    Raises:
        ValueError: one line that names every wrong field; it is the last line of what Serve tells of a failed start.
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


# --- weights ------------------------------------------------------------------------------------------------------


class WeightsError(ValueError):
    """The weights cannot be had, or are not what is pinned. ``Reason: text``, as conditions show it."""


@contextmanager
def weights(config: VersionConfig, default: Path | None = None, family: str | None = None) -> Iterator[Ready]:
    """The folder of ``config.source``, here and checked; a node's cache keeps it as long as the block runs.

    What is pinned is ``config.digest``, or ``digest`` among the parameters.

    Args:
        config: whose ``source`` is an address of the registry, or a path.
        default: the folder where there is no source.
        family: that ``matte.yaml`` must name, where there is one; ``config.family`` if None.

    Raises:
        ValueError: there is no source, and no default.
        WeightsError: nothing of it may be loaded.
    """
    if not config.source and default is None:
        raise ValueError(f"{config.app}: the family {config.family} needs source, a folder with the weights")
    with _told(config):
        ready = _ready(config, default)
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


def refuse_absent(config: VersionConfig) -> None:
    """Says early that there is no such folder, where the weights are to lie in one.

    Raises:
        WeightsError: there is none.
    """
    folder = _local(config.source or "")
    if folder is not None:
        with _told(config):
            check_present(folder)


def _ready(config: VersionConfig, default: Path | None) -> Ready:
    policy = VerificationPolicy(digest=_pinned(config))
    folder = _local(config.source) if config.source else default
    registry = Registry()
    if folder is not None:
        return registry.check_folder(folder, policy)
    assert config.source is not None
    return registry.ensure(config.source, policy)


def _local(source: str) -> Path | None:
    """The folder that a path or a ``file://`` address names."""
    if source.startswith("file://"):
        return Path(source.removeprefix("file://"))
    return Path(source) if source and "://" not in source else None


def _pinned(config: VersionConfig) -> str | None:
    digest, parameter = config.digest, config.parameters.get("digest")
    if digest is not None and parameter not in (None, digest):
        raise RegistryError(
            Reason.DIGEST_MISMATCH, f"parameters.digest is {parameter}, pinned is {digest}: take it out"
        )
    return digest or parameter


@contextmanager
def _told(config: VersionConfig) -> Iterator[None]:
    try:
        yield
    except RegistryError as error:
        raise WeightsError(f"{error.reason}: {config.app}: {error}") from None
