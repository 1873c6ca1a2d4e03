"""What a version must fulfil."""

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
    """What a version must fulfil.

    Args:
        digest: the pinned one; None: any.
        keys: one of these must have signed it; none: no signature is asked for.
        licenses: those allowed; none: every one.
        license: what the Model says, where the version's metadata says nothing.

    Raises:
        RegistryError: ``digest`` is none.
    """

    digest: str | None = None
    keys: Sequence[PublicKey] = ()
    licenses: Collection[str] = ()
    license: str | None = None

    def __post_init__(self) -> None:
        if self.digest is not None and not _DIGEST.fullmatch(self.digest):
            raise RegistryError(Reason.DIGEST_MISMATCH, f"{self.digest[:80]!r} is not a digest: sha256: and 64 digits")

    def check_digest(self, found: str, where: str) -> None:
        """Refuses another digest than the pinned one.

        Raises:
            RegistryError: DIGEST_MISMATCH.
        """
        if self.digest not in (None, found):
            raise RegistryError(
                Reason.DIGEST_MISMATCH,
                f"{where} has the digest {found}, pinned is {self.digest}: refusing it. If the change is wanted,"
                " publish it as a new version",
            )

    def check_license(self, metadata: ModelMetadata | None, where: str) -> None:
        """Refuses a license that is not allowed.

        Raises:
            RegistryError: LICENSE_REFUSED.
        """
        why = license_refusal(metadata.license if metadata else self.license, self.licenses)
        if why is not None:
            raise RegistryError(Reason.LICENSE_REFUSED, f"{where}: {why}")


ACCEPT_ANY = VerificationPolicy()
