"""The ``matte`` command. A subcommand is imported only when it is called, so help and completion are quick."""

# ruff: noqa: PLC0415 - see above

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

#: module and attribute of each command, and its line in the list
COMMANDS: Mapping[str, tuple[str, str, str]] = {
    "serve": ("serve", "command", "Start Matte on this machine: Redis, inference and the frontend. Ctrl-C stops it."),
    "cut": ("cut", "command", "Cut out the subject of pictures."),
    "jobs": ("jobs", "app", "List jobs, look at them, fetch results, cancel, delete, requeue the dead."),
    "models": (
        "models",
        "app",
        "Show a server's models and the catalog; push, pull, list, verify and compare versions.",
    ),
    "traffic": ("traffic.commands", "app", "Send traffic and measure where it goes."),
    "rollout": ("rollout.commands", "app", "Show, pause, promote and abort rollouts."),
    "doctor": ("doctor", "command", "Report what is missing on this machine and how to fix it."),
}


class Commands(TyperGroup):
    """Lists commands without importing them."""

    def list_commands(self, ctx: Any) -> list[str]:  # noqa: ARG002 - typer's
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:  # noqa: ARG002 - typer's
        return TyperCommand(cmd_name, help=COMMANDS[cmd_name][2]) if cmd_name in COMMANDS else None

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        if args[0] not in COMMANDS:
            return super().resolve_command(ctx, args)
        name, *rest = args
        return name, loaded(name), rest


def loaded(name: str) -> Any:
    module, attribute, _ = COMMANDS[name]
    found = getattr(import_module(f"matte_cli.{module}"), attribute)
    if isinstance(found, typer.Typer):
        found.rich_markup_mode = None
        return typer.main.get_group(found)
    alone = typer.Typer(add_completion=False, rich_markup_mode=None)
    alone.command(name)(found)
    return typer.main.get_command(alone)


app = typer.Typer(
    name="matte",
    cls=Commands,
    help="Cut out the subject of pictures: serve models on this machine, or use a server.",
    no_args_is_help=True,
    rich_markup_mode=None,  # plain help, as kubectl's: flags are not said to be <bool>, and no third of a second
    pretty_exceptions_show_locals=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(requested: bool) -> None:  # noqa: FBT001 - a callback of typer
    if requested:
        from importlib.metadata import version

        typer.echo(f"matte {version('matte-cli')}")
        raise typer.Exit


@app.callback()
def root(
    *,
    version: Annotated[
        bool, typer.Option("--version", help="Show the version.", is_eager=True, callback=_print_version)
    ] = False,
) -> None:
    """Cut out the subject of pictures: serve models on this machine, or use a server."""


def kubectl() -> None:
    """The kubectl plugin: kubectl runs ``kubectl-matte`` from the PATH as ``kubectl matte``."""
    app(prog_name="kubectl matte")
