"""The interface of every source."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from matte_core.contracts.registry import Listing, Reason, RemoteFile, StoredVersion

from matte_registry.download import Options, download
from matte_registry.errors import RegistryError
from matte_registry.folder import file_hash, list_files
from matte_registry.progress import OnProgress, Tally, ignore
from matte_registry.settings import RegistrySettings
from matte_registry.source_url import Source

#: bytes of one piece of a file
PIECE = 1 << 20


@dataclass(frozen=True, slots=True)
class Upload:
    """A file to publish, and its path on this machine."""

    file: RemoteFile
    local: Path

    @classmethod
    def of(cls, folder: Path, path: str) -> Self:
        """The file at ``path`` in a folder; it is read for its hash."""
        local = folder / path
        return cls(RemoteFile(path=path, size=local.stat().st_size, sha256=file_hash(local)), local)


class Store(ABC):
    """The place of one version, or where one can be published. Thread-safe.

    Every method raises ``RegistryError``: absent, denied, unavailable, or a file that is refused.
    """

    #: whether parts of a file can be read; else :meth:`read` is called for whole files only
    ranged: bool = True
    #: whether listings have the sizes of files; else upper bounds
    sized: bool = True

    def __init__(self, source: Source, settings: RegistrySettings) -> None:
        self._source, self._settings = source, settings

    @abstractmethod
    def resolve(self) -> Listing:
        """The files that are there now. Pins the source where it can be pinned; reads no weights."""

    def stated_digest(self) -> str | None:
        """The version's digest if the source itself says it, without a request; unverified."""
        return None

    def fetch(
        self, files: Sequence[RemoteFile], folder: Path, options: Options, on_progress: OnProgress = ignore
    ) -> dict[str, str]:
        """Downloads files of the listing into ``folder/files``, or resumes that. Returns their SHA-256 by path."""
        return download(self, files, folder, options, on_progress)

    def read(self, file: RemoteFile, start: int, end: int) -> Iterator[bytes]:
        """The bytes from ``start`` to before ``end``, in pieces.

        Raises:
            RegistryError: SOURCE_CHANGED, the file is not the one of the listing, as far as the source can tell.
        """
        if start < end:
            yield from self._read(file, start, end)

    @abstractmethod
    def _read(self, file: RemoteFile, start: int, end: int) -> Iterator[bytes]: ...

    @abstractmethod
    def push(self, uploads: Sequence[Upload], tally: Tally) -> str:
        """Publishes files in this order, so that the manifest comes last. Returns the pinned source."""

    @abstractmethod
    def versions(self) -> Iterator[StoredVersion]:
        """The versions below this place, or under this name."""

    def _listing(self, files: Iterator[RemoteFile]) -> Listing:
        return list_files(str(self._source), files, self._settings.source_max_files * 10)

    def _url_of(self, path: str) -> str:
        return f"{self._source}/{path}".rstrip("/")


class ReadOnlyStore(Store):
    """Names single versions, and takes none."""

    def push(self, uploads: Sequence[Upload], tally: Tally) -> str:  # noqa: ARG002
        raise self._read_only()

    def versions(self) -> Iterator[StoredVersion]:
        raise self._read_only()

    def _read_only(self) -> RegistryError:
        return RegistryError(
            Reason.SOURCE_INVALID,
            f"{self._source.scheme}:// names single versions and takes none: push to, or list, s3://, gs://, oci://,"
            " hf://, mlflow://, pvc:// or a folder",
        )
