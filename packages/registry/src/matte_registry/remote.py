"""A version at its source, without its weights."""

from __future__ import annotations

import hashlib

from matte_core.contracts.registry import Listing, ModelMetadata, Reason

from matte_registry.download import exactly
from matte_registry.errors import RegistryError
from matte_registry.folder import parse_metadata
from matte_registry.manifest import (
    MANIFEST_FILE,
    METADATA_FILE,
    SIGNATURE_FILE,
    canonical,
    is_covered,
    parse_manifest,
    predicted_digest,
)
from matte_registry.policy import VerificationPolicy
from matte_registry.progress import OnProgress, Tally, ignore
from matte_registry.signature import verify
from matte_registry.sources.base import Store

_SMALL = 1 << 20


class RemoteVersion:
    def __init__(self, store: Store, listing: Listing) -> None:
        self.store, self.listing = store, listing
        self._known: dict[str, str] | None = None

    def _read_small(self, path: str) -> bytes | None:
        file = self.listing.file(path)
        if file is None:
            return None
        if file.size > _SMALL:
            raise RegistryError(Reason.TOO_LARGE, f"{file.path} has {file.size} bytes, {_SMALL} may be read")
        return b"".join(exactly(self.store.read(file, 0, file.size), file.size, file.path))

    def metadata(self) -> ModelMetadata | None:
        data = self._read_small(METADATA_FILE)
        return None if data is None else parse_metadata(data, f"{self.listing.source}/{METADATA_FILE}")

    def signature(self) -> bytes | None:
        return self._read_small(SIGNATURE_FILE)

    def known_hashes(self) -> dict[str, str]:
        """The source's own hashes and those of ``matte.manifest``, by path. Raises RegistryError if they contradict."""
        if self._known is None:
            own = {file.path: file.sha256 for file in self.listing.files if file.sha256 is not None}
            manifest = self._read_small(MANIFEST_FILE)
            try:
                stated = {} if manifest is None else parse_manifest(manifest.decode())
            except ValueError as error:
                where = f"{self.listing.source}/{MANIFEST_FILE}"
                raise RegistryError(Reason.DIGEST_MISMATCH, f"{where}: {error}") from None
            wrong = [path for path in own if stated.get(path, own[path]) != own[path]]
            covered = {file.path for file in self.listing.files if is_covered(file.path)}
            if wrong or (stated and stated.keys() != covered):
                name = next(iter(wrong or stated.keys() ^ covered))
                raise RegistryError(
                    Reason.DIGEST_MISMATCH,
                    f"{self.listing.source}: its {MANIFEST_FILE} does not fit its file {name}. Publish it anew with"
                    " matte models push, or take the manifest out",
                )
            self._known = own | stated
        return self._known

    def expected_digest(self) -> str | None:
        """The digest if every hash is known; unverified until the files were read."""
        known = self.known_hashes()
        return predicted_digest((file.path, known.get(file.path)) for file in self.listing.files)

    def hashes(self, on_progress: OnProgress = ignore, *, trust: bool = True) -> dict[str, str]:
        """The hashes of the covered files; those without a known hash are read, all of them unless ``trust``.

        Raises:
            RegistryError: from the source; DIGEST_MISMATCH: a file does not have the stated hash.
        """
        known = self.known_hashes()
        covered = [file for file in self.listing.files if is_covered(file.path)]
        unread = [file for file in covered if not trust or file.path not in known]
        tally = Tally(sum(file.size for file in unread), on_progress)
        read = {}
        for file in unread:
            sha, size = hashlib.sha256(), 0
            for piece in self.store.read(file, 0, file.size):
                sha.update(piece)
                size += len(piece)
                tally.add(len(piece))
            if size != file.size and self.store.sized:
                raise RegistryError(Reason.SOURCE_UNAVAILABLE, f"{file.path}: the connection ended early. Try again")
            read[file.path] = sha.hexdigest()
        for path, found in read.items():
            if known.get(path, found) != found:
                raise RegistryError(
                    Reason.DIGEST_MISMATCH,
                    f"{self.listing.source}: {path} has the SHA-256 {found}, the source says {known[path]}: do not use"
                    " it, and publish the version anew",
                )
        return {file.path: read.get(file.path) or known[file.path] for file in covered}

    def check(self, policy: VerificationPolicy) -> None:
        """Checks before a download what can be checked without it.

        Raises:
            RegistryError: the license; and, where the hashes are known, the digest and the signature.
        """
        policy.check_license(self.metadata(), self.listing.source)
        digest = self.expected_digest()
        if digest is None:
            return
        policy.check_digest(digest, self.listing.source)
        if policy.keys:
            verify(canonical(self.known_hashes()), self.signature(), policy.keys, self.listing.source)
