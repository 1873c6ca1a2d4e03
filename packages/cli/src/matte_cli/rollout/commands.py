"""``matte rollout``, and as a kubectl plugin ``kubectl matte rollout``."""

# ruff: noqa: PLC0415 - the Kubernetes client is an extra, and slow to import

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape

from matte_cli.console import Url, complain, print_json, screen
from matte_cli.rollout import actions, view
from matte_cli.rollout.state import Rollout, RolloutError
from matte_cli.rollout.watch import Watch

if TYPE_CHECKING:
    from matte_cli.rollout.cluster import Cluster

Model = Annotated[str, typer.Argument(help="The Model's name.", metavar="MODEL")]
Namespace = Annotated[
    str | None, typer.Option("--namespace", "-n", help="Of the Model.", show_default="that of the context")
]
Context = Annotated[str | None, typer.Option(help="Of kubectl's configuration.", show_default="the current one")]
DryRun = Annotated[
    bool, typer.Option("--dry-run", help="The cluster checks it and changes nothing; prints what to put into git.")
]
Timeout = Annotated[float, typer.Option(min=0, help="Seconds; ends with status 2 when they are over.")]


class Output(StrEnum):
    JSON = "json"
    YAML = "yaml"


Format = Annotated[Output | None, typer.Option("--output", "-o", help="For programs.")]
app = typer.Typer(help="Versions on their way: see them, hold them, hurry them, take them back.", no_args_is_help=True)


@contextmanager
def _cluster(namespace: str | None, context: str | None) -> Iterator[Cluster]:
    """The cluster; an error is printed, and ends the command with status 1."""
    try:
        try:
            from matte_cli.rollout.cluster import Cluster
        except ModuleNotFoundError as error:
            if (error.name or "").partition(".")[0] != "kubernetes":
                raise
            raise RolloutError("this needs the Kubernetes client: pip install 'matte-cli[cluster]'") from error
        yield Cluster.connect(namespace, context)
    except RolloutError as error:
        complain(str(error))
        raise typer.Exit(1) from None


@app.command()
def status(
    model: Model,
    *,
    namespace: Namespace = None,
    context: Context = None,
    watch_: Annotated[bool, typer.Option("--watch", "-w", help="As matte rollout watch.")] = False,
    timeout: Timeout = 3600.0,
    output: Format = None,
) -> None:
    """Show how far a rollout is: weights, steps, and the numbers of the last check."""
    if watch_:
        watch(model, namespace=namespace, context=context, timeout=timeout)
    with _cluster(namespace, context) as cluster:
        found = Rollout.of(cluster.model(model))
        if output is not None:
            _print(_document(found, cluster.namespace), output)
        else:
            screen().print(view.summary(found, datetime.now(UTC)))


@app.command()
def watch(model: Model, *, namespace: Namespace = None, context: Context = None, timeout: Timeout = 3600.0) -> None:
    """Watch a rollout to its end: status 0 when it succeeded, 1 when it was rolled back, 2 when time is over."""
    with _cluster(namespace, context) as cluster:
        from matte_cli.rollout.cluster import AwayError

        def look() -> Rollout:
            return Rollout.of(cluster.model(model))

        looking = Watch(look, AwayError, time.monotonic, lambda: datetime.now(UTC), time.sleep)
        end = looking.follow(screen(), timeout)
    raise typer.Exit(end)


@app.command()
def promote(model: Model, *, namespace: Namespace = None, context: Context = None, dry_run: DryRun = False) -> None:
    """Give the new version all traffic, whatever is left of the steps and the analysis."""
    _ask("promote", model, namespace, context, dry=dry_run)


@app.command()
def abort(model: Model, *, namespace: Namespace = None, context: Context = None, dry_run: DryRun = False) -> None:
    """Roll the new version back."""
    _ask("abort", model, namespace, context, dry=dry_run)


@app.command()
def pause(model: Model, *, namespace: Namespace = None, context: Context = None, dry_run: DryRun = False) -> None:
    """Hold the weights where they are; a version that fails is rolled back all the same."""
    _ask("pause", model, namespace, context, dry=dry_run)


@app.command()
def resume(model: Model, *, namespace: Namespace = None, context: Context = None, dry_run: DryRun = False) -> None:
    """Go on after pause."""
    _ask("resume", model, namespace, context, dry=dry_run)


@app.command()
def retry(model: Model, *, namespace: Namespace = None, context: Context = None, dry_run: DryRun = False) -> None:
    """Begin a rolled-back version again, or try a step again that paused by itself."""
    _ask("retry", model, namespace, context, dry=dry_run)


@app.command()
def history(model: Model, *, namespace: Namespace = None, context: Context = None, output: Format = None) -> None:
    """Show how the rollouts of a Model's versions went, and every check that is remembered."""
    with _cluster(namespace, context) as cluster:
        found = Rollout.of(cluster.model(model))
        bodies = [body for body in cluster.versions(model) if (body.get("status") or {}).get("rollout")]
        stories = {str(body["spec"]["version"]): body for body in bodies}
        if output is not None:
            told = {version: body["status"]["rollout"] for version, body in stories.items()}
            _print(_document(found, cluster.namespace) | {"versions": told}, output)
            return
        read = [(version, state) for version, body in stories.items() if (state := Rollout.of(body).status)]
    if read:
        screen().print(view.stories(read), "")
    screen().print(view.history(found.status.checks if found.status else ()))


@app.command()
def report(
    model: Model,
    version: Annotated[str, typer.Argument(help="The version that was rolled out.", metavar="VERSION")],
    *,
    url: Url = None,
    out: Annotated[Path, typer.Option("--out", "-o", help="Where it goes; - is standard output.")] = Path(
        "report.html"
    ),
) -> None:
    """Fetch a rollout's report from a frontend: numbers, and the pictures whose masks differ. Asks no cluster."""
    from matte_cli.rollout import report as reports

    reports.fetch(model, version, url, out)


def _ask(action: actions.Action, model: str, namespace: str | None, context: str | None, *, dry: bool) -> None:
    with _cluster(namespace, context) as cluster:
        found = actions.ask(action, Rollout.of(cluster.model(model)), secrets.token_hex(4))
        cluster.patch(model, found.patch, dry=dry)
        if dry:
            screen().print(f"[yellow]![/] nothing was changed. Without --dry-run: {escape(found.says)}")
            _print(dict(found.patch), Output.YAML)
            return
        screen().print(f"[green]✓[/] {escape(found.says)}")


def _document(rollout: Rollout, namespace: str) -> dict[str, Any]:
    return {
        "model": rollout.model,
        "namespace": namespace,
        "version": rollout.version,
        "paused": bool(rollout.spec and rollout.spec.paused),
        "rollout": rollout.status.model_dump(mode="json", exclude_none=True) if rollout.status else None,
    }


def _print(document: dict[str, Any], output: Output) -> None:
    if output is Output.JSON:
        print_json(document)
        return
    import yaml

    typer.echo(yaml.safe_dump(json.loads(json.dumps(document)), sort_keys=False, allow_unicode=True), nl=False)
