"""What the commands that only ask a server share: one loop, errors in words, ``--json``."""

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
Url = Annotated[str | None, typer.Option("--url", help="The server.", show_default="http://127.0.0.1:7860")]
Json = Annotated[bool, typer.Option("--json", help="JSON for programs.")]


def screen(*, stderr: bool = False) -> Console:
    """Where people read: lines are theirs to wrap, and numbers are not colored."""
    return Console(stderr=stderr, highlight=False, soft_wrap=True)


def complain(text: str) -> None:
    screen(stderr=True).print(f"[red]✗[/] {escape(text)}")


def server(url: str | None) -> str:
    """The address that is asked: as given, else by the settings; ``host:port`` is http."""
    address = url or CliSettings().url
    return address if "://" in address else f"http://{address}"


def with_api(url: str | None, work: Callable[[Api], Awaitable[T]]) -> T:
    """Does something with a server; a problem is printed and ends the command with status 1."""

    async def inside() -> T:
        async with Api.at(server(url)) as api:
            return await work(api)

    try:
        return asyncio.run(inside())
    except (Problem, UnreachableError) as error:
        text = explain(error) if isinstance(error, Problem) else str(error)
        complain(text)
        raise typer.Exit(1) from None


def print_json(document: Any) -> None:
    json.dump(document, sys.stdout, indent=2, ensure_ascii=False)
    sys.stdout.write("\n")
