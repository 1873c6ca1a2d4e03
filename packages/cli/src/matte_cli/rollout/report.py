"""Fetches a report from a frontend."""

from __future__ import annotations

import sys
from pathlib import Path
from urllib.parse import quote

import typer

from matte_cli.client import Api
from matte_cli.console import complain, screen, with_api
from matte_cli.outputs import STDIO


def fetch(model: str, version: str, url: str | None, out: Path) -> None:
    """Writes the page to a file that only its owner reads: it has people's pictures."""

    async def page(api: Api) -> bytes:
        return (await api.get(f"/v1/rollouts/{quote(model, safe='')}/{quote(version, safe='')}/report")).content

    content = with_api(url, page)
    if out == STDIO:
        sys.stdout.buffer.write(content)
        return
    try:
        out.touch(mode=0o600)
        out.write_bytes(content)
    except OSError as error:
        complain(f"{out}: {error.strerror}")
        raise typer.Exit(1) from None
    screen().print(f"[green]✓[/] {out}: it has pictures that people sent", markup=True)
