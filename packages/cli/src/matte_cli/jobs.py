"""``matte jobs``: list jobs, look at one, fetch its result, cancel or delete it, and bring the dead back."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated, Any

import typer
from matte_core.contracts.job import TERMINAL, JobState, JobView
from matte_core.errors import Problem
from pydantic import TypeAdapter
from rich.table import Table

from matte_cli.client import Api
from matte_cli.console import Json, Url, make_console, print_error, print_json, with_api
from matte_cli.messages import explain, seconds, waiting
from matte_cli.outputs import STDIO, OutputError, is_stream, refuse_terminal, write

app = typer.Typer(
    help="List jobs, look at them, fetch results, cancel, delete, requeue the dead.", invoke_without_command=True
)
Id = Annotated[str, typer.Argument(help="Id of the job.")]
#: in one list
MOST_JOBS = 10_000
_VIEWS = TypeAdapter(tuple[JobView, ...])


@app.callback()
def default(context: typer.Context, *, url: Url = None, as_json: Json = False) -> None:
    """List jobs, look at them, fetch results, cancel, delete, requeue the dead."""
    if context.invoked_subcommand is None:
        list_jobs(url=url, as_json=as_json)


@app.command("list")
def list_jobs(
    *,
    url: Url = None,
    state: Annotated[JobState | None, typer.Option(help="Only jobs in this state.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=MOST_JOBS, help="Maximum number of jobs, the newest first.")] = 50,
    as_json: Json = False,
) -> None:
    """List jobs, the newest first. Uses /admin, which matte serve enables on loopback."""
    views = with_api(url, lambda api: _jobs(api, state))
    if as_json:
        print_json([view.model_dump(mode="json") for view in views[:limit]])
        return
    grid = Table("job", "state", "model", "version", "age", box=None, pad_edge=False, header_style="bold")
    for view in views[:limit]:
        age = seconds(max(0.0, time.time() - view.created_at))
        grid.add_row(view.id, view.state, view.model, view.version or "–", age)
    make_console().print(grid if views else "no jobs")
    if len(views) > limit:
        make_console().print(f"… and {len(views) - limit} more: --limit, --state")


async def _jobs(api: Api, state: JobState | None) -> list[JobView]:
    """All jobs, the newest first; the server's pages have no order."""
    jobs: dict[str, JobView] = {}
    state_query, cursor = f"&state={state}" if state else "", "0"
    while len(jobs) < MOST_JOBS:
        page: Any = (await api.get(f"/admin/jobs?cursor={cursor}{state_query}")).json()
        jobs |= {view.id: view for view in _VIEWS.validate_python(page["jobs"])}
        cursor = page["next"]
        if cursor is None:
            break
    return sorted(jobs.values(), key=lambda view: view.created_at, reverse=True)


@app.command()
def dead(*, url: Url = None, as_json: Json = False) -> None:
    """List the jobs that failed in every attempt. They are kept for a week and can be requeued."""
    document: Any = with_api(url, lambda api: api.get("/admin/dead")).json()
    views = _VIEWS.validate_python(document["jobs"] if isinstance(document, dict) else document)
    if as_json:
        print_json([view.model_dump(mode="json") for view in views])
        return
    grid = Table("job", "model", "version", "attempts", "why", box=None, pad_edge=False, header_style="bold")
    for view in views:
        why = "" if view.error is None else explain(Problem.from_document(view.error))
        grid.add_row(view.id, view.model, view.version or "–", str(view.attempts), why)
    make_console().print(grid if views else "no dead jobs")


@app.command()
def show(job: Id, *, url: Url = None, as_json: Json = False) -> None:
    """Show the state of a job."""
    view = with_api(url, lambda api: api.view(job))
    if as_json:
        print_json(view.model_dump(mode="json"))
        return
    console = make_console()
    for line in lines(view):
        console.print(line, markup=False)


def lines(view: JobView) -> list[str]:
    words = [f"{view.id}: {view.state}", f"model {view.model} {view.version or '(version not chosen yet)'}"]
    if view.position is not None:
        words.append(waiting(view.model_dump()))
    words.append(f"attempts: {view.attempts}")
    if view.finished_at is not None:
        words.append(f"took {seconds(view.finished_at - view.created_at)}, waiting included")
    if view.result is not None:
        words.append(f"result: {view.result.width} × {view.result.height} pixels")
    if view.error is not None:
        words.append(explain(Problem.from_document(view.error)))
    return words


@app.command()
def cancel(job: Id, *, url: Url = None) -> None:
    """Cancel an unfinished job. Exits with status 1 if it is finished."""
    before, after = with_api(url, lambda api: _delete(api, job, finished=False))
    if after is None:
        print_error(f"{job} is {before.state} already: nothing is left to cancel. matte jobs delete {job} removes it")
        raise typer.Exit(1)
    late = "" if after.state is JobState.CANCELED else ": it had just ended, and is removed"
    make_console().print(f"{job}: {after.state}{late}", markup=False)


@app.command()
def delete(job: Id, *, url: Url = None) -> None:
    """Delete a finished job and its pictures. Exits with status 1 if it is not finished."""
    before, after = with_api(url, lambda api: _delete(api, job, finished=True))
    if after is None:
        print_error(f"{job} is {before.state}: matte jobs cancel {job} ends it")
        raise typer.Exit(1)
    make_console().print(f"{job}: removed, with its pictures", markup=False)


async def _delete(api: Api, job: str, *, finished: bool) -> tuple[JobView, JobView | None]:
    """The job before and after DELETE; None: it is not in the state that ``finished`` asks for, and was left alone.

    The server's DELETE cancels an unfinished job, and removes a finished one.
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
    out: Annotated[Path, typer.Option("-o", "--out", help="File to write; - is standard output.")] = STDIO,
    mask: Annotated[bool, typer.Option("--mask", help="Fetch the mask of a job with --output both.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an existing file.")] = False,
) -> None:
    """Fetch the result of a finished job."""
    try:
        refuse_terminal([out])
        if out.exists() and not is_stream(out) and not overwrite:
            raise OutputError(f"{out} is there already: --overwrite replaces it")
    except OutputError as error:
        print_error(str(error))
        raise typer.Exit(2) from None
    data = with_api(url, lambda api: api.result(job, {"file": "mask" if mask else "result"}))
    try:
        write(out, data)
    except OSError as error:
        print_error(str(error))
        raise typer.Exit(1) from None


@app.command()
def requeue(job: Id, *, url: Url = None) -> None:
    """Put a dead job back into the queue."""
    with_api(url, lambda api: api.post(f"/admin/dead/{job}/requeue"))
    make_console().print(f"{job}: queued again", markup=False)
