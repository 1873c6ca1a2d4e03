"""A version's folder on this machine: its files, its hashes, its metadata."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import yaml
from matte_core.contracts.registry import Listing, ModelMetadata, Reason, RemoteFile
from pydantic import ValidationError
from pydantic_core import ErrorDetails

from matte_registry.errors import RegistryError, missing_folder
from matte_registry.manifest import (
    METADATA_FILE,
    SIGNATURE_FILE,
    canonical,
    exclusion_reason,
    is_covered,
    is_pickle,
    text_digest,
)
from matte_registry.settings import RegistrySettings

_PIECE = 1 << 20
_METADATA_MAX_BYTES = 1 << 18


@dataclass(frozen=True, slots=True)
class Hashed:
    """The SHA-256 of a folder's covered files by path."""

    hashes: Mapping[str, str]

    @property
    def manifest(self) -> str:
        return canonical(self.hashes)

    @property
    def digest(self) -> str:
        return text_digest(self.manifest)


def check_limits(listing: Listing, settings: RegistrySettings) -> None:
    """Raises RegistryError if a listing has too many files or bytes, or no weights."""
    most = settings.source_max_files
    if len(listing.files) > most:
        raise RegistryError(Reason.TOO_LARGE, f"{listing.source} has {len(listing.files)} files, {most} may be taken")
    if listing.size > settings.source_max_bytes:
        raise RegistryError(
            Reason.TOO_LARGE,
            f"{listing.source} has {listing.size / 1e6:.1f} MB, {settings.source_max_bytes / 1e6:.1f} MB may be taken:"
            " raise MATTE_SOURCE_MAX_BYTES, or publish fewer files",
        )
    if any(file.path.endswith((".safetensors", ".onnx")) for file in listing.files):
        return
    if pickles := [path for path in listing.excluded if is_pickle(path)]:
        raise RegistryError(
            Reason.NO_WEIGHTS,
            f"{listing.source} has its weights only as {pickles[0]}, a format that can run code when it is loaded:"
            " convert them with safetensors.torch.save_file and publish the result",
        )
    raise RegistryError(
        Reason.NO_WEIGHTS,
        f"{listing.source} has neither safetensors nor ONNX: is it the folder of a version? Correct source",
    )


def list_files(source: str, found: Iterator[RemoteFile], limit: int) -> Listing:
    """What is taken of the files ``found`` at a source, whose paths are relative to the version's folder.

    Raises RegistryError for a dangerous path, and for more than ``limit`` files, taken or not.
    """
    taken: list[RemoteFile] = []
    excluded: dict[str, str] = {}
    for number, file in enumerate(found):
        if number >= limit:
            raise RegistryError(Reason.TOO_LARGE, f"{source} has more than {limit} files: is it a version's folder?")
        try:
            why = exclusion_reason(file.path)
        except ValueError as error:
            raise RegistryError(Reason.FILE_REFUSED, f"{source}: {error}") from None
        if why is None:
            taken.append(file)
        else:
            excluded[file.path] = why
    return Listing(source=source, files=tuple(sorted(taken, key=lambda f: f.path)), excluded=excluded)


def scan(folder: Path, limit: int = 10_000) -> Listing:
    """The files of a folder, unread. Raises RegistryError if it is absent, a link leads out or a name is refused."""
    if not folder.is_dir():
        raise missing_folder(folder)
    root = folder.resolve()
    return list_files(f"file://{root}", _entries(root), limit)


def _entries(root: Path) -> Iterator[RemoteFile]:
    for path in sorted(root.rglob("*")):
        if not path.is_file():
            continue
        name = path.relative_to(root).as_posix()
        if not name.startswith(".") and not path.resolve().is_relative_to(root):
            raise RegistryError(
                Reason.FILE_REFUSED, f"{path} is a link that leads out of the folder: copy what it links to (cp -L)"
            )
        about = path.stat()
        yield RemoteFile(path=name, size=about.st_size, tag=f"{about.st_mtime_ns}-{about.st_ino}")


def file_hash(path: Path) -> str:
    """SHA-256 of a file, hexadecimal."""
    sha = hashlib.sha256()
    with path.open("rb", buffering=0) as file:
        while piece := file.read(_PIECE):
            sha.update(piece)
    return sha.hexdigest()


def hashed(folder: Path, listing: Listing | None = None) -> Hashed:
    """Reads the covered files of a folder. Raises what :func:`scan` raises."""
    files = (listing or scan(folder)).files
    return Hashed({file.path: file_hash(folder / file.path) for file in files if is_covered(file.path)})


def read_signature(folder: Path) -> bytes | None:
    """Content of the folder's ``matte.sig``, or None where there is none."""
    path = folder / SIGNATURE_FILE
    return path.read_bytes() if path.is_file() else None


def read_metadata(folder: Path) -> ModelMetadata | None:
    """The folder's ``matte.yaml``; None where there is none. Raises RegistryError if it violates the contract."""
    path = folder / METADATA_FILE
    if not path.is_file():
        return None
    with path.open("rb") as file:
        return parse_metadata(file.read(_METADATA_MAX_BYTES + 1), str(path))


def parse_metadata(data: bytes, where: str) -> ModelMetadata:
    """``matte.yaml`` as a contract. Raises RegistryError that names every wrong field in one line."""
    if len(data) > _METADATA_MAX_BYTES:
        raise RegistryError(Reason.METADATA_INVALID, f"{where} has more than {_METADATA_MAX_BYTES} bytes")
    try:
        return ModelMetadata.model_validate(yaml.safe_load(data))
    except ValidationError as error:
        wrong = "; ".join(map(_field_error, error.errors(include_url=False)))
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        wrong = f"not YAML: {' '.join(str(error).split())}"
    raise RegistryError(Reason.METADATA_INVALID, f"{where}: {wrong}. Correct it and publish the version again")


def _field_error(error: ErrorDetails) -> str:
    unknown = error["type"] == "extra_forbidden"
    message = "no family has this field: remove it" if unknown else error["msg"].removeprefix("Value error, ")
    return f"{'.'.join(map(str, error['loc'])) or 'the file'}: {message}"
