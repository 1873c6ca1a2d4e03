"""The ``matte`` command."""

from __future__ import annotations

from importlib.metadata import version as installed_version
from typing import Annotated

import typer

from matte_cli import cut, doctor, jobs, models, serve
from matte_cli.rollout import commands as rollout
from matte_cli.traffic import commands as traffic

app = typer.Typer(
    name="matte",
    help="Cut out the subject of pictures: serve models on this machine, or use a server.",
    no_args_is_help=True,
    pretty_exceptions_show_locals=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("serve")(serve.command)
app.command("cut")(cut.command)
app.add_typer(jobs.app, name="jobs")
app.add_typer(models.app, name="models")
app.add_typer(traffic.app, name="traffic")
app.add_typer(rollout.app, name="rollout")
app.command("doctor")(doctor.command)


def _version(asked: bool) -> None:  # noqa: FBT001 - a callback of typer
    if asked:
        typer.echo(f"matte {installed_version('matte-cli')}")
        raise typer.Exit


@app.callback()
def root(
    *,
    version: Annotated[
        bool, typer.Option("--version", help="Show the version.", is_eager=True, callback=_version)
    ] = False,
) -> None:
    """Cut out the subject of pictures: serve models on this machine, or use a server."""


def kubectl() -> None:
    """The same as a plugin: kubectl finds ``kubectl-matte`` on the PATH and calls it ``kubectl matte``."""
    app(prog_name="kubectl matte")
