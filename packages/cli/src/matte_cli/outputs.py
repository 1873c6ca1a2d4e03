"""Which files are cut, and where each result goes."""

from __future__ import annotations

import os
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

PICTURES = frozenset({".avif", ".bmp", ".gif", ".heic", ".heif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"})
#: what is added to a name, per ``output``
TAGS = {"cutout": "cutout", "mask": "mask", "both": "cutout"}
STDIO = Path("-")


class OutputError(ValueError):
    """Inputs and output do not fit together; the message says what to do."""


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
    """Whether it is no place for a new file: standard output, a device, a pipe."""
    return path == STDIO or (path.exists() and not path.is_file() and not path.is_dir())


def is_result(path: Path) -> bool:
    """Whether the name says that an earlier run wrote it."""
    return path.stem.endswith(tuple(f"-{tag}" for tag in set(TAGS.values())))


def collect(paths: Iterable[Path], *, recursive: bool) -> list[Source]:
    """The pictures that are named; a folder stands for those in it, less earlier results.

    Raises:
        OutputError: something named is not there.
    """
    found: list[Source] = []
    for path in paths:
        if path == STDIO or path.is_file():
            found.append(Source(path))
        elif path.is_dir():
            found += _in_folder(path, recursive=recursive)
        else:
            raise OutputError(f"{path}: no such file or folder")
    return found


def _in_folder(folder: Path, *, recursive: bool) -> list[Source]:
    walk = folder.rglob("*") if recursive else folder.glob("*")
    pictures = [p for p in walk if p.suffix.lower() in PICTURES and not is_result(p) and p.is_file()]
    return [Source(p, p.parent.relative_to(folder)) for p in sorted(pictures)]


def choose_format(asked: str, out: Path | None) -> str:
    """The picture format: as asked, else what the output file's suffix says, else ``auto``.

    Raises:
        OutputError: a suffix that no result has, or one that contradicts what was asked.
    """
    suffix = "" if out is None or is_stream(out) or out.is_dir() else out.suffix.lower().removeprefix(".")
    if not suffix:
        return asked
    if suffix not in {"png", "webp"}:
        raise OutputError(f"{out}: a result is a png or webp picture; name the output so, or name a folder")
    if asked not in {"auto", suffix}:
        raise OutputError(f"{out}: --format {asked} and the output's name contradict each other")
    return suffix


def plan(sources: Sequence[Source], out: Path | None, *, output: str, format_: str) -> list[Item]:
    """Where each result goes.

    Without ``out``: beside its picture, as ``name-cutout.png``. With a file name: there (one picture only). Else
    ``out`` is a folder, and the folders below a named folder are kept.

    Raises:
        OutputError: two results would have one name, a result would replace a picture, or two go to one stream.
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
    kind = item.source.suffix.removeprefix(".")
    return Item(
        item.source,
        item.target.with_name(item.target.name.replace(item.source.stem, f"{item.source.stem}-{kind}", 1)),
        item.both,
    )


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
    """The items that are to be cut, where earlier results lie already.

    Raises:
        OutputError: one does, and nothing says whether to replace it.
    """
    there = [item for item in items if not is_stream(item.target) and any(target.exists() for target in item.targets)]
    if skip:
        return [item for item in items if item not in there]
    if there and not overwrite:
        first = next(target for target in there[0].targets if target.exists())
        more = f", and {len(there) - 1} more are" if len(there) > 1 else ""
        raise OutputError(f"{first} is there already{more}: --overwrite replaces, --skip-existing leaves what is there")
    return list(items)


def write(path: Path, data: bytes) -> None:
    """Writes a whole result or nothing; into a device or a pipe as it comes.

    Raises:
        OSError: it names the path.
    """
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
    """A picture on a terminal helps nobody.

    Raises:
        OutputError: standard output is one of the targets, and a terminal.
    """
    if any(target == STDIO for target in targets) and sys.stdout.isatty():
        raise OutputError("a picture is not for the terminal: name a file with -o, or send the output on (> cut.png)")
