"""Which pictures are cut, and where each result is written."""

from __future__ import annotations

import os
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

PICTURES = frozenset({".avif", ".bmp", ".gif", ".heic", ".heif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"})
#: appended to the name of a result, by ``output``
TAGS = {"cutout": "cutout", "mask": "mask", "both": "cutout"}
STDIO = Path("-")


class OutputError(ValueError):
    """Inputs and outputs do not fit together; the message says what to do."""


@dataclass(frozen=True, slots=True)
class Source:
    """A picture to cut; ``below`` is its folder relative to the folder that was named."""

    path: Path
    below: Path = Path()


@dataclass(frozen=True, slots=True)
class Item:
    """A picture and where its result goes (``-``: standard output); ``both``: a mask beside it."""

    source: Path
    target: Path
    both: bool = False

    @property
    def mask_target(self) -> Path:
        stem = self.target.stem.removesuffix("-cutout")
        return self.target.with_name(f"{stem}-mask{self.target.suffix}")

    @property
    def targets(self) -> tuple[Path, ...]:
        return (self.target, self.mask_target) if self.both else (self.target,)


def is_stream(path: Path) -> bool:
    """Whether it is standard output, a device or a pipe."""
    return path == STDIO or (path.exists() and not path.is_file() and not path.is_dir())


def is_result(path: Path) -> bool:
    """Whether an earlier run wrote it, by its name."""
    return path.stem.endswith(tuple(f"-{tag}" for tag in set(TAGS.values())))


def collect(paths: Iterable[Path], *, recursive: bool) -> list[Source]:
    """The pictures at ``paths`` and in folders there, but not results. Raises OutputError if a path is missing."""
    found: list[Source] = []
    for path in paths:
        if path == STDIO or path.is_file():
            found.append(Source(path))
        elif path.is_dir():
            inside = sorted(path.rglob("*") if recursive else path.glob("*"))
            pictures = [p for p in inside if p.suffix.lower() in PICTURES and not is_result(p) and p.is_file()]
            found += [Source(picture, picture.parent.relative_to(path)) for picture in pictures]
        else:
            raise OutputError(f"{path}: no such file or folder")
    return found


def choose_format(requested: str, out: Path | None) -> str:
    """The requested format, else that of ``out``'s suffix, else ``auto``. Raises OutputError if they do not fit."""
    suffix = "" if out is None or is_stream(out) or out.is_dir() else out.suffix.lower().removeprefix(".")
    if not suffix:
        return requested
    if suffix not in {"png", "webp"}:
        raise OutputError(f"{out}: a result is a png or webp picture; name the output so, or name a folder")
    if requested not in {"auto", suffix}:
        raise OutputError(f"{out}: --format {requested} and the output's name contradict each other")
    return suffix


def plan(sources: Sequence[Source], out: Path | None, *, output: str, format_: str) -> list[Item]:
    """Where each result goes.

    Without ``out``: beside its picture, as ``name-cutout.png``. With a file name: there (one picture only). Else
    ``out`` is a folder, and the folders below a named folder are kept.

    Raises OutputError if two results would have one name or go to one stream, or one would replace a picture.
    """
    if not sources:
        raise OutputError("no pictures there; --recursive looks into folders within folders")
    suffix = ".webp" if format_ == "webp" else ".png"
    both = output == "both"
    if out is not None and (is_stream(out) or (out.suffix and not out.is_dir())):
        if len(sources) > 1:
            raise OutputError(f"{out} is one file, but there are {len(sources)} pictures: name a folder")
        return _safe([Item(source.path, out, both) for source in sources])
    items = [Item(source.path, _target(source, out, f"-{TAGS[output]}{suffix}"), both) for source in sources]
    doubled = Counter(item.target for item in items)
    return _safe([item if doubled[item.target] == 1 else _longer(item) for item in items])


def _target(source: Source, out: Path | None, ending: str) -> Path:
    if source.path == STDIO:
        return STDIO if out is None else out / f"stdin{ending}"
    return (source.path.parent if out is None else out / source.below) / f"{source.path.stem}{ending}"


def _longer(item: Item) -> Item:
    """``a.jpg`` and ``a.png`` in one folder: the suffix becomes part of the name."""
    stem, kind = item.source.stem, item.source.suffix.removeprefix(".")
    return replace(item, target=item.target.with_name(item.target.name.replace(stem, f"{stem}-{kind}", 1)))


def _safe(items: list[Item]) -> list[Item]:
    sources = {item.source.absolute() for item in items if item.source != STDIO}
    targets = Counter(target.absolute() for item in items for target in item.targets)
    for item in items:
        if is_stream(item.target):
            if item.both:
                raise OutputError(f"--output both makes two files, and {item.target} is one: name a folder with -o")
            continue
        for target in item.targets:
            if target.absolute() in sources:
                raise OutputError(f"{target} would be replaced by a result: choose another output")
            if targets[target.absolute()] > 1:
                raise OutputError(f"more than one result would be {target}: cut the folders one by one, or without -o")
    return items


def unwritten(items: Sequence[Item], *, overwrite: bool, skip: bool) -> list[Item]:
    """The items to cut, given earlier results. Raises OutputError if a result exists, and neither option is set."""
    existing = [i for i in items if not is_stream(i.target) and any(target.exists() for target in i.targets)]
    if skip:
        return [item for item in items if item not in existing]
    if existing and not overwrite:
        first = next(target for target in existing[0].targets if target.exists())
        more = f", and {len(existing) - 1} more are" if len(existing) > 1 else ""
        raise OutputError(f"{first} is there already{more}: --overwrite replaces, --skip-existing leaves what is there")
    return list(items)


def write(path: Path, data: bytes) -> None:
    """Writes a whole result or nothing; into a device or a pipe as it comes. Raises OSError that names the path."""
    if path == STDIO:
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
        return
    partial = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        if is_stream(path):
            path.write_bytes(data)
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            partial.write_bytes(data)
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)
    except OSError as error:
        raise OSError(f"{path} cannot be written: {error.strerror or error}") from error


def refuse_terminal(targets: Iterable[Path]) -> None:
    """Raises OutputError if standard output is one of the targets, and a terminal."""
    if any(target == STDIO for target in targets) and sys.stdout.isatty():
        raise OutputError("a picture is not for the terminal: name a file with -o, or send the output on (> cut.png)")
