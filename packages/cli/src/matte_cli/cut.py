"""``matte cut``: pictures to cut-outs, through a server's durable jobs."""

from __future__ import annotations

import asyncio
import mimetypes
import os
import sys
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import typer
from matte_core.contracts.limits import Limits
from matte_core.contracts.options import Format, Options, Output
from matte_core.errors import Problem
from pydantic import ValidationError
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn

from matte_cli.client import Api, UnreachableError, failure_of
from matte_cli.outputs import STDIO, Item, OutputError, choose_format, collect, plan
from matte_cli.settings import CliSettings
from matte_cli.talk import complain, screen
from matte_cli.words import as_options, describe, explain, share

#: what becomes of a picture, and the share of the work that is done (None: as before)
Tell = Callable[[str, float | None], None]


@dataclass(frozen=True, slots=True)
class Order:
    """What is asked for every picture."""

    parameters: Mapping[str, str]
    both: bool
    jobs: int
    limits: Limits


async def cut_one(api: Api, order: Order, item: Item, key: str, tell: Tell) -> None:
    """Sends one picture, follows its job and writes what comes back.

    Raises:
        Problem: why there is no result.
        UnreachableError: the server stayed away.
        OSError: a file could not be read or written.
    """
    picture = await asyncio.to_thread(read_picture, item.source, order.limits.max_bytes)
    tell("sending", None)
    job = await api.submit(picture, media_type(item.source), order.parameters, key)
    async for event in api.follow(job.id):
        if text := describe(event):
            tell(text, share(event))
    if problem := failure_of(await api.view(job.id)):
        raise problem
    await asyncio.to_thread(write, item.target, await api.result(job.id))
    if order.both and item.target != STDIO:
        await asyncio.to_thread(write, item.mask_target, await api.result(job.id, {"file": "mask"}))


def read_picture(path: Path, max_bytes: int) -> bytes:
    """The bytes of a file or of standard input, never more than the server takes."""
    if path == STDIO:
        data = sys.stdin.buffer.read(max_bytes + 1)
    else:
        with path.open("rb") as file:
            data = file.read(max_bytes + 1)
    if len(data) > max_bytes:
        raise Problem("payload_too_large", f"the server takes at most {max_bytes / 1e6:g} MB")
    return data


def write(path: Path, data: bytes) -> None:
    """Writes a whole result or nothing."""
    if path == STDIO:
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        partial.write_bytes(data)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def media_type(path: Path) -> str:
    """What the name says the picture is; the server looks at the bytes."""
    guessed = mimetypes.guess_type(path.name)[0] or ""
    return guessed if guessed.startswith("image/") else "application/octet-stream"


class Board:
    """The progress bar: all pictures in one line, those at work below it."""

    def __init__(self, progress: Progress, total: int) -> None:
        self._progress = progress
        self._all = progress.add_task("all", total=total, text="", visible=total > 1)

    def open(self, item: Item) -> TaskID:
        """A line for a picture."""
        return self._progress.add_task(escape(item.source.name), total=1, text="")

    def tell(self, line: TaskID, text: str, done: float | None) -> None:
        """What becomes of it, and how much of it is done."""
        self._progress.update(line, text=text, completed=done)

    def close(self, line: TaskID, text: str) -> None:
        """It is done, or failed."""
        self._progress.remove_task(line)
        self._progress.advance(self._all)
        self._progress.console.print(text)


async def cut_all(api: Api, order: Order, items: Sequence[Item], board: Board, new_key: Callable[[], str]) -> int:
    """Cuts all pictures, ``order.jobs`` at a time. Returns how many failed."""
    free = asyncio.Semaphore(order.jobs)

    async def one(item: Item) -> bool:
        async with free:
            line = board.open(item)
            name = escape(str(item.source))
            try:
                await cut_one(api, order, item, new_key(), lambda text, done: board.tell(line, text, done))
            except (Problem, UnreachableError, OSError) as error:
                why = explain(error) if isinstance(error, Problem) else str(error)
                board.close(line, f"[red]✗[/] {name}: {escape(why)}")
                return False
            board.close(line, f"[green]✓[/] {name} → {escape(str(item.target))}")
            return True

    return (await asyncio.gather(*map(one, items))).count(False)


async def _run(url: str, items: Sequence[Item], parameters: Mapping[str, str], jobs: int, console: Console) -> int:
    columns = (
        SpinnerColumn(), TextColumn("{task.description}"), BarColumn(20), MofNCompleteColumn(),
        TextColumn("{task.fields[text]}"), TimeElapsedColumn(),
    )  # fmt: skip
    async with Api.at(url) as api:
        order = Order(parameters, parameters.get("output") == "both", jobs, await api.limits())
        with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
            board = Board(progress, len(items))
            return await cut_all(api, order, items, board, lambda: uuid.uuid4().hex)


def parameters_of(options: Options, model: str | None, version: str | None) -> dict[str, str]:
    """The query of ``POST /v1/jobs``: what differs from the defaults."""
    asked = options.model_dump(mode="json", exclude_defaults=True)
    query = {name: str(value).lower() if isinstance(value, bool) else str(value) for name, value in asked.items()}
    return query | {name: value for name, value in {"model": model, "version": version}.items() if value}


def command(  # noqa: PLR0913 - one parameter per option
    files: Annotated[list[Path], typer.Argument(help="Pictures and folders; - reads standard input.")],
    *,
    out: Annotated[
        Path | None, typer.Option("-o", "--out", help="File or folder for the results; - is standard output.")
    ] = None,
    recursive: Annotated[bool, typer.Option("-r", "--recursive", help="Folders within folders too.")] = False,
    url: Annotated[str | None, typer.Option(help="The server.", show_default="http://127.0.0.1:7860")] = None,
    model: Annotated[str | None, typer.Option(help="See matte models.")] = None,
    version: Annotated[str | None, typer.Option(help="An exact version, or the start of one.")] = None,
    output: Annotated[Output, typer.Option(help="What comes back.")] = "cutout",
    format_: Annotated[Format, typer.Option("--format", help="Of the result; auto is png.")] = "auto",
    bg_color: Annotated[str | None, typer.Option(help="Colour behind the cut-out: fff, #81d4fa80, white.")] = None,
    crop: Annotated[bool, typer.Option("--crop", help="Cut away the empty border.")] = False,
    crop_margin: Annotated[str | None, typer.Option(help="Border kept when cropping: 30px or 10%.")] = None,
    decontaminate: Annotated[bool, typer.Option("--decontaminate", help="Clean the colour of soft edges.")] = False,
    jobs: Annotated[int, typer.Option(min=1, max=64, help="Pictures under way at once.")] = 4,
) -> None:
    """Cut out the subject of pictures: photo.jpg becomes photo-cutout.png beside it, or goes where -o says."""
    console = screen(stderr=True)
    try:
        format_name: Literal["auto", "png", "webp"] = choose_format(format_, out)  # type: ignore[assignment]
        options = Options(
            output=output, format=format_name, bg_color=bg_color, crop=crop, crop_margin=crop_margin,
            decontaminate=decontaminate,
        )  # fmt: skip
        items = plan(collect(files, recursive=recursive), out, output=output, format_=format_name)
        if not items:
            raise OutputError("no pictures there; --recursive looks into folders within folders")
        failed = asyncio.run(
            _run(url or CliSettings().url, items, parameters_of(options, model, version), jobs, console)
        )
    except (OutputError, ValidationError) as error:
        complain(_first(error))
        raise typer.Exit(2) from None
    except (UnreachableError, Problem) as error:
        complain(explain(error) if isinstance(error, Problem) else str(error))
        raise typer.Exit(1) from None
    raise typer.Exit(1 if failed else 0)


def _first(error: Exception) -> str:
    if isinstance(error, ValidationError):
        found = error.errors()[0]
        message = found["msg"].removeprefix("Value error, ")
        return as_options(f"{'.'.join(map(str, found['loc']))}: {message}" if found["loc"] else message)
    return str(error)
