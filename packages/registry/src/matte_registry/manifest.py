"""Files of a version's folder, its manifest and its digest.

The digest is the SHA-256 of the canonical manifest: a line ``<sha256>  <relative path>`` for each covered file, sorted
by path. The folder may hold the manifest (:data:`MANIFEST_FILE`) and a signature of it (:data:`SIGNATURE_FILE`);
``sha256sum -c`` and ``cosign verify-blob`` read them.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping

METADATA_FILE = "matte.yaml"
MANIFEST_FILE = "matte.manifest"
SIGNATURE_FILE = "matte.sig"
#: suffixes of files that can affect results, so the digest covers them
COVERED = (".safetensors", ".onnx", ".onnx_data", ".onnx.data", ".json", ".yaml", ".txt")
#: copied, but not covered by the digest
DOCUMENTS = frozenset({"README.md", "MODEL_CARD.md", "LICENSE", "LICENSE.md", "LICENSE.txt", "NOTICE"})
_UNCOVERED = DOCUMENTS | {MANIFEST_FILE, SIGNATURE_FILE}
#: formats that can run code when they are loaded
PICKLES = (".bin", ".ckpt", ".joblib", ".npy", ".npz", ".pickle", ".pkl", ".pt", ".pth")
_MAX_LEVELS, _MAX_LENGTH = 5, 255
_PART = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._+-]*")
_LINE = re.compile(r"([0-9a-f]{64})  (\S+)")


def check_path(path: str) -> None:
    """Raises ValueError for a path that leads out of its folder or does not work on every platform."""
    parts = path.split("/")
    if ".." in parts or "." in parts or "" in parts or "\\" in path:
        raise ValueError(f"{path!r} leads out of the version's folder")
    if len(path) > _MAX_LENGTH or len(parts) > _MAX_LEVELS:
        raise ValueError(
            f"{path[:80]!r} is too long or too deep: at most {_MAX_LENGTH} characters and {_MAX_LEVELS} levels"
        )
    if any(ord(char) < 32 for char in path):
        raise ValueError(f"{path!r} has control characters")


def exclusion_reason(path: str) -> str | None:
    """Why a file of a source is ignored, or None if it is part of the version.

    Raises:
        ValueError: the path is dangerous, or the name of a part of the version has unusual characters.
    """
    check_path(path)
    name = path.rpartition("/")[2]
    if any(part.startswith(".") for part in path.split("/")):
        return "hidden"
    if is_pickle(path):
        return "a pickle, or another format that can run code when it is loaded: only safetensors and ONNX are read"
    if name not in _UNCOVERED and not name.endswith(COVERED):
        return "not a part of a version: those are safetensors, ONNX, JSON, YAML, text, README.md and LICENSE"
    if not all(_PART.fullmatch(part) for part in path.split("/")):
        raise ValueError(f"{path!r}: rename it with letters, digits, '.', '_', '+' and '-' alone")
    return None


def is_pickle(path: str) -> bool:
    """Whether loading the file could run code, judging by its name."""
    return path.lower().endswith(PICKLES)


def is_covered(path: str) -> bool:
    """Whether the digest covers the file."""
    return path.rpartition("/")[2] not in _UNCOVERED and path.endswith(COVERED)


def canonical(hashes: Mapping[str, str]) -> str:
    """The manifest of a folder's covered files, from their SHA-256 (hexadecimal) by path."""
    return "".join(f"{hashes[path]}  {path}\n" for path in sorted(hashes) if is_covered(path))


def text_digest(text: str) -> str:
    """``sha256:…`` of a text, such as a manifest, or the code version of a family without weights."""
    return "sha256:" + hashlib.sha256(text.encode()).hexdigest()


def folder_digest(hashes: Mapping[str, str]) -> str:
    return text_digest(canonical(hashes))


def parse_manifest(text: str) -> dict[str, str]:
    """SHA-256 by path. Raises ValueError if the text is not a canonical manifest."""
    lines = [_LINE.fullmatch(line) for line in text.splitlines()]
    hashes = {match[2]: match[1] for match in lines if match}
    if canonical(hashes) != text:
        raise ValueError("it is not a manifest: a line '<sha256>  <path>' per file, sorted by path")
    return hashes


def predicted_digest(files: Iterable[tuple[str, str | None]]) -> str | None:
    """The digest of a folder before its download, or None if the source does not know a covered file's hash."""
    covered = {path: sha for path, sha in files if is_covered(path)}
    hashes = {path: sha for path, sha in covered.items() if sha is not None}
    return folder_digest(hashes) if hashes and len(hashes) == len(covered) else None
