"""``matte rollout``, and as a kubectl plugin ``kubectl matte rollout``."""

# ruff: noqa: PLC0415 - the Kubernetes client is an extra, and slow to import

from __future__ import annotations

import json
import secrets
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import quote

import typer
from rich.markup import escape

from matte_cli.console import Url, make_console, print_error, print_json, with_api
from matte_cli.outputs import STDIO
from matte_cli.rollout import actions, view
from matte_cli.rollout.state import Rollout, RolloutError
from matte_cli.rollout.watch import Watch

if TYPE_CHECKING:
    from matte_cli.rollout.cluster import Cluster

Model = Annotated[str, typer.Argument(help="The Model's name.", metavar="MODEL")]
Namespace = Annotated[
    str | None, typer.Option("--namespace", "-n", help="Namespace of the Model.", show_default="that of the context")
]
Context = Annotated[
    str | None, typer.Option(help="Context in kubectl's configuration.", show_default="the current one")
]
DryRun = Annotated[
    bool,
    typer.Option(
        "--dry-run", help="Let the cluster validate the change without making it; prints the YAML to put into git."
    ),
]
Timeout = Annotated[float, typer.Option(min=0, help="Seconds after which to exit with status 2.")]


class Output(StrEnum):
    JSON = "json"
    YAML = "yaml"


Format = Annotated[Output | None, typer.Option("--output", "-o", help="Output format for programs.")]
app = typer.Typer(help="Show, pause, promote and abort rollouts.", no_args_is_help=True)


@contextmanager
def _cluster(namespace: str | None, context: str | None) -> Iterator[Cluster]:
    """Connects to the cluster; prints an error and exits with status 1."""
    try:
        try:
            from matte_cli.rollout.cluster import Cluster
        except ModuleNotFoundError as error:
            if (error.name or "").partition(".")[0] != "kubernetes":
                raise
            raise RolloutError("this needs the Kubernetes client: pip install 'matte-cli[cluster]'") from error
        yield Cluster.connect(namespace, context)
    except RolloutError as error:
        print_error(str(error))
        raise typer.Exit(1) from None


@app.command()
def status(
    model: Model,
    *,
    namespace: Namespace = None,
    context: Context = None,
    watch_: Annotated[bool, typer.Option("--watch", "-w", help="The same as matte rollout watch.")] = False,
    timeout: Timeout = 3600.0,
    output: Format = None,
) -> None:
    """Show the progress of a rollout: weights, steps, and the numbers of the last check."""
    if watch_:
        watch(model, namespace=namespace, context=context, timeout=timeout)
    with _cluster(namespace, context) as cluster:
        found = Rollout.of(cluster.model(model))
        if output is not None:
            _print(_document(found, cluster.namespace), output)
        else:
            make_console().print(view.summary(found, datetime.now(UTC)))


@app.command()
def watch(model: Model, *, namespace: Namespace = None, context: Context = None, timeout: Timeout = 3600.0) -> None:
    """Watch a rollout until it ends. Exits with status 0 if it succeeded, 1 if it was rolled back, 2 on timeout."""
    with _cluster(namespace, context) as cluster:
        from matte_cli.rollout.cluster import TransientError

        polling = Watch(
            lambda: Rollout.of(cluster.model(model)),
            TransientError,
            time.monotonic,
            lambda: datetime.now(UTC),
            time.sleep,
        )
        end = polling.follow(make_console(), timeout)
    raise typer.Exit(end)


def _add_action(action: actions.Action, summary: str) -> None:
    @app.command(action, help=summary)
    def command(model: Model, *, namespace: Namespace = None, context: Context = None, dry_run: DryRun = False) -> None:
        with _cluster(namespace, context) as cluster:
            change = actions.change_for(action, Rollout.of(cluster.model(model)), secrets.token_hex(4))
            cluster.patch(model, change.patch, dry=dry_run)
        if dry_run:
            make_console().print(f"[yellow]![/] nothing was changed. Without --dry-run: {escape(change.effect)}")
            _print(dict(change.patch), Output.YAML)
        else:
            make_console().print(f"[green]✓[/] {escape(change.effect)}")


_add_action("promote", "Give the new version all traffic, skipping the remaining steps and the analysis.")
_add_action("abort", "Roll the new version back.")
_add_action("pause", "Hold the weights where they are; a version that fails is still rolled back.")
_add_action("resume", "Continue after pause.")
_add_action("retry", "Restart a rolled-back version, or retry a step that paused by itself.")


@app.command()
def history(model: Model, *, namespace: Namespace = None, context: Context = None, output: Format = None) -> None:
    """Show the rollouts of a Model's versions, and every recorded check."""
    with _cluster(namespace, context) as cluster:
        found = Rollout.of(cluster.model(model))
        bodies = [body for body in cluster.versions(model) if (body.get("status") or {}).get("rollout")]
        stories = {str(body["spec"]["version"]): body for body in bodies}
        if output is not None:
            rollouts = {version: body["status"]["rollout"] for version, body in stories.items()}
            _print(_document(found, cluster.namespace) | {"versions": rollouts}, output)
            return
        read = [(version, state) for version, body in stories.items() if (state := Rollout.of(body).status)]
    if read:
        make_console().print(view.stories(read), "")
    make_console().print(view.history(found.status.checks if found.status else ()))


@app.command()
def report(
    model: Model,
    version: Annotated[str, typer.Argument(help="Version that was rolled out.", metavar="VERSION")],
    *,
    url: Url = None,
    out: Annotated[Path, typer.Option("--out", "-o", help="File to write; - is standard output.")] = Path(
        "report.html"
    ),
) -> None:
    """Fetch a rollout's report from a frontend: numbers, and the pictures whose masks differ. Needs no cluster."""
    path = f"/v1/rollouts/{quote(model, safe='')}/{quote(version, safe='')}/report"
    content = with_api(url, lambda api: api.get(path)).content
    if out == STDIO:
        sys.stdout.buffer.write(content)
        return
    try:
        out.touch(mode=0o600)  # it has people's pictures
        out.write_bytes(content)
    except OSError as error:
        print_error(f"{out}: {error.strerror}")
        raise typer.Exit(1) from None
    make_console().print(f"[green]✓[/] {out}: it has pictures that people sent", markup=True)


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
