"""``matte models``: what a server has; and below it, the versions where they lie."""

from __future__ import annotations

import typer
from matte_core.contracts.catalog import Catalog, ModelView, VersionView
from rich.table import Table

from matte_cli.client import Api
from matte_cli.registry import commands
from matte_cli.talk import Json, Url, print_json, screen, with_api

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
    screen().print(table(catalog))


def table(catalog: Catalog) -> Table:
    """One row per version."""
    grid = Table(box=None, pad_edge=False, header_style="bold")
    for title in ("model", "version", "weight", "ready", "replicas", "1 MP", "device", "licence"):
        grid.add_column(title, justify="right" if title in {"weight", "replicas", "1 MP"} else "left")
    for model in catalog.models:
        for version in model.versions:
            grid.add_row(*row(model, version))
    return grid


def row(model: ModelView, version: VersionView) -> tuple[str, ...]:
    """The cells of a version; – is what is not known yet."""
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
