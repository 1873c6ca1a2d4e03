"""``file://`` and ``pvc://``: folders that are mounted here."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

from matte_core.contracts.registry import Listing, Reason, RemoteFile, StoredVersion

from matte_registry.errors import RegistryError
from matte_registry.folder import parse_metadata, scan
from matte_registry.manifest import MANIFEST_FILE, METADATA_FILE, text_digest
from matte_registry.progress import Tally
from matte_registry.settings import RegistrySettings
from matte_registry.source_url import Scheme, Source
from matte_registry.sources.base import PIECE, Store, Upload

_MAX_VERSIONS = 1000


def folder_of(source: Source, settings: RegistrySettings) -> Path:
    """The folder that a source names. Raises RegistryError if the claim is not mounted here."""
    if source.scheme is Scheme.FILE:
        return Path(source.path)
    root = settings.claims.get(source.host)
    if root is None:
        known = ", ".join(sorted(settings.claims)) or "none"
        raise RegistryError(
            Reason.SOURCE_NOT_FOUND,
            f"the claim {source.host} is not mounted here (mounted: {known}): name it in the Pool's spec.weights",
        )
    return root / source.path


class LocalFolder(Store):
    def __init__(self, source: Source, settings: RegistrySettings) -> None:
        super().__init__(source, settings)
        self._folder = folder_of(source, settings)

    def resolve(self) -> Listing:
        return scan(self._folder, self._settings.source_max_files * 10).model_copy(update={"source": str(self._source)})

    def _read(self, file: RemoteFile, start: int, end: int) -> Iterator[bytes]:
        try:
            with (self._folder / file.path).open("rb") as opened:
                opened.seek(start)
                while start < end and (piece := opened.read(min(PIECE, end - start))):
                    start += len(piece)
                    yield piece
        except OSError as error:
            raise RegistryError(Reason.SOURCE_NOT_FOUND, f"{self._source}: {error}") from None

    def push(self, uploads: Sequence[Upload], tally: Tally) -> str:
        """Copies into a folder beside the target, and then gives it its name: nobody sees half of it."""
        target = self._folder
        if target.exists():
            raise RegistryError(
                Reason.SOURCE_INVALID, f"{target} exists: a version never changes, publish it under another name"
            )
        staging = target.with_name(f".{target.name}.{os.getpid()}")
        try:
            for upload in uploads:
                copy = staging / upload.file.path
                copy.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(upload.local, copy)
                tally.add(upload.file.size)
            staging.rename(target)
        except OSError as error:
            raise RegistryError(Reason.ACCESS_DENIED, f"{target} cannot be written: {error}") from None
        finally:
            shutil.rmtree(staging, ignore_errors=True)
        return str(self._source)

    def versions(self) -> Iterator[StoredVersion]:
        found = (path for path in sorted(self._folder.rglob(METADATA_FILE)) if ".." not in path.parts)
        for _, path in zip(range(_MAX_VERSIONS), found, strict=False):
            manifest = path.with_name(MANIFEST_FILE)
            files = [file for file in path.parent.rglob("*") if file.is_file()]
            yield StoredVersion(
                source=f"{self._source}/{path.parent.relative_to(self._folder).as_posix()}".removesuffix("/."),
                digest=text_digest(manifest.read_text()) if manifest.is_file() else None,
                size=sum(file.stat().st_size for file in files),
                label=parse_metadata(path.read_bytes(), str(path)).version or path.parent.name,
            )
