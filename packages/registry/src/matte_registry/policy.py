"""What a version must satisfy."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from matte_core.contracts.registry import ModelMetadata, Reason
from matte_core.domain.license import license_refusal

from matte_registry.errors import RegistryError
from matte_registry.signature import PublicKey

_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class VerificationPolicy:
    """What a version must satisfy.

    Args:
        digest: the pinned digest; None: any.
        keys: one of them must have signed the version; empty: no signature is required.
        licenses: the allowed ones; empty: all.
        license: that of the Model, for a version without metadata.

    Raises:
        RegistryError: ``digest`` is malformed.
    """

    digest: str | None = None
    keys: Sequence[PublicKey] = ()
    licenses: Collection[str] = ()
    license: str | None = None

    def __post_init__(self) -> None:
        if self.digest is not None and not _DIGEST.fullmatch(self.digest):
            raise RegistryError(Reason.DIGEST_MISMATCH, f"{self.digest[:80]!r} is not a digest: sha256: and 64 digits")

    def check_digest(self, found: str, where: str) -> None:
        """Raises RegistryError (DIGEST_MISMATCH) if ``found`` is not the pinned digest."""
        if self.digest not in (None, found):
            raise RegistryError(
                Reason.DIGEST_MISMATCH,
                f"{where} has the digest {found}, pinned is {self.digest}: refusing it. If the change is wanted,"
                " publish it as a new version",
            )

    def check_license(self, metadata: ModelMetadata | None, where: str) -> None:
        """Raises RegistryError (LICENSE_REFUSED) if the license is not allowed."""
        why = license_refusal(metadata.license if metadata else self.license, self.licenses)
        if why is not None:
            raise RegistryError(Reason.LICENSE_REFUSED, f"{where}: {why}")


ACCEPT_ANY = VerificationPolicy()
