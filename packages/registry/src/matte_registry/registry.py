"""Fetches model versions from their sources into verified folders on this machine, and publishes them.

A version is refused unless its names, sizes, metadata, license, signature and digest are valid.
"""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from matte_core.contracts.registry import Listing, ModelMetadata, Reason, StoredVersion

from matte_registry.cache import Cache, CacheLease
from matte_registry.catalog import check_terms
from matte_registry.download import Options
from matte_registry.errors import RegistryError, disk_errors
from matte_registry.folder import Hashed, check_limits, hashed, read_metadata, read_signature, scan
from matte_registry.manifest import MANIFEST_FILE, SIGNATURE_FILE
from matte_registry.policy import ACCEPT_ANY, VerificationPolicy
from matte_registry.progress import OnProgress, Tally, ignore
from matte_registry.remote import RemoteVersion
from matte_registry.settings import RegistrySettings
from matte_registry.signature import PrivateKey, sign, verify
from matte_registry.source_url import Scheme, Source
from matte_registry.sources import open_store, parse
from matte_registry.sources.base import Store, Upload
from matte_registry.sources.local import folder_of


@dataclass(frozen=True, slots=True)
class Ready:
    """A verified version on this machine. ``lease`` keeps it in the cache; None if it is not in one."""

    folder: Path
    digest: str
    metadata: ModelMetadata | None
    source: str
    lease: CacheLease | None = field(default=None, repr=False)

    def release(self) -> None:
        """Allows the cache to evict the version: it is loaded, or no longer needed."""
        if self.lease is not None:
            self.lease.release()


@dataclass(frozen=True, slots=True)
class Resolved:
    source: str
    digest: str
    listing: Listing
    metadata: ModelMetadata | None


class Registry:
    def __init__(self, settings: RegistrySettings | None = None) -> None:
        self._settings = settings or RegistrySettings()

    @property
    def cache(self) -> Cache:
        s = self._settings
        return Cache(s.cache_dir, s.cache_max_bytes, partial_seconds=s.cache_partial_seconds)

    def resolve(self, text: str, policy: VerificationPolicy = ACCEPT_ANY, on_progress: OnProgress = ignore) -> Resolved:
        """The version that a source has now, and its digest. Files without a known hash are read, nothing is stored.

        Hashes that the source states are trusted here; :meth:`ensure` verifies them.

        Raises:
            RegistryError: the source or its version is refused.
        """
        return self._read(text, policy, on_progress, trust=True)

    def ensure(self, text: str, policy: VerificationPolicy = ACCEPT_ANY, on_progress: OnProgress = ignore) -> Ready:
        """The version's verified folder on this machine: from the cache, else downloaded into it.

        A folder (``file://``, ``pvc://``) is verified in place. A pinned version in the cache does not need its source,
        so a node can start while the source is unavailable.

        Raises:
            RegistryError: it is unavailable, or violates ``policy``. Nothing of it may be loaded.
        """
        source = parse(text)
        if source.scheme in {Scheme.FILE, Scheme.PVC}:
            return self.check_folder(folder_of(source, self._settings), policy)
        _check_terms(source, policy)
        cache = self.cache
        if policy.digest and (ready := self._cached(cache, source, policy.digest, policy)):
            return ready
        store = open_store(source, self._settings)
        stated = None if policy.digest else store.stated_digest()
        if stated and (ready := self._cached(cache, source, stated, policy)):
            return ready
        remote = self._resolved(store)
        remote.check(policy)
        digest = policy.digest or remote.expected_digest()
        if digest not in {None, policy.digest, stated} and (ready := self._cached(cache, source, digest, policy)):
            return ready
        content = digest or remote.listing.model_dump_json()  # downloads of the same content share a folder
        with cache.lock_partial(hashlib.sha256(content.encode()).hexdigest()) as partial:
            if digest and (ready := self._cached(cache, source, digest, policy)):
                return ready  # another process was faster
            with disk_errors(self._settings.cache_dir):
                return self._fetch(cache, remote, partial, policy, on_progress)

    def is_cached(self, text: str, digest: str | None = None) -> bool:
        """Whether :meth:`ensure` would need no source; the files are not read. ``digest`` as pinned, if it is."""
        expected = digest or open_store(parse(text), self._settings).stated_digest()
        lease = self.cache.acquire(expected) if expected else None
        if lease is None:
            return False
        lease.release()
        return True

    def verify(self, text: str, policy: VerificationPolicy = ACCEPT_ANY, on_progress: OnProgress = ignore) -> Resolved:
        """Like :meth:`resolve`, but every covered file is read: hashes that the source states are not trusted."""
        return self._read(text, policy, on_progress, trust=False)

    def _read(self, text: str, policy: VerificationPolicy, on_progress: OnProgress, *, trust: bool) -> Resolved:
        _check_terms(parse(text), policy)
        remote = self.remote(text)
        remote.check(policy)
        found = Hashed(remote.hashes(on_progress, trust=trust))
        policy.check_digest(found.digest, remote.listing.source)
        if policy.keys:
            verify(found.manifest, remote.signature(), policy.keys, remote.listing.source)
        metadata = remote.metadata()
        _check_weights(metadata, found, remote.listing.source)
        return Resolved(remote.listing.source, found.digest, remote.listing, metadata)

    def pull(
        self, text: str, target: Path, policy: VerificationPolicy = ACCEPT_ANY, on_progress: OnProgress = ignore
    ) -> Ready:
        """Downloads a version into ``target`` (absent or empty), or resumes that. Raises as :meth:`ensure` does."""
        if target.exists() and (not target.is_dir() or any(target.iterdir())):
            raise RegistryError(Reason.SOURCE_INVALID, f"{target} is not an empty folder: name another one")
        _check_terms(parse(text), policy)
        remote = self.remote(text)
        remote.check(policy)
        partial = target.with_name(f".{target.name}.partial")
        with disk_errors(target.absolute().parent):
            remote.store.fetch(remote.listing.files, partial, Options.of(self._settings), on_progress)
        ready = self.check_folder(partial / "files", policy, remote.listing.source)
        if target.exists():
            target.rmdir()
        (partial / "files").rename(target)
        shutil.rmtree(partial, ignore_errors=True)
        return Ready(target, ready.digest, ready.metadata, ready.source)

    def check_folder(self, folder: Path, policy: VerificationPolicy = ACCEPT_ANY, source: str | None = None) -> Ready:
        """Verifies a folder on this machine. Raises RegistryError if it violates ``policy``."""
        listing = scan(folder, self._settings.source_max_files * 10)
        check_limits(listing, self._settings)
        found = hashed(folder, listing)
        where = source or f"file://{folder}"
        policy.check_digest(found.digest, where)
        if policy.keys:
            verify(found.manifest, read_signature(folder), policy.keys, where)
        metadata = read_metadata(folder)
        policy.check_license(metadata, where)
        _check_weights(metadata, found, where)
        return Ready(folder, found.digest, metadata, where)

    def push(self, folder: Path, text: str, key: PrivateKey | None = None, on_progress: OnProgress = ignore) -> Ready:
        """Publishes a folder with its manifest and, if ``key`` is given, its signature.

        Raises:
            RegistryError: the folder has no valid metadata, no weights or a pickle; or the source refuses it.
        """
        listing = scan(folder)
        check_limits(listing, self._settings)
        metadata = read_metadata(folder)
        if metadata is None:
            raise RegistryError(
                Reason.METADATA_INVALID,
                f"{folder} has no matte.yaml: write one, at least with the lines 'family: NAME' and 'license: SPDX'",
            )
        for path, why in listing.excluded.items():
            if why != "hidden":
                raise RegistryError(Reason.FILE_REFUSED, f"{folder / path} is {why}. Take it out of the folder")
        found = hashed(folder, listing)
        _check_weights(metadata, found, str(folder))
        store = open_store(parse(text), self._settings)
        with tempfile.TemporaryDirectory(prefix="matte-push-") as name:
            made = Path(name)
            if key is not None:
                (made / SIGNATURE_FILE).write_bytes(sign(found.manifest, key))
            elif (
                listing.file(SIGNATURE_FILE)
                and listing.file(MANIFEST_FILE)
                and (folder / MANIFEST_FILE).read_text() == found.manifest
            ):  # nothing changed: the signature still holds
                shutil.copyfile(folder / SIGNATURE_FILE, made / SIGNATURE_FILE)
            (made / MANIFEST_FILE).write_text(found.manifest)
            last = (SIGNATURE_FILE, MANIFEST_FILE)
            uploads = [Upload.of(folder, file.path) for file in listing.files if file.path not in last]
            uploads += [Upload.of(made, name) for name in last if (made / name).exists()]
            pinned = store.push(uploads, Tally(sum(upload.file.size for upload in uploads), on_progress))
        return Ready(folder, found.digest, metadata, pinned)

    def versions(self, text: str) -> Iterator[StoredVersion]:
        """The versions below a folder, or under a name. Raises RegistryError if it cannot be read."""
        return open_store(parse(text), self._settings).versions()

    def remote(self, source: str | Source) -> RemoteVersion:
        """The version at a source, not downloaded. Raises RegistryError if it cannot be read, or is refused."""
        return self._resolved(open_store(parse(source) if isinstance(source, str) else source, self._settings))

    def _resolved(self, store: Store) -> RemoteVersion:
        listing = store.resolve()
        check_limits(listing, self._settings)
        return RemoteVersion(store, listing)

    def _cached(self, cache: Cache, source: Source, digest: str, policy: VerificationPolicy) -> Ready | None:
        """The version from the cache, hashed again; a damaged one is removed, and None returned."""
        lease = cache.acquire(digest)
        if lease is None:
            return None
        try:
            found = hashed(lease.folder)
            if found.digest != digest:
                cache.discard(digest)
                lease.release()
                return None
            if policy.keys:
                try:
                    verify(found.manifest, read_signature(lease.folder), policy.keys, str(source))
                except RegistryError:  # signed since it was cached
                    verify(found.manifest, self.remote(source).signature(), policy.keys, str(source))
            metadata = read_metadata(lease.folder)
            policy.check_license(metadata, str(source))
        except BaseException:
            lease.release()
            raise
        return Ready(lease.folder, digest, metadata, str(source), lease)

    def _fetch(
        self, cache: Cache, remote: RemoteVersion, partial: Path, policy: VerificationPolicy, on_progress: OnProgress
    ) -> Ready:
        cache.reserve(remote.listing.size, partial)
        known = remote.known_hashes()
        files = [file.model_copy(update={"sha256": known.get(file.path, file.sha256)}) for file in remote.listing.files]
        here = {
            f.path: f.sha256 for f in files if f.sha256 and cache.link(f.sha256, f.size, partial / "files" / f.path)
        }
        wanted = [file for file in files if file.path not in here]
        hashes = remote.store.fetch(wanted, partial, Options.of(self._settings), on_progress) | here
        try:
            ready = self.check_folder(partial / "files", policy, remote.listing.source)
        except RegistryError:
            shutil.rmtree(partial, ignore_errors=True)  # not to be resumed
            raise
        cache.publish(ready.digest, partial, hashes)
        lease = cache.acquire(ready.digest)
        if lease is None:
            raise RegistryError(
                Reason.CACHE_FULL, f"{remote.listing.source} was evicted at once: the cache is too small"
            )
        return Ready(lease.folder, ready.digest, ready.metadata, ready.source, lease)


def _check_terms(source: Source, policy: VerificationPolicy) -> None:
    check_terms(source, frozenset(policy.licenses), policy.license)


def _check_weights(metadata: ModelMetadata | None, found: Hashed, where: str) -> None:
    """Refuses weights that are not those that ``matte.yaml`` names."""
    for path, digest in (metadata.weights if metadata else {}).items():
        if digest != f"sha256:{found.hashes.get(path)}":
            raise RegistryError(
                Reason.METADATA_INVALID,
                f"{where}: matte.yaml names {path} with {digest}, the file has another digest: refusing to load it."
                " Correct matte.yaml, or restore the file",
            )


__all__ = ["ACCEPT_ANY", "Ready", "Registry", "Resolved", "VerificationPolicy"]
