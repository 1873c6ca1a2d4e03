"""Says in the terminal of ``matte serve`` how far the weights are that are being downloaded."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from dataclasses import dataclass

import httpx
from matte_core.contracts.catalog import Catalog, Download
from pydantic import ValidationError
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, DownloadColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

POLL_SECONDS = 0.5
#: while nothing moves
IDLE_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Awaited:
    """A version that is not ready: it is being downloaded or loaded, or that failed."""

    name: str
    download: Download
    #: who answers until it is ready; '' if it would not be the default model
    meanwhile: str = ""

    @property
    def moves(self) -> bool:
        return self.download.total > 0 and self.download.error is None

    @property
    def downloaded(self) -> bool:
        return 0 < self.download.total <= self.download.done

    def __str__(self) -> str:
        """What is said of it beside its bar."""
        doing = "loading" if self.downloaded else "downloading"
        return f"{doing} {self.name}" + (f"; {self.meanwhile} answers until then" if self.meanwhile else "")


def awaited(catalog: Catalog) -> list[Awaited]:
    return [
        Awaited(
            f"{model.name} {version.version}",
            version.download,
            (catalog.default_model or "") if model.name == catalog.pending_default_model and version.weight else "",
        )
        for model in catalog.models
        for version in model.versions
        if version.download is not None and not version.ready
    ]


def megabytes(download: Download) -> str:
    return f"{download.done / 1e6:.0f} of {download.total / 1e6:.0f} MB"


class Narrator:
    """Tells each step once; in a terminal with a bar per version."""

    def __init__(self, console: Console, bars: Progress) -> None:
        self._console = console
        self._bars = bars
        self._tasks: dict[str, TaskID] = {}
        self._said: dict[str, str] = {}
        self._pending_default: str | None = None

    def show(self, catalog: Catalog) -> bool:
        """Whether anything is to be told later: something is awaited, or the default model is to change."""
        found = awaited(catalog)
        for each in found:
            self._show_one(each)
        for name in self._said.keys() - {each.name for each in found}:
            del self._said[name]
            self._remove_bar(name)
            model, _, number = name.partition(" ")
            view = catalog.model(model)
            if view and any(version.version == number and version.ready for version in view.versions):
                self._console.print(f"[green]✓[/] {escape(name)} is ready")
        if self._pending_default and catalog.default_model == self._pending_default:
            self._console.print(f"[green]✓[/] {escape(self._pending_default)} answers from now on")
        self._pending_default = catalog.pending_default_model
        return bool(found or self._pending_default)

    def _show_one(self, each: Awaited) -> None:
        if each.download.error:
            self._remove_bar(each.name)
            self._say(each.name, each.download.error, f"[yellow]![/] {escape(f'{each.name}: {each.download.error}')}")
            return
        if not self._console.is_terminal:
            self._say(each.name, str(each), f"… {escape(str(each))}")
            return
        self._said[each.name] = str(each)
        if each.name not in self._tasks:
            self._tasks[each.name] = self._bars.add_task(str(each), total=None)
        total = each.download.total or None
        self._bars.update(self._tasks[each.name], description=str(each), completed=each.download.done, total=total)

    def _say(self, name: str, text: str, line: str) -> None:
        if self._said.get(name) != text:
            self._said[name] = text
            self._console.print(line)

    def _remove_bar(self, name: str) -> None:
        if name in self._tasks:
            self._bars.remove_task(self._tasks.pop(name))


@contextlib.contextmanager
def _narrator(console: Console) -> Iterator[Narrator]:
    columns = TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn()
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bars:
        yield Narrator(console, bars)


async def follow_downloads(url: str, console: Console) -> None:
    """Tells what is awaited until nothing is."""
    async with httpx.AsyncClient(base_url=url, timeout=5, trust_env=False) as client:
        with _narrator(console) as narrator:
            more, wait = True, 0.0
            while more:
                await asyncio.sleep(wait)
                wait = POLL_SECONDS
                with contextlib.suppress(httpx.HTTPError, ValidationError):  # it is being restarted
                    answer = await client.get("/models")
                    if answer.status_code == 200:
                        catalog = Catalog.model_validate_json(answer.content)
                        more = narrator.show(catalog)
                        found = awaited(catalog)
                        moves = not found or any(each.download.error is None for each in found)
                        wait = POLL_SECONDS if moves else IDLE_SECONDS
