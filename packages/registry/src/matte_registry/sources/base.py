"""The protocol of a source."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, Self

from matte_core.contracts.registry import Listing, RemoteFile, StoredVersion

from matte_registry.folder import file_hash
from matte_registry.progress import Tally

PIECE = 1 << 20


@dataclass(frozen=True, slots=True)
class Upload:
    """A file to publish, and where it lies on this machine."""

    file: RemoteFile
    place: Path

    @classmethod
    def of(cls, folder: Path, path: str) -> Self:
        """The file at ``path`` in a folder; it is read for its hash."""
        place = folder / path
        return cls(RemoteFile(path=path, size=place.stat().st_size, sha256=file_hash(place)), place)


class Store(Protocol):
    """A place with one version's folder, or where one can be put. Methods may be called by several threads."""

    ranged: bool
    """Whether parts of a file can be asked for; else ``read`` is called for whole files alone."""

    def resolve(self) -> Listing:
        """What is there now, without weights being read.

        Raises:
            RegistryError: not there, denied, away, or a file that is refused.
        """
        ...

    def read(self, file: RemoteFile, start: int, end: int) -> Iterator[bytes]:
        """The bytes from ``start`` to before ``end``, in pieces.

        Raises:
            RegistryError: as above; SOURCE_CHANGED where it is seen that the file is not the one of the listing.
        """
        ...

    def push(self, uploads: Sequence[Upload], tally: Tally) -> str:
        """Puts files there, in this order, so that the manifest comes last; the answer is the pinned source.

        Raises:
            RegistryError: as above.
        """
        ...

    def versions(self) -> Iterator[StoredVersion]:
        """The versions below this place, or under this name.

        Raises:
            RegistryError: as above.
        """
        ...
