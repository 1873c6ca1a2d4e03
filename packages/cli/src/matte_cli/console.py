"""What commands that talk to a server share: options, output, errors."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Awaitable, Callable
from typing import Annotated, Any, TypeVar

import typer
from matte_core.errors import Problem
from rich.console import Console
from rich.markup import escape

from matte_cli.client import Api, UnreachableError
from matte_cli.messages import explain
from matte_cli.settings import CliSettings

T = TypeVar("T")
Url = Annotated[str | None, typer.Option("--url", help="Address of the server.", show_default="http://127.0.0.1:7860")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def make_console(*, stderr: bool = False) -> Console:
    """A console whose lines the terminal wraps; numbers are not colored."""
    return Console(stderr=stderr, highlight=False, soft_wrap=True)


def print_error(text: str) -> None:
    make_console(stderr=True).print(f"[red]✗[/] {escape(text)}")


def server(url: str | None) -> str:
    """The address of the server: ``url``, or that of the settings; ``host:port`` is http."""
    address = url or CliSettings().url
    return address if "://" in address else f"http://{address}"


def with_api(url: str | None, work: Callable[[Api], Awaitable[T]]) -> T:
    """The result of ``work``; prints a problem and exits with status 1."""

    async def run() -> T:
        async with Api.at(server(url)) as api:
            return await work(api)

    try:
        return asyncio.run(run())
    except (Problem, UnreachableError) as error:
        print_error(explain(error))
        raise typer.Exit(1) from None


def print_json(document: Any) -> None:
    json.dump(document, sys.stdout, indent=2, ensure_ascii=False)
    sys.stdout.write("\n")
