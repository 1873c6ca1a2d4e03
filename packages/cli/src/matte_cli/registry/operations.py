"""What ``matte models catalog``, ``push``, ``pull``, ``list``, ``verify`` and ``diff`` do."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

import typer
from matte_core.contracts.registry import Reason
from matte_registry.catalog import (
    CatalogModel,
    CatalogVersion,
    digest_of,
    find,
    is_known,
    known_models,
    place_of,
)
from matte_registry.diff import compare
from matte_registry.errors import RegistryError
from matte_registry.policy import VerificationPolicy
from matte_registry.progress import OnProgress
from matte_registry.registry import Ready, Registry
from matte_registry.settings import RegistrySettings
from matte_registry.signature import PrivateKey, private_key, public_key
from matte_registry.source_url import Scheme, parse_source
from pydantic import SecretStr
from rich.markup import escape
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn
from rich.table import Table

from matte_cli.console import make_console, print_error, print_json
from matte_cli.npm import npm_registry

_MAX_TENSORS_SHOWN = 40


@contextmanager
def exit_on_error() -> Iterator[None]:
    """Prints an error of the registry and exits with status 1."""
    try:
        yield
    except RegistryError as error:
        print_error(f"{error.reason}: {error}")
        raise typer.Exit(1) from None


@contextmanager
def _progress(what: str) -> Iterator[OnProgress]:
    """A bar on standard error, if that is a terminal."""
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    console = make_console(stderr=True)
    hidden = not console.is_terminal
    with Progress(*columns, TimeRemainingColumn(), console=console, transient=True, disable=hidden) as bar:
        task = bar.add_task(what, total=None)
        yield lambda now: bar.update(task, completed=now.done, total=now.total)


def _address(text: str) -> str:
    """A source. What is no URL is a folder on this machine, or else a name of the catalog."""
    if "://" in text:
        return text
    folder = Path(text).expanduser()
    return f"catalog://{text}" if is_known(text) and not folder.exists() else f"file://{folder.absolute()}"


def _registry(*addresses: str) -> Registry:
    """With the npm registry of the npm client, where a source needs one and the environment does not name it."""
    settings = RegistrySettings()
    needed = any(address.startswith(("catalog://", "npm://")) for address in addresses)
    if needed and settings.npm_registry is None and (found := npm_registry()):
        settings = settings.model_copy(update={"npm_registry": SecretStr(found)})
    return Registry(settings)


def _size(count: int | None) -> str:
    if count is None:
        return "–"
    return f"{count / 1e6:.1f} MB" if count >= 100_000 else f"{count} B"


def policy(
    digest: str | None, keys: list[Path] | None, licenses: list[str] | None, license: str | None
) -> VerificationPolicy:
    trusted = tuple(public_key(path.read_bytes()) for path in keys or ())
    return VerificationPolicy(digest, trusted, frozenset(licenses or ()), license)


def push(
    source: str,
    target: str,
    sign_key: Path | None,
    passphrase: str | None,
    policy: VerificationPolicy,
    *,
    as_json: bool,
) -> None:
    """Publishes a folder; a model of the catalog is fetched into the cache first."""
    key = private_key(sign_key.read_bytes(), passphrase.encode() if passphrase else None) if sign_key else None
    address = _address(source)
    registry = _registry(address)
    if address.startswith("catalog://"):
        with _progress("pulling") as on_progress:
            found = registry.ensure(address, policy, on_progress)
        try:
            ready = _push(registry, found.folder, target, key)
        finally:
            found.release()
    elif address.startswith("file://"):
        ready = _push(registry, Path(address.removeprefix("file://")), target, key)
    else:
        raise RegistryError(
            Reason.SOURCE_INVALID,
            f"{source} is neither a folder nor a model of the catalog: pull it into a folder first (matte models pull)",
        )
    if as_json:
        print_json({"source": ready.source, "digest": ready.digest})
    else:
        make_console().print(f"source: {ready.source}\ndigest: {ready.digest}", markup=False)


def _push(registry: Registry, folder: Path, target: str, key: PrivateKey | None) -> Ready:
    with _progress("pushing") as on_progress:
        return registry.push(folder, _address(target), key, on_progress)


def pull(source: str, folder: Path | None, policy: VerificationPolicy) -> None:
    address = _address(source)
    target = folder or _default_folder(address)
    with _progress("pulling") as on_progress:
        ready = _registry(address).pull(address, target, policy, on_progress)
    make_console().print(
        "\n".join(
            [f"source: {ready.source}", f"digest: {ready.digest}", f"folder: {ready.folder}", *_about(ready.source)]
        ),
        markup=False,
    )


def _default_folder(address: str) -> Path:
    if not address.startswith("catalog://"):
        raise RegistryError(
            Reason.SOURCE_INVALID, f"name the folder to download into: matte models pull {address} FOLDER"
        )
    model, version = find(parse_source(address))
    return Path(f"{model.name}-{version.version}")


def _about(source: str) -> list[str]:
    """Lines about a model of the catalog: what people must know before they use it."""
    if not source.startswith("catalog://"):
        return []
    model, version = find(parse_source(source))
    terms = model.license_of(version) + (", non-commercial use only" if model.non_commercial else "")
    return [f"license: {terms}", f"provenance: {version.provenance}", f"limitations: {model.limitations}"]


def catalog(*, as_json: bool) -> None:
    models = known_models().values()
    if as_json:
        print_json([_catalog_entry(model) for model in models])
        return
    grid = Table(box=None, pad_edge=False, header_style="bold")
    for title in ("model", "version", "size", "license", "from", "summary"):
        grid.add_column(title, justify="right" if title == "size" else "left", no_wrap=True)
    for model in models:
        for version in model.versions:
            number = version.version + ("*" if version.version == model.default else "")
            terms = model.license_of(version) + (" †" if model.non_commercial else "")
            grid.add_row(model.name, number, _size(version.size), terms, _hosts(version), escape(version.summary))
    console = make_console()
    console.width = max(console.width, console.measure(grid, options=console.options.update(width=1000)).maximum)
    console.print(grid)
    console.print(
        "* what the name alone means; † non-commercial use only: refused unless --allow-license names the license\n"
        "matte models pull NAME[@VERSION] downloads a model, matte models push NAME s3://… publishes it",
        markup=False,
    )


def _catalog_entry(model: CatalogModel) -> dict[str, object]:
    return model.model_dump(mode="json", exclude={"constants", "versions"}) | {
        "versions": [
            version.model_dump(mode="json", exclude={"constants", "license"})
            | {
                "license": model.license_of(version),
                "source": f"catalog://{model.name}@{version.version}",
                "digest": digest_of(model, version),
                "default": version.version == model.default,
            }
            for version in model.versions
        ]
    }


def _hosts(version: CatalogVersion) -> str:
    """Where a version comes from, in order, in a few words."""
    places = [place_of(place, version.sha256) for place in version.places]
    return ", ".join(dict.fromkeys("npm" if place.scheme is Scheme.NPM else place.host for place in places))


def list_versions(source: str, limit: int, *, as_json: bool) -> None:
    with exit_on_error():
        address = _address(source)
        versions = list(itertools.islice(_registry(address).versions(address), limit))
    if as_json:
        print_json([version.model_dump() for version in versions])
        return
    grid = Table(box=None, pad_edge=False, header_style="bold")
    for title in ("version", "size", "digest", "source"):
        grid.add_column(title, justify="right" if title == "size" else "left")
    for version in versions:
        grid.add_row(escape(version.label or "–"), _size(version.size), version.digest or "–", escape(version.source))
    make_console().print(grid if versions else "no versions there")


def verify(source: str, policy: VerificationPolicy, *, as_json: bool) -> None:
    """Prints what was checked, and what no option asked to check."""
    with _progress("reading") as on_progress:
        address = _address(source)
        found = _registry(address).verify(address, policy, on_progress)
    license = found.metadata.license if found.metadata else policy.license
    if as_json:
        print_json({"source": found.source, "digest": found.digest, "license": license, "signed": bool(policy.keys)})
        return
    lines = {
        "source": found.source,
        "digest": f"{found.digest} ({'as demanded' if policy.digest else 'none was demanded: --digest'})",
        "signature": "good" if policy.keys else "not checked (--key)",
        "license": f"{license or 'not stated'} ({'allowed' if policy.licenses else 'not checked: --allow-license'})",
    }
    for name, text in lines.items():
        make_console().print(f"[green]✓[/] {name}: {escape(text)}")


def diff(old: str, new: str, *, values: bool, as_json: bool) -> None:
    with exit_on_error():
        addresses = _address(old), _address(new)
        registry = _registry(*addresses)
        found = compare(*map(registry.remote, addresses), values=values)
    if as_json:
        print_json(asdict(found))
        return
    out = make_console()
    if not found.files:
        out.print("the same")
        return
    for file in found.files:
        out.print(f"{file.path}: {_size(file.old_size)} → {_size(file.new_size)}", markup=False)
    for change in found.tensors[:_MAX_TENSORS_SHOWN]:
        moved = "" if change.largest is None else f"  moved by {change.relative:.2%}, at most {change.largest:.3g}"
        shape = change.new if change.old == change.new else f"{change.old or 'absent'} → {change.new or 'absent'}"
        out.print(f"  {change.name}: {shape}{moved}", markup=False)
    if len(found.tensors) > _MAX_TENSORS_SHOWN:
        out.print(f"  … and {len(found.tensors) - _MAX_TENSORS_SHOWN} more tensors")
    if found.largest is not None:
        out.print(f"{len(found.tensors)} of {found.compared} tensors differ; {found.largest.name} moved most")
