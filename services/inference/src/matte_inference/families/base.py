"""The protocol of a model family, and what versions of any family share.

A family turns one picture into one alpha in three steps, so that a replica can overlap them: ``prepare`` and
``finish`` run in threads, for single pictures; ``forward`` runs for a batch, one at a time, on the device.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from matte_core.errors import Problem
from numpy.typing import NDArray

from matte_inference.pixels.guided import refine
from matte_inference.pixels.resize import resized
from matte_inference.pixels.types import Bytes, Floats, Pixels, bytes_of

Prepared = NDArray[Any]
Alpha = Bytes | Floats
_PIECE = 1 << 20


class Segmenter(Protocol):
    """One loaded version. ``prepare`` and ``finish`` are thread-safe; ``forward`` is called by one thread at a time."""

    digest: str
    """``sha256:…`` over the weights (:func:`folder_digest`), or over the code version of a family without weights."""

    device: str
    """``cpu``, ``cuda``, …"""

    def prepare(self, pixels: Pixels) -> Prepared:
        """What ``forward`` takes for one picture."""
        ...

    def forward(self, batch: Sequence[Prepared]) -> list[Alpha]:
        """One alpha per item, in order, at the network's size: uint8 0 … 255 or float32 0 … 1, (h, w)."""
        ...

    def finish(self, pixels: Pixels, alpha: Alpha) -> Bytes:
        """The alpha at the picture's size, uint8 (H, W). NaN raises ``Problem("internal_error")``."""
        ...


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
