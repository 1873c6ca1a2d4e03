"""``matte traffic``: the command and its options."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, TypeVar

import typer
from matte_core.errors import Problem

from matte_cli.client import UnreachableError
from matte_cli.console import Url, complain, server
from matte_cli.messages import explain
from matte_cli.traffic import schedule
from matte_cli.traffic.run import DriveOptions, run

T = TypeVar("T")


def _parsed(parse: Callable[[str], T]) -> Callable[[str], T]:
    def inside(text: str) -> T:
        try:
            return parse(text)
        except ValueError as error:
            raise typer.BadParameter(str(error)) from None

    inside.__name__ = parse.__name__
    return inside


Pictures = Annotated[
    list[Path] | None,
    typer.Argument(help="Sent in turn; without any, one that is made here.", exists=True, dir_okay=False),
]
Model = Annotated[str | None, typer.Option(help="See matte models.", show_default="the server's")]
Rate = Annotated[
    float | None,
    typer.Option(
        parser=_parsed(schedule.rate),
        metavar="N/s",
        help="Pictures per second or minute (300/min), however slow the server is; "
        "without it, as fast as --concurrency allows.",
    ),
]
Duration = Annotated[
    float | None,
    typer.Option(
        parser=_parsed(schedule.duration),
        metavar="TIME",
        show_default="60s, unless --requests",
        help="60, 60s, 5m, 1h.",
    ),
]
Requests = Annotated[int | None, typer.Option(min=1, help="So many pictures, then it ends.")]
Concurrency = Annotated[
    int | None, typer.Option(min=1, max=1000, show_default="64 with --rate, else 4", help="In flight at most.")
]
Users = Annotated[
    int | None, typer.Option("--key-from", min=1, metavar="N", help="The pictures are those of N users in turn.")
]
KeyHeader = Annotated[
    str | None, typer.Option(help="Names the user.", show_default="what the server's openapi.json has")
]
Timeout = Annotated[float, typer.Option(min=0.1, help="Seconds without an answer that count as a failure.")]
Settle = Annotated[
    float, typer.Option(min=0.0, help="Seconds around a change of weights in which the split is not judged.")
]
ReportFile = Annotated[
    Path | None, typer.Option("--json", metavar="FILE", help="The report for programs; - is standard output.")
]


app = typer.Typer(help="Send traffic and see where it goes.", no_args_is_help=True)


@app.callback()
def root() -> None:
    """Send traffic and see where it goes."""


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
    """Send pictures while weights move; ends with status 1 when one fails. Ctrl-C ends it with a report.

    A picture is sent again only where the server says Retry-After (429, 503). What each version got is compared
    with the weights that the server showed, where they were constant.
    """
    options = DriveOptions(
        url=server(url), model=model, pictures=tuple(pictures or ()),
        plan=schedule.Plan(rate, requests, duration), concurrency=concurrency or (4 if rate is None else 64),
        users=key_from, key_header=key_header, timeout=timeout, settle=settle, json=report,
    )  # fmt: skip
    try:
        passed = run(options)
    except (Problem, UnreachableError, OSError) as error:
        complain(explain(error) if isinstance(error, Problem) else str(error))
        raise typer.Exit(1) from None
    raise typer.Exit(0 if passed else 1)
