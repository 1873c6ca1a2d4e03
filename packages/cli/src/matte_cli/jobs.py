"""``matte jobs``: list jobs, look at one, fetch its result, cancel or delete it, and bring the dead back."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from matte_core.contracts.job import TERMINAL, JobState, JobView
from matte_core.errors import Problem
from pydantic import TypeAdapter
from rich.table import Table

from matte_cli.client import Api
from matte_cli.console import Json, Url, complain, print_json, screen, with_api
from matte_cli.messages import explain, seconds, waiting
from matte_cli.outputs import STDIO, OutputError, is_stream, refuse_terminal, write

app = typer.Typer(
    help="List jobs, look at them, fetch results, cancel, delete, requeue the dead.", invoke_without_command=True
)
Id = Annotated[str, typer.Argument(help="The job's id.")]
#: what a list holds at most
MOST_JOBS = 10_000
_VIEWS = TypeAdapter(tuple[JobView, ...])


@app.callback()
def default(context: typer.Context, *, url: Url = None, as_json: Json = False) -> None:
    """Without a command: the list of all jobs."""
    if context.invoked_subcommand is None:
        list_jobs(url=url, as_json=as_json)


@app.command("list")
def list_jobs(
    *,
    url: Url = None,
    state: Annotated[JobState | None, typer.Option(help="Only those in this state.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=MOST_JOBS, help="At most so many, the newest.")] = 50,
    as_json: Json = False,
) -> None:
    """List jobs in every state, the newest first. Asks /admin, which matte serve opens on loopback."""
    views = with_api(url, lambda api: _jobs(api, state))
    if as_json:
        print_json([view.model_dump(mode="json") for view in views[:limit]])
        return
    screen().print(jobs_table(views[:limit], time.time()) if views else "no jobs")
    if len(views) > limit:
        screen().print(f"… and {len(views) - limit} more: --limit, --state")


async def _jobs(api: Api, state: JobState | None) -> list[JobView]:
    """All jobs, the newest first; the server gives them in pages without an order."""
    found: dict[str, JobView] = {}
    asked, cursor = f"&state={state}" if state else "", "0"
    while len(found) < MOST_JOBS:
        page: Any = (await api.get(f"/admin/jobs?cursor={cursor}{asked}")).json()
        found |= {view.id: view for view in _VIEWS.validate_python(page["jobs"])}
        cursor = page["next"]
        if cursor is None:
            break
    return sorted(found.values(), key=lambda view: view.created_at, reverse=True)


def jobs_table(views: Sequence[JobView], now: float) -> Table:
    grid = Table("job", "state", "model", "version", "age", box=None, pad_edge=False, header_style="bold")
    for view in views:
        age = seconds(max(0.0, now - view.created_at))
        grid.add_row(view.id, view.state, view.model, view.version or "–", age)
    return grid


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
    """Cancel a job that is not finished. Ends with status 1 when it was."""
    before, after = with_api(url, lambda api: _ended(api, job, finished=False))
    if after is None:
        complain(f"{job} is {before.state} already: nothing is left to cancel. matte jobs delete {job} removes it")
        raise typer.Exit(1)
    late = "" if after.state is JobState.CANCELED else ": it had just ended, and is removed"
    screen().print(f"{job}: {after.state}{late}", markup=False)


@app.command()
def delete(job: Id, *, url: Url = None) -> None:
    """Remove a job that is finished, with its pictures, now. Ends with status 1 when it is not finished."""
    before, after = with_api(url, lambda api: _ended(api, job, finished=True))
    if after is None:
        complain(f"{job} is {before.state}: matte jobs cancel {job} ends it")
        raise typer.Exit(1)
    screen().print(f"{job}: removed, with its pictures", markup=False)


async def _ended(api: Api, job: str, *, finished: bool) -> tuple[JobView, JobView | None]:
    """The job before and after it was taken back; None: it is not as ``finished`` says, and was left alone.

    To the server both are one request: DELETE ends a job, and removes one that had ended.
    """
    before = await api.view(job)
    if (before.state in TERMINAL) is not finished:
        return before, None
    return before, JobView.model_validate_json((await api.delete(f"/v1/jobs/{job}")).content)


@app.command()
def result(
    job: Id,
    *,
    url: Url = None,
    out: Annotated[Path, typer.Option("-o", "--out", help="Where it goes; - is standard output.")] = STDIO,
    mask: Annotated[bool, typer.Option("--mask", help="The mask of a job that made both.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a file that is there already.")] = False,
) -> None:
    """Fetch the result of a finished job."""
    try:
        refuse_terminal([out])
        if out.exists() and not is_stream(out) and not overwrite:
            raise OutputError(f"{out} is there already: --overwrite replaces it")
    except OutputError as error:
        complain(str(error))
        raise typer.Exit(2) from None
    data = with_api(url, lambda api: api.result(job, {"file": "mask" if mask else "result"}))
    try:
        write(out, data)
    except OSError as error:
        complain(str(error))
        raise typer.Exit(1) from None


@app.command()
def requeue(job: Id, *, url: Url = None) -> None:
    """Put a dead job into the queue again."""
    with_api(url, lambda api: api.post(f"/admin/dead/{job}/requeue"))
    screen().print(f"{job}: queued again", markup=False)
