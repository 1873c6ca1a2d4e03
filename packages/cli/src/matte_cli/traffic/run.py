"""A whole run, from reading the server's models to the report."""

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
from typing import Any

import httpx
from matte_core.contracts.catalog import Catalog
from matte_core.errors import Problem
from rich.console import Console
from rich.live import Live

from matte_cli.client import Api
from matte_cli.console import make_console, print_json
from matte_cli.outputs import STDIO
from matte_cli.traffic import view
from matte_cli.traffic.driver import Drive
from matte_cli.traffic.log import Log
from matte_cli.traffic.report import Report, RunSettings, report
from matte_cli.traffic.workload import Schedule, Workload, load_pictures

#: the frontend's header that keeps a user on a version
KEY_HEADER = "X-Route-Key"
#: between two lines of output, and between two frames of the live view on a terminal
LINE_SECONDS = 5.0
FRAME_SECONDS = 0.25


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
    json: Path | None


def run(options: DriveOptions) -> bool:
    """Whether the run passed; prints it and writes its report.

    Raises:
        Problem: the server's, before the first picture: no such model, for one.
        UnreachableError: no server answers.
        OSError: a picture cannot be read, or the report cannot be written.
    """
    console = make_console(stderr=options.json == STDIO)
    found = asyncio.run(_run(options, console))
    for part in view.closing(found):
        console.print(part)
    if options.json == STDIO:
        print_json(dataclasses.asdict(found))
    elif options.json is not None:
        options.json.write_text(json.dumps(dataclasses.asdict(found), indent=2) + "\n")
    return found.passed


async def _run(options: DriveOptions, console: Console) -> Report:
    workload = await _workload(options)
    log, began, started_at = Log(), time.monotonic(), datetime.now(UTC)

    def clock() -> float:
        return time.monotonic() - began

    # the requests for the weights never wait for a picture's connection
    pool = httpx.Limits(max_connections=workload.concurrency + 4, max_keepalive_connections=workload.concurrency + 4)
    timeout = httpx.Timeout(options.timeout, connect=min(5.0, options.timeout))
    async with httpx.AsyncClient(base_url=options.url.rstrip("/"), timeout=timeout, limits=pool) as http:
        drive = Drive(http, workload, log, clock)
        with _interrupts(drive, work := asyncio.ensure_future(drive.run()), console):
            await _show(work, console, log, clock)
    schedule = workload.schedule
    asked = RunSettings(
        url=options.url, model=workload.model, started_at=started_at.isoformat(timespec="seconds"), rate=schedule.rate,
        planned=schedule.total, concurrency=workload.concurrency, users=workload.users,
        key_header=workload.key_header, settle=workload.settle,
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
