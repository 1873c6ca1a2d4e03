"""``matte jobs``: look at a job, cancel it, and bring the dead back."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from matte_core.contracts.job import JobView
from matte_core.errors import Problem
from pydantic import TypeAdapter
from rich.table import Table

from matte_cli.client import Api
from matte_cli.talk import Json, Url, print_json, screen, with_api
from matte_cli.words import explain, seconds, waiting

app = typer.Typer(help="Look at jobs, cancel them, requeue the dead.", invoke_without_command=True)
Id = Annotated[str, typer.Argument(help="The job's id.")]
_VIEWS = TypeAdapter(tuple[JobView, ...])


@app.callback()
def default(context: typer.Context, *, url: Url = None, as_json: Json = False) -> None:
    """Without a command: the list of the dead."""
    if context.invoked_subcommand is None:
        dead(url=url, as_json=as_json)


@app.command()
def dead(*, url: Url = None, as_json: Json = False) -> None:
    """List the jobs whose every attempt failed. They are kept for a week and can be requeued."""
    views = with_api(url, _dead)
    if as_json:
        print_json([view.model_dump(mode="json") for view in views])
    elif not views:
        screen().print("no dead jobs")
    else:
        screen().print(dead_table(views))


async def _dead(api: Api) -> tuple[JobView, ...]:
    found: Any = (await api.get("/admin/dead")).json()
    return _VIEWS.validate_python(found["jobs"] if isinstance(found, dict) else found)


def dead_table(views: tuple[JobView, ...]) -> Table:
    """One row per job."""
    grid = Table("job", "model", "version", "attempts", "why", box=None, pad_edge=False, header_style="bold")
    for view in views:
        why = "" if view.error is None else explain(Problem.from_document(view.error))
        grid.add_row(view.id, view.model, view.version or "–", str(view.attempts), why)
    return grid


@app.command()
def show(job: Id, *, url: Url = None, as_json: Json = False) -> None:
    """Show where a job is."""
    view = with_api(url, lambda api: api.view(job))
    if as_json:
        print_json(view.model_dump(mode="json"))
        return
    console = screen()
    for line in lines(view):
        console.print(line, markup=False)


def lines(view: JobView) -> list[str]:
    """A job in words."""
    said = [f"{view.id}: {view.state}", f"model {view.model} {view.version or '(version not chosen yet)'}"]
    if view.position is not None:
        said.append(waiting(view.model_dump()))
    said.append(f"attempts: {view.attempts}")
    if view.finished_at is not None:
        said.append(f"took {seconds(view.finished_at - view.created_at)}, waiting included")
    if view.result is not None:
        said.append(f"result: {view.result.width} × {view.result.height} pixels")
    if view.error is not None:
        said.append(explain(Problem.from_document(view.error)))
    return said


@app.command()
def cancel(job: Id, *, url: Url = None) -> None:
    """Cancel a job that is not finished."""
    with_api(url, lambda api: api.cancel(job))
    screen().print(f"{job}: cancelled", markup=False)


@app.command()
def requeue(job: Id, *, url: Url = None) -> None:
    """Put a dead job into the queue again."""
    with_api(url, lambda api: api.post(f"/admin/dead/{job}/requeue"))
    screen().print(f"{job}: queued again", markup=False)
