"""``matte models push`` and ``pull``."""

from __future__ import annotations

from pathlib import Path

from matte_registry.demands import Demands
from matte_registry.registry import Registry

from matte_cli.registry.common import address, progress, signing_key, told
from matte_cli.talk import print_json, screen


def push(folder: Path, target: str, sign_key: Path | None, passphrase: str | None, *, as_json: bool) -> None:
    """Publishes a folder, and says source and digest."""
    with told(), progress("pushing") as on_progress:
        ready = Registry().push(folder, address(target), signing_key(sign_key, passphrase), on_progress)
    if as_json:
        print_json({"source": ready.source, "digest": ready.digest})
        return
    screen().print(f"source: {ready.source}\ndigest: {ready.digest}", markup=False)


def pull(source: str, folder: Path, demands: Demands) -> None:
    """Downloads a version into a folder."""
    with progress("pulling") as on_progress:
        ready = Registry().pull(address(source), folder, demands, on_progress)
    screen().print(f"source: {ready.source}\ndigest: {ready.digest}\nfolder: {ready.folder}", markup=False)
