"""What the commands of the registry share: policy, errors in words, progress."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import typer
from matte_registry.errors import RegistryError
from matte_registry.policy import VerificationPolicy
from matte_registry.progress import OnProgress, Progress
from matte_registry.signature import PrivateKey, private_key, public_key
from rich.progress import BarColumn, DownloadColumn, TextColumn, TimeRemainingColumn, TransferSpeedColumn
from rich.progress import Progress as Bar

from matte_cli.console import complain, screen


def address(text: str) -> str:
    """A source; what is no URL is a folder here."""
    return text if "://" in text else f"file://{Path(text).expanduser().absolute()}"


def policy(
    digest: str | None, keys: list[Path] | None, licenses: list[str] | None, license: str | None
) -> VerificationPolicy:
    """What the options ask of a version."""
    return VerificationPolicy(
        digest, tuple(public_key(path.read_bytes()) for path in keys or ()), frozenset(licenses or ()), license
    )


def signing_key(path: Path | None, passphrase: str | None) -> PrivateKey | None:
    """The private key that an option names."""
    if path is None:
        return None
    return private_key(path.read_bytes(), passphrase.encode() if passphrase else None)


@contextmanager
def told() -> Iterator[None]:
    """An error of the registry is printed, and ends the command with status 1."""
    try:
        yield
    except RegistryError as error:
        complain(f"{error.reason}: {error}")
        raise typer.Exit(1) from None


@contextmanager
def progress(what: str) -> Iterator[OnProgress]:
    """A bar on standard error, where a person watches it."""
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    console = screen(stderr=True)
    with Bar(*columns, TimeRemainingColumn(), console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task(what, total=None)

        def on_progress(now: Progress) -> None:
            bar.update(task, completed=now.done, total=now.total)

        yield on_progress


def size(count: int | None) -> str:
    """Bytes as people say them."""
    if count is None:
        return "–"
    return f"{count / 1e6:.1f} MB" if count >= 100_000 else f"{count} B"
