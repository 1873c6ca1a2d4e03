"""The difference between two versions: files, tensors, and how far the values moved."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from matte_core.contracts.registry import Reason
from numpy.typing import NDArray

from matte_registry.errors import RegistryError
from matte_registry.manifest import is_covered
from matte_registry.remote import RemoteVersion
from matte_registry.tensors import read_tensors

_TYPES = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2", "I64": "<i8", "I32": "<i4", "I16": "<i2"}
_TYPES |= {"I8": "i1", "U8": "u1", "BOOL": "u1"}


@dataclass(frozen=True, slots=True)
class FileChange:
    """A file that differs; a size is None where the file is absent."""

    path: str
    old_size: int | None
    new_size: int | None


@dataclass(frozen=True, slots=True)
class TensorChange:
    """A tensor that differs. ``largest`` is the largest absolute change of a value, ``relative`` that of all values.

    Both are None where shape or type differ, or one is not there. ``relative`` is ‖new - old‖ / ‖old‖.
    """

    file: str
    name: str
    old: str | None
    new: str | None
    largest: float | None = None
    relative: float | None = None


@dataclass(frozen=True, slots=True)
class Diff:
    """All changes, and the number of tensors compared."""

    files: tuple[FileChange, ...]
    tensors: tuple[TensorChange, ...]
    compared: int

    @property
    def largest(self) -> TensorChange | None:
        """The tensor with the largest relative change."""
        moved = [change for change in self.tensors if change.relative is not None]
        return max(moved, key=lambda change: change.relative or 0.0, default=None)


def compare(old: RemoteVersion, new: RemoteVersion, *, values: bool = True) -> Diff:
    """What differs. With ``values``, weights that differ are read, tensor by tensor, where both sources have ranges.

    Raises:
        RegistryError: from the sources, or a broken safetensors file.
    """
    old_hashes, new_hashes = old.hashes(), new.hashes()
    files: list[FileChange] = []
    tensors: list[TensorChange] = []
    compared = 0
    for path in sorted(old_hashes.keys() | new_hashes.keys()):
        if not is_covered(path) or old_hashes.get(path) == new_hashes.get(path):
            continue
        before, after = old.listing.file(path), new.listing.file(path)
        files.append(FileChange(path, before.size if before else None, after.size if after else None))
        if path.endswith(".safetensors"):
            old_file, new_file = _WeightFile(old, path), _WeightFile(new, path)
            compared += len(old_file.tensors.keys() | new_file.tensors.keys())
            tensors += _tensor_changes(old_file, new_file, values=values and old.store.ranged and new.store.ranged)
    return Diff(tuple(files), tuple(tensors), compared)


class _WeightFile:
    """A file of weights in one of the versions; it has no tensors where the version does not have it."""

    def __init__(self, remote: RemoteVersion, path: str) -> None:
        self.path, self._store, self._file = path, remote.store, remote.listing.file(path)
        self.tensors = {} if self._file is None else read_tensors(self._store, self._file)

    def values(self, name: str) -> NDArray[np.float64]:
        assert self._file is not None
        tensor = self.tensors[name]
        raw = np.frombuffer(b"".join(self._store.read(self._file, tensor.start, tensor.end)), _TYPES[tensor.dtype])
        if raw.size != int(np.prod(tensor.shape, dtype=np.int64)):
            raise RegistryError(Reason.FILE_REFUSED, f"{self._file.path}: a tensor's values do not fit its shape")
        if tensor.dtype == "BF16":
            return (raw.astype(np.uint32) << 16).view(np.float32).astype(np.float64)
        return raw.astype(np.float64)


def _tensor_changes(old: _WeightFile, new: _WeightFile, *, values: bool) -> Iterator[TensorChange]:
    for name in sorted(old.tensors.keys() | new.tensors.keys()):
        before, after = old.tensors.get(name), new.tensors.get(name)
        if before is None or after is None or str(before) != str(after):
            yield TensorChange(old.path, name, str(before) if before else None, str(after) if after else None)
        elif values and before.dtype in _TYPES:
            old_values = old.values(name)
            moved = np.abs(new.values(name) - old_values)
            if moved.any():
                norm = float(np.linalg.norm(old_values))
                relative = float(np.linalg.norm(moved)) / norm if norm else float("inf")
                yield TensorChange(old.path, name, str(before), str(after), float(moved.max()), relative)
