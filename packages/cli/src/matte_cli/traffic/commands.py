"""``matte traffic drive`` and its options."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer
from matte_core.errors import Problem

from matte_cli.client import UnreachableError
from matte_cli.console import Url, print_error, server
from matte_cli.messages import explain
from matte_cli.traffic import workload
from matte_cli.traffic.run import DriveOptions, run


def _parsed(parse: Callable[[str], float]) -> Callable[[str], float]:
    def inside(text: str) -> float:
        try:
            return parse(text)
        except ValueError as error:
            raise typer.BadParameter(str(error)) from None

    inside.__name__ = parse.__name__
    return inside


Pictures = Annotated[
    list[Path] | None,
    typer.Argument(help="Pictures to send in turn; by default, one generated picture.", exists=True, dir_okay=False),
]
Model = Annotated[str | None, typer.Option(help="The model; see matte models.", show_default="the server's")]
Rate = Annotated[
    float | None,
    typer.Option(
        parser=_parsed(workload.rate),
        metavar="N/s",
        help="Pictures per second or minute (300/min), sent at fixed times; "
        "without it, as fast as --concurrency allows.",
    ),
]
Duration = Annotated[
    float | None,
    typer.Option(
        parser=_parsed(workload.duration),
        metavar="TIME",
        show_default="60s, unless --requests",
        help="How long to send: 60, 60s, 5m, 1h.",
    ),
]
Requests = Annotated[int | None, typer.Option(min=1, help="Number of pictures to send.")]
Concurrency = Annotated[
    int | None, typer.Option(min=1, max=1000, show_default="64 with --rate, else 4", help="Maximum pictures in flight.")
]
Users = Annotated[
    int | None, typer.Option("--key-from", min=1, metavar="N", help="Send the pictures as N users in turn.")
]
KeyHeader = Annotated[
    str | None,
    typer.Option(help="Request header that identifies the user.", show_default="what the server's openapi.json has"),
]
Timeout = Annotated[
    float, typer.Option(min=0.1, help="Seconds without an answer after which a picture counts as failed.")
]
Settle = Annotated[
    float, typer.Option(min=0.0, help="Seconds around a change of weights that are left out of the split.")
]
ReportFile = Annotated[
    Path | None, typer.Option("--json", metavar="FILE", help="Write the report as JSON; - is standard output.")
]


app = typer.Typer(help="Send traffic and measure where it goes.", no_args_is_help=True)


@app.callback()
def root() -> None:
    """Send traffic and measure where it goes."""


@app.command()
def drive(  # noqa: PLR0913 - one parameter per option
    pictures: Pictures = None,
    *,
    url: Url = None,
    model: Model = None,
    rate: Rate = None,
    duration: Duration = None,
    requests: Requests = None,
    concurrency: Concurrency = None,
    key_from: Users = None,
    key_header: KeyHeader = None,
    timeout: Timeout = 120.0,
    settle: Settle = 2.0,
    report: ReportFile = None,
) -> None:
    """Send pictures while weights move. Exits with status 1 if one fails; Ctrl-C ends it with a report.

    A picture is sent again only if the server answers Retry-After (429, 503). The share that each version got is
    compared with the weights that the server showed, while these were constant.
    """
    options = DriveOptions(
        url=server(url), model=model, pictures=tuple(pictures or ()),
        schedule=workload.Schedule(rate, requests, duration), concurrency=concurrency or (4 if rate is None else 64),
        users=key_from, key_header=key_header, timeout=timeout, settle=settle, json=report,
    )  # fmt: skip
    try:
        passed = run(options)
    except (Problem, UnreachableError, OSError) as error:
        print_error(explain(error))
        raise typer.Exit(1) from None
    raise typer.Exit(0 if passed else 1)
