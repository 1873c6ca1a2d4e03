"""What differs between versions, from headers and values; and broken safetensors."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import numpy as np
import pytest
from matte_core.contracts.registry import Reason, RemoteFile
from matte_registry.diff import compare
from matte_registry.errors import RegistryError
from matte_registry.registry import Registry
from matte_registry.settings import RegistrySettings
from matte_registry.tensors import parse_header
from safetensors.numpy import save_file

A = np.arange(6, dtype=np.float32).reshape(2, 3)


def version(folder: Path, tensors: dict[str, np.ndarray], extra: str = "{}") -> str:
    folder.mkdir()
    save_file(tensors, folder / "model.safetensors")
    (folder / "matte.yaml").write_text("family: unet\nlicense: MIT\n")
    (folder / "config.json").write_text(extra)
    return f"file://{folder}"


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    return Registry(RegistrySettings(cache_dir=tmp_path / "cache"))


def test_what_differs_is_named_with_numbers(registry: Registry, tmp_path: Path) -> None:
    old = version(tmp_path / "old", {"same": A, "moved": A, "more": A, "shape": A, "half": A.astype(np.float16)})
    new = version(
        tmp_path / "new",
        {"same": A, "moved": A + 0.5, "shape": A.T.copy(), "half": A.astype(np.float16) * 2, "fresh": A},
        extra='{"x": 1}',
    )
    found = compare(registry.remote(old), registry.remote(new))
    assert [change.path for change in found.files] == ["config.json", "model.safetensors"]
    changes = {change.name: change for change in found.tensors}
    assert changes.keys() == {"moved", "more", "shape", "half", "fresh"}
    assert (changes["more"].old, changes["more"].new) == ("F32 [2, 3]", None)
    assert (changes["shape"].old, changes["shape"].new) == ("F32 [2, 3]", "F32 [3, 2]")
    assert changes["moved"].largest == pytest.approx(0.5)
    assert changes["moved"].relative == pytest.approx(0.5 * 6**0.5 / np.linalg.norm(A))
    assert found.largest is not None
    assert found.largest.name == "half"
    assert found.compared == 6


def test_a_version_does_not_differ_from_itself(registry: Registry, tmp_path: Path) -> None:
    one = version(tmp_path / "one", {"a": A})
    found = compare(registry.remote(one), registry.remote(one))
    assert (found.files, found.tensors, found.largest) == ((), (), None)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"123",
        struct.pack("<Q", 1 << 60) + b"{}",
        struct.pack("<Q", 2) + b"[]",
        struct.pack("<Q", 4) + b"{{{{",
        struct.pack("<Q", 9) + b'{"a": {}}',
        struct.pack("<Q", 7) + json.dumps({"a": 1}).encode(),
    ],
)
def test_a_broken_header_is_refused(data: bytes) -> None:
    with pytest.raises(RegistryError, match="header is broken") as caught:
        parse_header(data, RemoteFile(path="m.safetensors", size=len(data)))
    assert caught.value.reason is Reason.FILE_REFUSED
