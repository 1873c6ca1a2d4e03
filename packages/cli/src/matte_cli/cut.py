"""``matte cut``: pictures to cut-outs, through a server's durable jobs."""

from __future__ import annotations

import asyncio
import mimetypes
import sys
import uuid
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO, Annotated, Literal

import typer
from matte_core.contracts.job import HIGH_UNCERTAINTY, JobView, ResultView
from matte_core.contracts.options import Format, Options, Output
from matte_core.errors import Problem
from pydantic import ValidationError
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn

from matte_cli.client import Api, UnreachableError, failure_of
from matte_cli.console import make_console, print_error, server, with_api
from matte_cli.messages import as_options, describe, explain, share
from matte_cli.outputs import STDIO, Item, OutputError, choose_format, collect, plan, refuse_terminal, unwritten, write

#: the state of a picture in words, and the fraction of the work that is done (None: as before)
OnProgress = Callable[[str, float | None], None]


async def cut_one(
    api: Api, item: Item, picture: bytes, parameters: Mapping[str, str], on_progress: OnProgress
) -> JobView:
    """Sends one picture, follows its job and writes its result. Returns the finished job.

    Raises the Problem why there is no result, UnreachableError, or OSError for a file that cannot be written.
    """
    on_progress("sending", None)
    job = await api.submit(picture, media_type(item.source), parameters, uuid.uuid4().hex)
    async for event in api.follow(job.id):
        if text := describe(event):
            on_progress(text, share(event))
    view = await api.view(job.id)
    if problem := failure_of(view):
        raise problem
    await asyncio.to_thread(write, item.target, await api.result(job.id))
    if item.both:
        await asyncio.to_thread(write, item.mask_target, await api.result(job.id, {"file": "mask"}))
    return view


def result_line(item: Item, view: JobView) -> str:
    source = "standard input" if item.source == STDIO else str(item.source)
    targets = " and ".join("standard output" if target == STDIO else str(target) for target in item.targets)
    return f"{source} → {targets}{remark(view.result)}"


def remark(result: ResultView | None) -> str:
    """What to look out for in a result, in parentheses; '' for nothing."""
    if result is None:
        return ""
    if result.foreground == "none":
        return " (no subject was found)"
    if result.uncertainty is not None and result.uncertainty >= HIGH_UNCERTAINTY:
        return f" (uncertain edges: {result.uncertainty:.0%} of the subject may be wrong)"
    return ""


def read_picture(path: Path, max_bytes: int) -> bytes:
    with path.open("rb") as file:
        return bounded(file, max_bytes)


def bounded(file: IO[bytes], max_bytes: int) -> bytes:
    """All the bytes; more than ``max_bytes`` raise ``Problem("payload_too_large")``."""
    data = file.read(max_bytes + 1)
    if len(data) > max_bytes:
        raise Problem("payload_too_large", f"The picture has too many bytes; the server takes {max_bytes / 1e6:g} MB.")
    return data


def media_type(path: Path) -> str:
    """The media type by the file name; the server looks at the bytes."""
    guessed = mimetypes.guess_type(path.name)[0] or ""
    return guessed if guessed.startswith("image/") else "application/octet-stream"


class Board:
    """Progress bars: one of all pictures, and one per picture in progress below it."""

    def __init__(self, progress: Progress, total: int) -> None:
        self._progress = progress
        self._all = progress.add_task("all", total=total, text="", visible=total > 1)

    def open(self, item: Item) -> TaskID:
        return self._progress.add_task(escape(item.source.name), total=1, text="")

    def update(self, line: TaskID, text: str, done: float | None) -> None:
        self._progress.update(line, text=text, completed=done)

    def close(self, line: TaskID, text: str) -> None:
        self._progress.remove_task(line)
        self._progress.advance(self._all)
        self._progress.console.print(text)


def parameters_of(options: Options, model: str | None, version: str | None) -> dict[str, str]:
    """The query of ``POST /v1/jobs``, without defaults."""
    given = options.model_dump(mode="json", exclude_defaults=True)
    query = {name: str(value).lower() if isinstance(value, bool) else str(value) for name, value in given.items()}
    return query | {name: value for name, value in {"model": model, "version": version}.items() if value}


def command(  # noqa: PLR0913 - one parameter per option
    files: Annotated[list[Path], typer.Argument(help="Pictures and folders; - is standard input.")],
    *,
    out: Annotated[
        Path | None, typer.Option("-o", "--out", help="File or folder for the results; - is standard output.")
    ] = None,
    recursive: Annotated[bool, typer.Option("-r", "--recursive", help="Include subfolders.")] = False,
    url: Annotated[
        str | None, typer.Option(help="Address of the server.", show_default="http://127.0.0.1:7860")
    ] = None,
    model: Annotated[str | None, typer.Option(help="Model to use; see matte models.")] = None,
    version: Annotated[str | None, typer.Option(help="Exact version, or its beginning.")] = None,
    output: Annotated[Output, typer.Option(help="Kind of result.")] = "cutout",
    format_: Annotated[Format, typer.Option("--format", help="Format of the result; auto is png.")] = "auto",
    bg_color: Annotated[str | None, typer.Option(help="Color behind the cut-out: fff, #81d4fa80, white.")] = None,
    crop: Annotated[bool, typer.Option("--crop", help="Crop to the subject.")] = False,
    crop_margin: Annotated[str | None, typer.Option(help="Margin kept when cropping: 30px or 10%.")] = None,
    decontaminate: Annotated[bool, typer.Option(help="Remove background color from soft edges.")] = True,
    jobs: Annotated[int, typer.Option(min=1, max=64, help="Maximum pictures in progress.")] = 4,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace existing results.")] = False,
    skip_existing: Annotated[bool, typer.Option("--skip-existing", help="Skip pictures whose results exist.")] = False,
) -> None:
    """Cut out the subject of pictures: photo.jpg becomes photo-cutout.png beside it, or goes where -o says."""
    console = make_console(stderr=True)
    try:
        format_name: Literal["auto", "png", "webp"] = choose_format(format_, out)  # type: ignore[assignment]
        options = Options(
            output=output, format=format_name, bg_color=bg_color, crop=crop, crop_margin=crop_margin,
            decontaminate=decontaminate,
        )  # fmt: skip
        items = plan(collect(files, recursive=recursive), out, output=output, format_=format_name)
        items = unwritten(items, overwrite=overwrite, skip=skip_existing)
        failed = cut_items(server(url), items, parameters_of(options, model, version), jobs, console)
    except OutputError as error:
        print_error(str(error))
        raise typer.Exit(2) from None
    except ValidationError as error:
        first = error.errors()[0]
        message = first["msg"].removeprefix("Value error, ")
        print_error(as_options(f"{'.'.join(map(str, first['loc']))}: {message}" if first["loc"] else message))
        raise typer.Exit(2) from None
    except (UnreachableError, Problem) as error:
        print_error(explain(error))
        raise typer.Exit(1) from None
    raise typer.Exit(1 if failed else 0)


def cut_items(url: str, items: Sequence[Item], parameters: Mapping[str, str], jobs: int, console: Console) -> int:
    """Returns how many failed. Raises OutputError if a picture would come from a terminal, or go to one."""
    if any(item.source == STDIO for item in items) and sys.stdin.isatty():
        raise OutputError("- reads a picture from standard input, which is this terminal: matte cut - < photo.jpg")
    refuse_terminal(item.target for item in items)
    if not items:
        console.print("all results are there already")
        return 0
    most = with_api(url, lambda api: api.limits()).max_bytes
    # before the event loop runs: Ctrl-C then ends a read from a pipe that stays silent
    piped = bounded(sys.stdin.buffer, most) if any(item.source == STDIO for item in items) else b""
    columns = (
        SpinnerColumn(), TextColumn("{task.description}"), BarColumn(20), MofNCompleteColumn(),
        TextColumn("{task.fields[text]}"), TimeElapsedColumn(),
    )  # fmt: skip

    async def cut(item: Item, api: Api, board: Board, free: asyncio.Semaphore) -> bool:
        async with free:
            line = board.open(item)
            name = "standard input" if item.source == STDIO else escape(str(item.source))
            try:
                picture = piped if item.source == STDIO else await asyncio.to_thread(read_picture, item.source, most)
                view = await cut_one(api, item, picture, parameters, lambda text, done: board.update(line, text, done))
            except (Problem, UnreachableError, OSError) as error:
                board.close(line, f"[red]✗[/] {name}: {escape(explain(error))}")
                return False
            board.close(line, f"[green]✓[/] {escape(result_line(item, view))}")
            return True

    async def run() -> int:
        with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
            board, free = Board(progress, len(items)), asyncio.Semaphore(jobs)
            async with Api.at(url) as api:
                return (await asyncio.gather(*(cut(item, api, board, free) for item in items))).count(False)

    return asyncio.run(run())
