from __future__ import annotations

import base64
import subprocess
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from matte_core.contracts.registry import Reason
from matte_registry.errors import RegistryError
from matte_registry.signature import PrivateKey, private_key, public_key, sign, verify

MANIFEST = "0" * 64 + "  model.safetensors\n"


def key_of(kind: str) -> PrivateKey:
    return Ed25519PrivateKey.generate() if kind == "ed25519" else ec.generate_private_key(ec.SECP256R1())


def public_pem(key: PrivateKey) -> bytes:
    spki = serialization.PublicFormat.SubjectPublicKeyInfo
    return key.public_key().public_bytes(serialization.Encoding.PEM, spki)


@pytest.mark.parametrize("kind", ["ed25519", "p256"])
def test_a_signature_holds_for_its_manifest_and_key_alone(kind: str) -> None:
    key, other = key_of(kind), key_of(kind)
    signature = sign(MANIFEST, key)
    partial, other_key = public_key(public_pem(key)), public_key(public_pem(other))
    verify(MANIFEST, signature, [other_key, partial], "x")
    for manifest, signed, keys in [
        (MANIFEST + " ", signature, [partial]),
        (MANIFEST, signature, [other_key]),
        (MANIFEST, b"AAAA", [partial]),
        (MANIFEST, b"not base64 \xff", [partial]),
        (MANIFEST, signature, []),
    ]:
        with pytest.raises(RegistryError, match="no known key") as caught:
            verify(manifest, signed, keys, "x")
        assert caught.value.reason is Reason.SIGNATURE_INVALID
    with pytest.raises(RegistryError, match="not signed"):
        verify(MANIFEST, None, [partial], "x")


def openssl(*words: str | Path) -> bytes:
    return subprocess.run(["openssl", *map(str, words)], check=True, capture_output=True).stdout


def test_openssl_reads_what_is_signed_here_and_the_other_way_round(tmp_path: Path) -> None:
    key, public, data, raw = (tmp_path / name for name in ("key.pem", "public.pem", "manifest", "signature"))
    openssl("genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", key)
    openssl("pkey", "-in", key, "-pubout", "-out", public)
    data.write_text(MANIFEST)
    raw.write_bytes(base64.b64decode(sign(MANIFEST, private_key(key.read_bytes()))))
    assert b"Verified OK" in openssl("dgst", "-sha256", "-verify", public, "-signature", raw, data)
    openssl("dgst", "-sha256", "-sign", key, "-out", raw, data)
    verify(MANIFEST, base64.b64encode(raw.read_bytes()), [public_key(public.read_bytes())], "x")


def test_keys_of_other_kinds_are_refused() -> None:
    big = rsa.generate_private_key(65537, 2048)
    pem = big.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    spki = serialization.PublicFormat.SubjectPublicKeyInfo
    for data in (pem, b"nonsense"):
        with pytest.raises(RegistryError, match="Ed25519"):
            private_key(data)
    for data in (big.public_key().public_bytes(serialization.Encoding.PEM, spki), b"nonsense"):
        with pytest.raises(RegistryError, match="Ed25519"):
            public_key(data)


def test_a_locked_key_needs_its_passphrase() -> None:
    locked = serialization.BestAvailableEncryption(b"word")
    pem = key_of("p256").private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, locked)
    assert private_key(pem, b"word")
    for wrong in (None, b"other"):
        with pytest.raises(RegistryError, match="passphrase"):
            private_key(pem, wrong)
