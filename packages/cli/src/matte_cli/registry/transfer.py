"""``matte models push`` and ``pull``."""

from __future__ import annotations

from pathlib import Path

from matte_registry.policy import VerificationPolicy
from matte_registry.registry import Registry

from matte_cli.console import print_json, screen
from matte_cli.registry.common import address, progress, signing_key, told


def push(folder: Path, target: str, sign_key: Path | None, passphrase: str | None, *, as_json: bool) -> None:
    """Publishes a folder, and says source and digest."""
    with told(), progress("pushing") as on_progress:
        ready = Registry().push(folder, address(target), signing_key(sign_key, passphrase), on_progress)
    if as_json:
        print_json({"source": ready.source, "digest": ready.digest})
        return
    screen().print(f"source: {ready.source}\ndigest: {ready.digest}", markup=False)


def pull(source: str, folder: Path, policy: VerificationPolicy) -> None:
    """Downloads a version into a folder."""
    with progress("pulling") as on_progress:
        ready = Registry().pull(address(source), folder, policy, on_progress)
    screen().print(f"source: {ready.source}\ndigest: {ready.digest}\nfolder: {ready.folder}", markup=False)
