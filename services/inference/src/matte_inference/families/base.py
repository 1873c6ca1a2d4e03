"""The protocol of a model family, and what versions of any family share.

A family turns one picture into one alpha in three steps, so that a replica can overlap them: ``prepare`` and
``finish`` run in threads, for single pictures; ``forward`` runs for a batch, one at a time, on the device. Where
another process does the work, ``forward`` is called for single pictures, by several threads at once.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, TypeVar

import numpy as np
from matte_core.contracts.base import Contract
from matte_core.contracts.catalog import VersionConfig
from matte_core.errors import Problem
from pydantic import ValidationError

from matte_inference.pixels.guided import refine
from matte_inference.pixels.resize import resized
from matte_inference.pixels.types import Bytes, Floats, Pixels, bytes_of

Prepared = Any
"""What ``forward`` takes for one picture: the family's own; nobody else looks into it."""
Alpha = Bytes | Floats
C = TypeVar("C", bound=Contract)
_PIECE = 1 << 20


class Segmenter(Protocol):
    """One loaded version. ``prepare`` and ``finish`` are thread-safe.

    ``forward`` is called by one thread at a time, unless the version is ``remote``. A :class:`Problem` that it raises
    for a single picture is the answer; any other exception is taken for the model's failure.
    """

    digest: str
    """``sha256:…`` over the weights (:func:`folder_digest`), or over the code version of a family without weights."""

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

    def finish(self, pixels: Pixels, alpha: Alpha) -> Bytes:
        """The alpha at the picture's size, uint8 (H, W). NaN raises ``Problem("internal_error")``."""
        ...


class Local:
    """What families share whose work is done in the replica itself."""

    remote = False

    def available(self) -> bool:
        """Always: it is loaded."""
        return True


def to_size(pixels: Pixels, alpha: Alpha, *, guided: bool) -> Bytes:
    """A network's alpha at the picture's size, uint8 (H, W), fitted to the picture's edges where ``guided``.

    Raises:
        Problem: internal_error, the alpha has NaN or infinity.
    """
    soft: Floats = np.multiply(alpha, 1 / 255 if alpha.dtype == np.uint8 else 1, dtype=np.float32)
    if not np.isfinite(soft).all():
        raise Problem("internal_error", "The model's output is not a number on this picture.")
    if guided:
        return refine(pixels.rgb, soft)
    return resized(bytes_of(soft), pixels.height, pixels.width)


def guided_wanted(parameters: dict[str, Any]) -> bool:
    """Whether ``parameters`` has ``refine: guided``.

    Raises:
        ValueError: ``refine`` has another value.
    """
    value = parameters.get("refine", "none")
    if value not in ("none", "guided"):
        raise ValueError(f"refine: {value!r} is not one of none, guided")
    return bool(value == "guided")


def known(parameters: dict[str, Any], names: Iterable[str]) -> None:
    """Refuses parameters that the family does not have.

    Raises:
        ValueError: names the first unknown one.
    """
    for name in parameters:
        if name not in {*names, "refine", "digest"}:
            raise ValueError(f"unknown parameter {name!r}: this family has {', '.join(sorted(names))}, refine, digest")


def validated(kind: type[C], given: Mapping[str, Any], where: str) -> C:
    """``given`` as a contract.

    Raises:
        ValueError: one line that names every wrong field; it is the last line of what Serve tells of a failed start.
    """
    try:
        return kind.model_validate(given)
    except ValidationError as error:
        wrong = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors(include_url=False))
        raise ValueError(f"{where}: {wrong}") from None


def weights_folder(config: VersionConfig, default: Path | None = None) -> Path:
    """The folder that ``config.source`` names, as a path or as ``file:///…``.

    Raises:
        ValueError: it names none, and there is no default.
        FileNotFoundError: there is no such folder; the message names it and what to do.
    """
    if not config.source and default is None:
        raise ValueError(f"{config.app}: the family {config.family} needs source, a folder with the weights")
    folder = Path(config.source.removeprefix("file://")) if config.source else default
    assert folder is not None
    if not folder.is_dir():
        raise FileNotFoundError(
            f"{config.app}: there is no folder {folder}: put the model's files there (in Kubernetes, into the volume"
            " that the Pool mounts), or correct source"
        )
    return folder


# --- digests ------------------------------------------------------------------------------------------------------


def code_digest(text: str) -> str:
    """The digest of a family without weights: over its code version."""
    return "sha256:" + hashlib.sha256(text.encode()).hexdigest()


def file_digest(path: Path) -> str:
    """``sha256:…`` of a file."""
    sha = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(_PIECE):
            sha.update(piece)
    return "sha256:" + sha.hexdigest()


def folder_digest(folder: Path) -> str:
    """The digest of a model's folder: over its manifest, a line ``<sha256>  <relative path>`` per file, by path.

    What decides the answers is covered: safetensors, JSON and YAML, in sub-folders too; not the model card.
    """
    kept = (".safetensors", ".json", ".yaml")
    files = sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.suffix in kept and p.is_file())
    lines = (f"{file_digest(folder / name).removeprefix('sha256:')}  {name}\n" for name in files)
    return code_digest("".join(lines))


def checked_digest(folder: Path, parameters: dict[str, Any]) -> str:
    """The folder's digest, after ``parameters["digest"]``, where given, was compared with it.

    Raises:
        ValueError: the weights are not the ones that were asked for; they must not be loaded.
    """
    found = folder_digest(folder)
    wanted = parameters.get("digest")
    if wanted is not None and wanted != found:
        raise ValueError(f"the weights in {folder} have the digest {found}, not {wanted}: refusing to load them")
    return found
