"""``matte models``: what a server has; and below it, the versions where they lie."""

from __future__ import annotations

import typer
from matte_core.contracts.catalog import Catalog, ModelView, VersionView
from rich.table import Table

from matte_cli.client import Api
from matte_cli.console import Json, Url, print_json, screen, with_api
from matte_cli.registry import commands

app = typer.Typer(help="What a server has; or push, pull, list, verify and compare versions where they lie.")
app.add_typer(commands.app)


async def _catalog(api: Api) -> Catalog:
    return Catalog.model_validate_json((await api.get("/models")).content)


@app.callback(invoke_without_command=True)
def command(context: typer.Context, *, url: Url = None, as_json: Json = False) -> None:
    """List a server's models and versions: their share of the traffic, whether they are ready, how fast they are."""
    if context.invoked_subcommand is not None:
        return
    catalog = with_api(url, _catalog)
    if as_json:
        print_json(catalog.model_dump(mode="json"))
        return
    out, grid = screen(), table(catalog)
    if out.measure(grid).maximum <= out.width:
        out.print(grid)
        return
    for model in catalog.models:
        for version in model.versions:
            out.print(in_a_line(model, version))


def table(catalog: Catalog) -> Table:
    grid = Table(box=None, pad_edge=False, header_style="bold")
    for title in ("model", "version", "weight", "ready", "replicas", "1 MP", "device", "license"):
        grid.add_column(title, justify="right" if title in {"weight", "replicas", "1 MP"} else "left")
    for model in catalog.models:
        for version in model.versions:
            grid.add_row(*row(model, version))
    return grid


def in_a_line(model: ModelView, version: VersionView) -> str:
    name, number, weight, ready, replicas, measured, *rest = row(model, version)
    known = (f"{measured} s/MP", *rest)
    more = ", ".join(word for word in known if not word.startswith("–"))
    return f"{name} {number}: weight {weight}, ready {ready}, replicas {replicas}" + (f", {more}" if more else "")


def row(model: ModelView, version: VersionView) -> tuple[str, ...]:
    measured = (version.seconds_per_picture, version.seconds_per_megapixel)
    return (
        model.name + (" (default)" if model.default else ""),
        version.version,
        f"{version.weight} %",
        "[green]yes[/]" if version.ready else "[red]no[/]",
        str(version.replicas),
        "–" if None in measured else f"{sum(filter(None, measured)):.2f} s",
        version.device or "–",
        version.license or "–",
    )
