"""``matte traffic drive``: its options, and a whole run from reading the server's models to the report."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import httpx
import typer
from matte_core.contracts.catalog import Catalog
from matte_core.errors import Problem
from rich.console import Console
from rich.live import Live

from matte_cli.client import Api, UnreachableError
from matte_cli.console import Url, make_console, print_error, print_json, server
from matte_cli.messages import explain
from matte_cli.outputs import STDIO
from matte_cli.traffic import view, workload
from matte_cli.traffic.driver import Drive
from matte_cli.traffic.log import Log
from matte_cli.traffic.report import Report, RunSettings, report
from matte_cli.traffic.workload import Schedule, Workload, load_pictures

#: the frontend's header that keeps a user on a version
KEY_HEADER = "X-Route-Key"
#: between two lines of output, and between two frames of the live view on a terminal
LINE_SECONDS = 5.0
FRAME_SECONDS = 0.25

app = typer.Typer(help="Send traffic and measure where it goes.", no_args_is_help=True)


def _parsed(parse: Callable[[str], float]) -> Callable[[str], float]:
    def inside(text: str) -> float:
        try:
            return parse(text)
        except ValueError as error:
            raise typer.BadParameter(str(error)) from None

    inside.__name__ = parse.__name__
    return inside


@dataclass(frozen=True, slots=True)
class DriveOptions:
    url: str
    model: str | None
    pictures: tuple[Path, ...]
    schedule: Schedule
    concurrency: int
    users: int | None
    key_header: str | None
    timeout: float
    settle: float


@app.callback()
def root() -> None:
    """Send traffic and measure where it goes."""


@app.command()
def drive(  # noqa: PLR0913 - one parameter per option
    pictures: Annotated[
        list[Path] | None,
        typer.Argument(
            help="Pictures to send in turn; by default, one generated picture.", exists=True, dir_okay=False
        ),
    ] = None,
    *,
    url: Url = None,
    model: Annotated[str | None, typer.Option(help="The model; see matte models.", show_default="the server's")] = None,
    rate: Annotated[
        float | None,
        typer.Option(
            parser=_parsed(workload.rate),
            metavar="N/s",
            help="Pictures per second or minute (300/min), sent at fixed times; "
            "without it, as fast as --concurrency allows.",
        ),
    ] = None,
    duration: Annotated[
        float | None,
        typer.Option(
            parser=_parsed(workload.duration),
            metavar="TIME",
            show_default="60s, unless --requests",
            help="How long to send: 60, 60s, 5m, 1h.",
        ),
    ] = None,
    requests: Annotated[int | None, typer.Option(min=1, help="Number of pictures to send.")] = None,
    concurrency: Annotated[
        int | None,
        typer.Option(min=1, max=1000, show_default="64 with --rate, else 4", help="Maximum pictures in flight."),
    ] = None,
    key_from: Annotated[
        int | None, typer.Option("--key-from", min=1, metavar="N", help="Send the pictures as N users in turn.")
    ] = None,
    key_header: Annotated[
        str | None,
        typer.Option(
            help="Request header that identifies the user.", show_default="what the server's openapi.json has"
        ),
    ] = None,
    timeout: Annotated[
        float, typer.Option(min=0.1, help="Seconds without an answer after which a picture counts as failed.")
    ] = 120.0,
    settle: Annotated[
        float, typer.Option(min=0.0, help="Seconds around a change of weights that are left out of the split.")
    ] = 2.0,
    report_file: Annotated[
        Path | None, typer.Option("--json", metavar="FILE", help="Write the report as JSON; - is standard output.")
    ] = None,
) -> None:
    """Send pictures while weights move. Exits with status 1 if one fails; Ctrl-C ends it with a report.

    A picture is sent again only if the server answers Retry-After (429, 503). The share that each version got is
    compared with the weights that the server showed, while these were constant.
    """
    options = DriveOptions(
        url=server(url), model=model, pictures=tuple(pictures or ()), schedule=Schedule(rate, requests, duration),
        concurrency=concurrency or (4 if rate is None else 64), users=key_from, key_header=key_header, timeout=timeout,
        settle=settle,
    )  # fmt: skip
    console = make_console(stderr=report_file == STDIO)
    try:
        found = asyncio.run(_run(options, console))
        for part in view.closing(found):
            console.print(part)
        if report_file == STDIO:
            print_json(dataclasses.asdict(found))
        elif report_file is not None:
            report_file.write_text(json.dumps(dataclasses.asdict(found), indent=2) + "\n")
    except (Problem, UnreachableError, OSError) as error:
        print_error(explain(error))
        raise typer.Exit(1) from None
    raise typer.Exit(0 if found.passed else 1)


async def _run(options: DriveOptions, console: Console) -> Report:
    load = await _workload(options)
    log, began, started_at = Log(), time.monotonic(), datetime.now(UTC)

    def clock() -> float:
        return time.monotonic() - began

    # the requests for the weights never wait for a picture's connection
    pool = httpx.Limits(max_connections=load.concurrency + 4, max_keepalive_connections=load.concurrency + 4)
    timeout = httpx.Timeout(options.timeout, connect=min(5.0, options.timeout))
    async with httpx.AsyncClient(base_url=options.url.rstrip("/"), timeout=timeout, limits=pool) as http:
        drive = Drive(http, load, log, clock)
        with _interrupts(drive, work := asyncio.ensure_future(drive.run()), console):
            await _show(work, console, log, clock)
    schedule = load.schedule
    asked = RunSettings(
        url=options.url, model=load.model, started_at=started_at.isoformat(timespec="seconds"), rate=schedule.rate,
        planned=schedule.total, concurrency=load.concurrency, users=load.users,
        key_header=load.key_header, settle=load.settle,
    )  # fmt: skip
    return report(asked, log, clock(), interrupted=drive.stopping)


async def _workload(options: DriveOptions) -> Workload:
    async with Api.at(options.url) as api:
        limits = await api.limits()
        catalog = Catalog.model_validate_json((await api.get("/models")).content)
        model = options.model or catalog.default_model
        if model is None or catalog.model(model) is None:
            names = ", ".join(found.name for found in catalog.models) or "none"
            raise Problem("model_not_found", f"There is no model {model!r}; there are: {names}.")
        header = options.key_header
        if options.users and header is None:
            header = key_header((await api.get("/openapi.json")).json())
    return Workload(
        model=model, pictures=load_pictures(list(options.pictures), limits.max_bytes), schedule=options.schedule,
        concurrency=options.concurrency, users=options.users, key_header=header if options.users else None,
        settle=options.settle,
    )  # fmt: skip


def key_header(document: Mapping[str, Any]) -> str | None:
    """The header that keeps a user on a version, if the server's OpenAPI document has it."""
    parameters = document.get("components", {}).get("parameters", {})
    has = any(p.get("in") == "header" and str(p.get("name")).lower() == KEY_HEADER.lower() for p in parameters.values())
    return KEY_HEADER if has else None


@contextlib.contextmanager
def _interrupts(drive: Drive, work: asyncio.Future[None], console: Console) -> Iterator[None]:
    """The first Ctrl-C sends nothing more, the second abandons what is in flight. Either way there is a report."""

    def interrupted() -> None:
        if drive.stopping:
            work.cancel()
            return
        drive.stop()
        console.print("ending: what is in flight may finish, Ctrl-C again gives it up")

    loop, caught = asyncio.get_running_loop(), (signal.SIGINT, signal.SIGTERM)
    with contextlib.suppress(NotImplementedError):  # Windows has no handlers in the loop: Ctrl-C ends it at once
        for number in caught:
            loop.add_signal_handler(number, interrupted)
    try:
        yield
    finally:
        with contextlib.suppress(NotImplementedError):
            for number in caught:
                loop.remove_signal_handler(number)


async def _show(work: asyncio.Future[None], console: Console, log: Log, clock: Callable[[], float]) -> None:
    if console.is_terminal:
        with Live(console=console, auto_refresh=False, transient=True) as shown:
            while not (await asyncio.wait([work], timeout=FRAME_SECONDS))[0]:
                shown.update(view.live(log, clock()), refresh=True)
    else:
        while not (await asyncio.wait([work], timeout=LINE_SECONDS))[0]:
            console.print(view.line(log, clock()), markup=False)
    if not work.cancelled():
        work.result()
