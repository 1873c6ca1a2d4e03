"""What belongs to a version's folder, and its digest: pure rules over paths and hashes.

The digest is the SHA-256 of the canonical manifest: a line ``<sha256>  <relative path>`` for each covered file, sorted
by path. The manifest may lie in the folder itself (:data:`MANIFEST_FILE`), together with a signature of its bytes
(:data:`SIGNATURE_FILE`); ``sha256sum -c`` and ``cosign verify-blob`` read them.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping

METADATA_FILE = "matte.yaml"
MANIFEST_FILE = "matte.manifest"
SIGNATURE_FILE = "matte.sig"
#: suffixes of what may decide an answer: covered by the digest
COVERED = (".safetensors", ".json", ".yaml", ".txt")
#: for people and for the check itself: taken along, not covered
DOCUMENTS = frozenset({"README.md", "MODEL_CARD.md", "LICENSE", "LICENSE.md", "LICENSE.txt", "NOTICE"})
_BESIDE = DOCUMENTS | {MANIFEST_FILE, SIGNATURE_FILE}
#: formats that can run code when they are loaded
PICKLES = (".bin", ".ckpt", ".joblib", ".npy", ".npz", ".pickle", ".pkl", ".pt", ".pth")
_DEPTH, _LENGTH = 5, 255
_PART = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._+-]*")
_LINE = re.compile(r"([0-9a-f]{64})  (\S+)")


def check_path(path: str) -> None:
    """Refuses a path that could lead out of its folder, or that does not mean one file everywhere.

    Raises:
        ValueError: names the path and what is wrong.
    """
    parts = path.split("/")
    if ".." in parts or "." in parts or "" in parts or "\\" in path:
        raise ValueError(f"{path!r} leads out of the version's folder")
    if len(path) > _LENGTH or len(parts) > _DEPTH:
        raise ValueError(f"{path[:80]!r} is too long or too deep: at most {_LENGTH} characters and {_DEPTH} levels")
    if any(ord(char) < 32 for char in path):
        raise ValueError(f"{path!r} has control characters")


def exclusion_reason(path: str) -> str | None:
    """Why a file is not taken from a source, or None where it is.

    Raises:
        ValueError: the path is dangerous, or a file that decides answers has a name that is not plain.
    """
    check_path(path)
    name = path.rpartition("/")[2]
    if any(part.startswith(".") for part in path.split("/")):
        return "hidden"
    if name.lower().endswith(PICKLES):
        return "a pickle, or another format that can run code when it is loaded: only safetensors are read"
    if name not in _BESIDE and not name.endswith(COVERED):
        return "not a part of a version: those are safetensors, JSON, YAML, text, README.md and LICENSE"
    if not all(_PART.fullmatch(part) for part in path.split("/")):
        raise ValueError(f"{path!r}: rename it with letters, digits, '.', '_', '+' and '-' alone")
    return None


def is_pickle(path: str) -> bool:
    """Whether the name says that loading the file can run code."""
    return path.lower().endswith(PICKLES)


def is_covered(path: str) -> bool:
    """Whether the file decides answers, so that the digest must cover it."""
    return path.rpartition("/")[2] not in _BESIDE and path.endswith(COVERED)


def canonical(hashes: Mapping[str, str]) -> str:
    """The manifest of files by path, each with its SHA-256 in hexadecimal; what is not covered is left out."""
    return "".join(f"{hashes[path]}  {path}\n" for path in sorted(hashes) if is_covered(path))


def text_digest(text: str) -> str:
    """``sha256:…`` of a text: of a canonical manifest, or of what names the code of a family without weights."""
    return "sha256:" + hashlib.sha256(text.encode()).hexdigest()


def folder_digest(hashes: Mapping[str, str]) -> str:
    """The digest of a folder, from the SHA-256 of its files by path."""
    return text_digest(canonical(hashes))


def parse_manifest(text: str) -> dict[str, str]:
    """The hashes by path of a canonical manifest.

    Raises:
        ValueError: it is not canonical: one folder has one manifest only.
    """
    lines = [_LINE.fullmatch(line) for line in text.splitlines()]
    found = {match[2]: match[1] for match in lines if match}
    if canonical(found) != text:
        raise ValueError("it is not a manifest: a line '<sha256>  <path>' per file, sorted by path")
    return found


def predicted_digest(files: Iterable[tuple[str, str | None]]) -> str | None:
    """The digest of a folder that is not here yet, or None: a covered file's hash is not known."""
    known = {path: sha for path, sha in files if is_covered(path)}
    hashes = {path: sha for path, sha in known.items() if sha is not None}
    return folder_digest(hashes) if hashes and len(hashes) == len(known) else None
