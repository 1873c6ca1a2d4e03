"""``catalog://``: a version of the catalog, from the first of its places that has it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from matte_core.contracts.registry import Listing, Reason, RemoteFile, StoredVersion

from matte_registry.catalog import digest_of, find, known_models, listed_files, place_of, written_files
from matte_registry.download import Options
from matte_registry.errors import RegistryError
from matte_registry.progress import OnProgress, ignore
from matte_registry.settings import RegistrySettings
from matte_registry.source_url import Source
from matte_registry.sources import open_store
from matte_registry.sources.base import ReadOnlyStore, Store

#: attempts at a place, unless it is the last one
_ATTEMPTS = 2


class KnownModel(ReadOnlyStore):
    """The content is what the entry's hash says, so it does not matter which place it comes from."""

    def __init__(self, source: Source, settings: RegistrySettings) -> None:
        self._model, self._entry = find(source)
        super().__init__(replace(source, path=self._model.name, version=self._entry.version), settings)
        self._written = written_files(self._model, self._entry)
        self._place: Store | None = None

    def resolve(self) -> Listing:
        return self._listing(iter(listed_files(self._model, self._entry)))

    def stated_digest(self) -> str | None:
        return digest_of(self._model, self._entry)

    def fetch(
        self, files: Sequence[RemoteFile], folder: Path, options: Options, on_progress: OnProgress = ignore
    ) -> dict[str, str]:
        hashes = {}
        for file in files:
            target = folder / "files" / file.path
            target.parent.mkdir(parents=True, exist_ok=True)
            if file.path in self._written:
                target.write_bytes(self._written[file.path])
                hashes[file.path] = hashlib.sha256(self._written[file.path]).hexdigest()
            else:
                hashes |= self._fetch_weights(file, folder, options, on_progress)
        return hashes

    def _fetch_weights(
        self, file: RemoteFile, folder: Path, options: Options, on_progress: OnProgress
    ) -> dict[str, str]:
        failures = []
        for number, place in enumerate(self._entry.places, 1):
            last = number == len(self._entry.places)
            tries = options if last else replace(options, attempts=min(options.attempts, _ATTEMPTS))
            try:
                store = open_store(place_of(place, self._entry.sha256), self._settings)
                return _fetch_again_if_mixed(store, file, folder, tries, on_progress)
            except RegistryError as error:
                failures.append(error)
        raise self._unavailable(failures)

    def _unavailable(self, failures: Sequence[RegistryError]) -> RegistryError:
        """One error for all places; transient if one of them is."""
        if len(failures) == 1:
            return RegistryError(failures[0].reason, f"{self._source}: {failures[0]}")
        reasons = [failure.reason for failure in failures]
        away = Reason.SOURCE_UNAVAILABLE in reasons
        detail = "; ".join(f"{number}. {failure}" for number, failure in enumerate(failures, 1))
        return RegistryError(
            Reason.SOURCE_UNAVAILABLE if away else reasons[0],
            f"{self._source}: none of its {len(failures)} places has it: {detail}",
        )

    def _read(self, file: RemoteFile, start: int, end: int) -> Iterator[bytes]:
        if file.path in self._written:
            yield self._written[file.path][start:end]
            return
        if self._place is None:
            self._place = self._first_place()
        yield from self._place.read(file, start, end)

    def _first_place(self) -> Store:
        failures = []
        for place in self._entry.places:
            try:
                store = open_store(place_of(place, self._entry.sha256), self._settings)
                store.resolve()
            except RegistryError as error:
                failures.append(error)
            else:
                return store
        raise self._unavailable(failures)

    def versions(self) -> Iterator[StoredVersion]:
        for version in known_models()[self._model.name].versions:
            source = replace(self._source, version=version.version)
            size = sum(file.size for file in listed_files(self._model, version))
            digest = digest_of(self._model, version)
            yield StoredVersion(source=str(source), digest=digest, size=size, label=version.version)


def _fetch_again_if_mixed(
    store: Store, file: RemoteFile, folder: Path, options: Options, on_progress: OnProgress
) -> dict[str, str]:
    """Resumes what an earlier download left; if that makes another file, it came from another place: begins anew."""
    resumed = any((folder / name).is_dir() for name in ("journal", "tarball"))
    try:
        return store.fetch([file], folder, options, on_progress)
    except RegistryError as error:
        if not resumed or error.reason is not Reason.DIGEST_MISMATCH:
            raise
    return store.fetch([file], folder, options, on_progress)
