"""Signatures of a version: over the bytes of its canonical manifest, whose SHA-256 is the digest.

``matte.sig`` is the signature in base64: ECDSA P-256 with SHA-256 (DER), or Ed25519. That is what ``cosign sign-blob
--key`` makes of ``matte.manifest``, and what ``cosign verify-blob`` and openssl check.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from matte_core.contracts.registry import Reason

from matte_registry.errors import RegistryError

PublicKey = ec.EllipticCurvePublicKey | Ed25519PublicKey
PrivateKey = ec.EllipticCurvePrivateKey | Ed25519PrivateKey
MAX_BYTES = 4096
_KINDS = "an ECDSA P-256 or Ed25519 key in PEM (cosign generate-key-pair or openssl genpkey make one)"


def public_key(pem: bytes) -> PublicKey:
    """A public key. Raises RegistryError if it cannot be read, or is of another kind."""
    try:
        key = serialization.load_pem_public_key(pem)
    except (ValueError, UnsupportedAlgorithm):
        raise RegistryError(Reason.SIGNATURE_INVALID, f"the public key cannot be read: give {_KINDS}") from None
    if isinstance(key, Ed25519PublicKey) or (_is_ecdsa(key) and isinstance(key, ec.EllipticCurvePublicKey)):
        return key
    raise RegistryError(Reason.SIGNATURE_INVALID, f"the public key is of another kind: give {_KINDS}")


def private_key(pem: bytes, passphrase: bytes | None = None) -> PrivateKey:
    """A private key, PKCS #8. Raises RegistryError if the passphrase is wrong, or the key is of another kind."""
    try:
        key = serialization.load_pem_private_key(pem, passphrase)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise RegistryError(
            Reason.SIGNATURE_INVALID, f"the private key cannot be read: is the passphrase right? It must be {_KINDS}"
        ) from None
    if isinstance(key, Ed25519PrivateKey) or (_is_ecdsa(key) and isinstance(key, ec.EllipticCurvePrivateKey)):
        return key
    raise RegistryError(Reason.SIGNATURE_INVALID, f"the private key is of another kind: give {_KINDS}")


def _is_ecdsa(key: object) -> bool:
    return isinstance(getattr(key, "curve", None), ec.SECP256R1)


def sign(manifest: str, key: PrivateKey) -> bytes:
    data = manifest.encode()
    raw = key.sign(data) if isinstance(key, Ed25519PrivateKey) else key.sign(data, ec.ECDSA(hashes.SHA256()))
    return base64.b64encode(raw) + b"\n"


def verify(manifest: str, signature: bytes | None, keys: Sequence[PublicKey], where: str) -> None:
    """Raises RegistryError unless one of ``keys`` signed the manifest."""
    if signature is None:
        raise RegistryError(
            Reason.SIGNATURE_INVALID,
            f"{where} is not signed (no matte.sig): publish it with matte models push --sign-key KEY",
        )
    try:
        raw = base64.b64decode(signature[:MAX_BYTES].strip(), validate=True)
    except binascii.Error:
        raw = b""
    if not any(_is_signed_by(manifest.encode(), raw, key) for key in keys):
        raise RegistryError(
            Reason.SIGNATURE_INVALID,
            f"{where}: no known key made its signature, or the files changed since. Do not use it, unless you can say"
            " why; else sign it again",
        )


def _is_signed_by(data: bytes, raw: bytes, key: PublicKey) -> bool:
    try:
        if isinstance(key, Ed25519PublicKey):
            key.verify(raw, data)
        else:
            key.verify(raw, data, ec.ECDSA(hashes.SHA256()))
    except InvalidSignature:
        return False
    return True
