"""``matte models``: the models of a server, and below it the commands for versions at their sources."""

from __future__ import annotations

import typer
from matte_core.contracts.catalog import Catalog, ModelView, VersionView
from rich.markup import escape
from rich.table import Table

from matte_cli.console import Json, Url, make_console, print_json, with_api
from matte_cli.downloads import awaited, megabytes
from matte_cli.registry import commands

app = typer.Typer(help="Show a server's models and the catalog; push, pull, list, verify and compare versions.")
app.add_typer(commands.app)


@app.callback(invoke_without_command=True)
def command(context: typer.Context, *, url: Url = None, as_json: Json = False) -> None:
    """List a server's models and versions: traffic, readiness and speed."""
    if context.invoked_subcommand is not None:
        return
    catalog = Catalog.model_validate_json(with_api(url, lambda api: api.get("/models")).content)
    if as_json:
        print_json(catalog.model_dump(mode="json"))
        return
    console, grid = make_console(), Table(box=None, pad_edge=False, header_style="bold")
    for title in ("model", "version", "weight", "ready", "replicas", "1 MP", "device", "license"):
        grid.add_column(title, justify="right" if title in {"weight", "replicas", "1 MP"} else "left")
    rows = [row(model, version) for model in catalog.models for version in model.versions]
    for cells in rows:
        grid.add_row(*cells)
    if console.measure(grid).maximum <= console.width:
        console.print(grid)
    else:
        for name, number, weight, ready, replicas, measured, *rest in rows:  # one line each: the table has no room
            known = ", ".join(word for word in (f"{measured} s/MP", *rest) if not word.startswith("–"))
            line = f"{name} {number}: weight {weight}, ready {ready}, replicas {replicas}"
            console.print(f"{line}, {known}" if known else line)
    for each in awaited(catalog):
        mark, text = ("[red]✗[/]", f"{each.name}: {each.download.error}") if each.download.error else ("…", str(each))
        console.print(f"{mark} {escape(text)}")


def row(model: ModelView, version: VersionView) -> tuple[str, ...]:
    measured = (version.seconds_per_picture, version.seconds_per_megapixel)
    return (
        model.name + (" (default)" if model.default else ""),
        version.version,
        f"{version.weight} %",
        "[green]yes[/]" if version.ready else f"[red]{unready(version)}[/]",
        str(version.replicas),
        "–" if None in measured else f"{sum(filter(None, measured)):.2f} s",
        version.device or "–",
        version.license or "–",
    )


def unready(version: VersionView) -> str:
    """What a version is instead of ready."""
    download = version.download
    if download is None:
        return "no"
    if download.error:
        return "failed"
    return megabytes(download) if download.done < download.total else "loading" if download.total else "no"
