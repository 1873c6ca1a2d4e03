"""A file out of a package's tarball, whole or from chunks."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import tarfile
from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from matte_registry.tarball import chunks_of, unpack

DATA = bytes(range(256)) * 40
MOST = 1 << 20


def sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def package(path: Path, files: Mapping[str, bytes], root: str = "package/") -> Path:
    with tarfile.open(path, "w:gz") as tar:
        for name, data in files.items():
            member = tarfile.TarInfo(root + name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return path


def chunked(data: bytes = DATA, size: int = 4000, key: str = "/models/a", folder: str = "dist/") -> dict[str, bytes]:
    """A package's files: chunks, out of order, and their index behind them."""
    pieces = [data[at : at + size] for at in range(0, len(data), size)]
    offsets = [(at, min(at + size, len(data))) for at in range(0, len(data), size)]
    index = {
        key: {
            "size": len(data),
            "mime": "application/octet-stream",
            "chunks": [{"hash": sha(piece), "offsets": pair} for piece, pair in zip(pieces, offsets, strict=True)],
        }
    }
    files = {folder + sha(piece): piece for piece in sorted(pieces, key=sha)}
    return {**files, f"{folder}resources.json": json.dumps(index).encode(), "README.md": b"hello"}


def test_a_file_is_taken_as_it_is(tmp_path: Path) -> None:
    tarball = package(tmp_path / "p.tgz", {"README.md": b"hello", "dist/a.onnx": DATA, "dist/b.onnx": b"b"})
    unpack(tarball, "dist/a.onnx", tmp_path / "a", MOST)
    assert (tmp_path / "a").read_bytes() == DATA


def test_the_root_folder_may_have_any_name(tmp_path: Path) -> None:
    unpack(package(tmp_path / "p.tgz", {"a.onnx": DATA}, root="./node/"), "a.onnx", tmp_path / "a", MOST)
    assert (tmp_path / "a").read_bytes() == DATA


@pytest.mark.parametrize("folder", ["dist/", ""])
@pytest.mark.parametrize("key", ["/models/a", "models/a"])
def test_chunks_are_joined_as_the_index_says(key: str, folder: str, tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"what an earlier download left" * 1000)
    unpack(package(tmp_path / "p.tgz", chunked(key=key, folder=folder)), "models/a", tmp_path / "a", MOST)
    assert (tmp_path / "a").read_bytes() == DATA


def test_equal_chunks_are_one_file_of_the_package(tmp_path: Path) -> None:
    data = b"x" * 4000 + b"y" * 4000 + b"x" * 4000
    unpack(package(tmp_path / "p.tgz", chunked(data)), "models/a", tmp_path / "a", MOST)
    assert (tmp_path / "a").read_bytes() == data


def broken_chunk(files: dict[str, bytes]) -> dict[str, bytes]:
    name = next(iter(files))
    return files | {name: b"z" * len(files[name])}


def lacking(files: dict[str, bytes]) -> dict[str, bytes]:
    name = next(iter(files))
    return {path: data for path, data in files.items() if path != name}


def short_chunk(files: dict[str, bytes]) -> dict[str, bytes]:
    name = next(iter(files))
    return files | {name: files[name][:-1]}


@pytest.mark.parametrize(
    ("files", "wanted", "word"),
    [
        (chunked(), "models/b", "no file models/b"),
        ({"a.onnx": DATA}, "b.onnx", "no file b.onnx"),
        (broken_chunk(chunked()), "models/a", "SHA-256 that is its name"),
        (lacking(chunked()), "models/a", "lacks the chunk"),
        (short_chunk(chunked()), "models/a", "bytes, expected are"),
        ({"dist/resources.json": b"["}, "models/a", "no index|not an index"),
        ({"dist/resources.json": b"[]"}, "models/a", "not an index"),
        ({"dist/resources.json": b'{"/models/a": {"size": 3}}'}, "models/a", "not an index"),
    ],
)
def test_what_does_not_fit_is_refused(files: dict[str, bytes], wanted: str, word: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=word):
        unpack(package(tmp_path / "p.tgz", files), wanted, tmp_path / "a", MOST)


def test_it_is_bounded(tmp_path: Path) -> None:
    bomb = package(tmp_path / "p.tgz", {"zeros": bytes(3 * MOST), "a.onnx": DATA})
    assert bomb.stat().st_size < 100_000
    with pytest.raises(ValueError, match="unpacks to more"):
        unpack(bomb, "a.onnx", tmp_path / "a", MOST)
    with pytest.raises(ValueError, match=r"MATTE_SOURCE_MAX_BYTES|unpacks to more"):
        unpack(package(tmp_path / "q.tgz", chunked()), "models/a", tmp_path / "a", 5000)


def test_links_are_not_followed(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "p.tgz", "w:gz") as tar:
        link = tarfile.TarInfo("package/a.onnx")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/hostname"
        tar.addfile(link)
    with pytest.raises(ValueError, match=r"no file a\.onnx"):
        unpack(tmp_path / "p.tgz", "a.onnx", tmp_path / "a", MOST)


@pytest.mark.parametrize("cut", [0, 10, 300])
def test_a_broken_tarball_is_no_tarball(cut: int, tmp_path: Path) -> None:
    whole = package(tmp_path / "p.tgz", {"a.onnx": DATA * 20}).read_bytes()
    (tmp_path / "p.tgz").write_bytes(whole[:cut] if cut else b"<html>")
    with pytest.raises(ValueError, match=r"not a tarball|ends early"):
        unpack(tmp_path / "p.tgz", "a.onnx", tmp_path / "a", MOST)


@pytest.mark.parametrize(
    "chunks",
    [
        [{"hash": "a" * 64, "offsets": [5, 10]}],
        [{"hash": "a" * 64, "offsets": [0, 5]}, {"hash": "b" * 64, "offsets": [6, 10]}],
        [{"hash": "a" * 64, "offsets": [0, 5]}, {"hash": "b" * 64, "offsets": [4, 10]}],
        [{"hash": "a" * 64, "offsets": [0, 0]}],
        [{"hash": "../../etc/passwd", "offsets": [0, 10]}],
        [{"hash": "a" * 64, "offsets": [0, 9]}],
        [{"hash": "a" * 64, "offsets": ["x", 9]}],
    ],
)
def test_an_index_that_makes_no_file_is_refused(chunks: list[dict[str, object]]) -> None:
    with pytest.raises(ValueError, match=r"resources\.json"):
        chunks_of(json.dumps({"k": {"size": 10, "chunks": chunks}}).encode(), "k")


SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.just("a" * 64)
DOCUMENTS = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3)
)
ENTRIES = st.fixed_dictionaries(
    {},
    optional={
        "size": DOCUMENTS,
        "chunks": DOCUMENTS | st.lists(st.fixed_dictionaries({"hash": DOCUMENTS, "offsets": DOCUMENTS}), max_size=3),
    },
)


@example({"k": {"size": float("inf"), "chunks": []}})
@given(DOCUMENTS | st.fixed_dictionaries({"k": ENTRIES | DOCUMENTS}))
def test_no_index_breaks_anything(document: object) -> None:
    """Whatever a package lists: chunks that make up the file, or a ValueError."""
    try:
        size, chunks = chunks_of(json.dumps(document).encode(), "k")
    except ValueError:
        return
    assert sum(chunk.end - chunk.start for chunk in chunks) == size
    assert all(chunk.name == "a" * 64 for chunk in chunks)


@given(st.binary(max_size=300))
def test_no_bytes_are_taken_for_an_index(content: bytes) -> None:
    with contextlib.suppress(ValueError):
        assert chunks_of(content, "k") == (0, [])
