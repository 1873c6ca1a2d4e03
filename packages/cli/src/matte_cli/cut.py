"""``matte cut``: pictures to cut-outs, through a server's durable jobs."""

from __future__ import annotations

import asyncio
import mimetypes
import sys
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Annotated, Literal

import typer
from matte_core.contracts.job import JobView
from matte_core.contracts.options import Format, Options, Output
from matte_core.errors import Problem
from pydantic import ValidationError
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn

from matte_cli.client import Api, UnreachableError, failure_of
from matte_cli.console import complain, screen, server, with_api
from matte_cli.messages import as_options, describe, explain, share
from matte_cli.outputs import STDIO, Item, OutputError, choose_format, collect, plan, refuse_terminal, unwritten, write

#: what becomes of a picture, and the share of the work that is done (None: as before)
Tell = Callable[[str, float | None], None]


@dataclass(frozen=True, slots=True)
class Order:
    parameters: Mapping[str, str]
    jobs: int
    max_bytes: int
    piped: bytes = b""


async def cut_one(api: Api, order: Order, item: Item, key: str, tell: Tell) -> JobView:
    """Sends one picture, follows its job and writes what comes back. Returns the job as it ended.

    Raises:
        Problem: why there is no result.
        UnreachableError: the server stayed away.
        OSError: a file could not be read or written.
    """
    if item.source == STDIO:
        picture = order.piped
    else:
        picture = await asyncio.to_thread(read_picture, item.source, order.max_bytes)
    tell("sending", None)
    job = await api.submit(picture, media_type(item.source), order.parameters, key)
    async for event in api.follow(job.id):
        if text := describe(event):
            tell(text, share(event))
    view = await api.view(job.id)
    if problem := failure_of(view):
        raise problem
    await asyncio.to_thread(write, item.target, await api.result(job.id))
    if item.both:
        await asyncio.to_thread(write, item.mask_target, await api.result(job.id, {"file": "mask"}))
    return view


def said_of(item: Item, view: JobView) -> str:
    source, *targets = ({STDIO: "standard input"}.get(item.source, item.source), *map(_target_name, item.targets))
    empty = view.result is not None and not view.result.subject_found
    return f"{source} → {' and '.join(targets)}" + (" (no subject was found: it is empty)" if empty else "")


def _target_name(target: Path) -> str:
    return "standard output" if target == STDIO else str(target)


def read_picture(path: Path, max_bytes: int) -> bytes:
    with path.open("rb") as file:
        return bounded(file, max_bytes)


def bounded(file: IO[bytes], max_bytes: int) -> bytes:
    """What there is to read.

    Raises:
        Problem: payload_too_large.
    """
    data = file.read(max_bytes + 1)
    if len(data) > max_bytes:
        raise Problem("payload_too_large", f"The picture has too many bytes; the server takes {max_bytes / 1e6:g} MB.")
    return data


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
        return self._progress.add_task(escape(item.source.name), total=1, text="")

    def tell(self, line: TaskID, text: str, done: float | None) -> None:
        self._progress.update(line, text=text, completed=done)

    def close(self, line: TaskID, text: str) -> None:
        self._progress.remove_task(line)
        self._progress.advance(self._all)
        self._progress.console.print(text)


async def cut_all(api: Api, order: Order, items: Sequence[Item], board: Board, new_key: Callable[[], str]) -> int:
    """Cuts all pictures, ``order.jobs`` at a time. Returns how many failed."""
    free = asyncio.Semaphore(order.jobs)

    async def one(item: Item) -> bool:
        async with free:
            line = board.open(item)
            name = "standard input" if item.source == STDIO else escape(str(item.source))
            try:
                view = await cut_one(api, order, item, new_key(), lambda text, done: board.tell(line, text, done))
            except (Problem, UnreachableError, OSError) as error:
                why = explain(error) if isinstance(error, Problem) else str(error)
                board.close(line, f"[red]✗[/] {name}: {escape(why)}")
                return False
            board.close(line, f"[green]✓[/] {escape(said_of(item, view))}")
            return True

    return (await asyncio.gather(*map(one, items))).count(False)


async def _run(url: str, items: Sequence[Item], order: Order, console: Console) -> int:
    columns = (
        SpinnerColumn(), TextColumn("{task.description}"), BarColumn(20), MofNCompleteColumn(),
        TextColumn("{task.fields[text]}"), TimeElapsedColumn(),
    )  # fmt: skip
    async with Api.at(url) as api:
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
    bg_color: Annotated[str | None, typer.Option(help="Color behind the cut-out: fff, #81d4fa80, white.")] = None,
    crop: Annotated[bool, typer.Option("--crop", help="Cut away the empty border.")] = False,
    crop_margin: Annotated[str | None, typer.Option(help="Border kept when cropping: 30px or 10%.")] = None,
    decontaminate: Annotated[bool, typer.Option("--decontaminate", help="Clean the color of soft edges.")] = False,
    jobs: Annotated[int, typer.Option(min=1, max=64, help="Pictures under way at once.")] = 4,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace results that are there already.")] = False,
    skip_existing: Annotated[
        bool, typer.Option("--skip-existing", help="Leave out pictures whose results are there already.")
    ] = False,
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
        items = unwritten(items, overwrite=overwrite, skip=skip_existing)
        failed = cut_items(server(url), items, parameters_of(options, model, version), jobs, console)
    except (OutputError, ValidationError) as error:
        complain(_first(error))
        raise typer.Exit(2) from None
    except (UnreachableError, Problem) as error:
        complain(explain(error) if isinstance(error, Problem) else str(error))
        raise typer.Exit(1) from None
    raise typer.Exit(1 if failed else 0)


def refuse_terminals(items: Sequence[Item]) -> None:
    """A terminal neither sends nor shows pictures.

    Raises:
        OutputError: one is where a picture is to come from or to go to.
    """
    if any(item.source == STDIO for item in items) and sys.stdin.isatty():
        raise OutputError("- reads a picture from standard input, which is this terminal: matte cut - < photo.jpg")
    refuse_terminal(item.target for item in items)


def cut_items(url: str, items: Sequence[Item], parameters: Mapping[str, str], jobs: int, console: Console) -> int:
    """Cuts all pictures. Returns how many failed.

    Raises:
        OutputError: a picture would come from a terminal, or go to one.
    """
    refuse_terminals(items)
    if not items:
        console.print("all results are there already")
        return 0
    most = with_api(url, lambda api: api.limits()).max_bytes
    # before the event loop runs: Ctrl-C then ends a read from a pipe that stays silent
    piped = bounded(sys.stdin.buffer, most) if any(item.source == STDIO for item in items) else b""
    return asyncio.run(_run(url, items, Order(parameters, jobs, most, piped), console))


def _first(error: Exception) -> str:
    if isinstance(error, ValidationError):
        found = error.errors()[0]
        message = found["msg"].removeprefix("Value error, ")
        return as_options(f"{'.'.join(map(str, found['loc']))}: {message}" if found["loc"] else message)
    return str(error)
