"""``matte serve``: runs Redis, inference and frontends on this machine."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
import time
from dataclasses import dataclass
from hashlib import sha256
from importlib.util import find_spec
from pathlib import Path
from subprocess import Popen
from typing import Annotated

import httpx
import typer
from matte_core.domain.addresses import is_loopback
from matte_core.errors import Problem
from matte_jobs.embedded import EmbeddedRedis
from matte_jobs.settings import Durability, StoreSettings
from matte_jobs.store import JobStore
from matte_registry.settings import RegistrySettings
from rich.console import Console
from rich.markup import escape

from matte_cli.console import make_console, print_error
from matte_cli.downloads import follow_downloads, megabytes
from matte_cli.instance_lock import InstanceLock, InUseError, check_ports, end_leftovers
from matte_cli.npm import npm_registry
from matte_cli.readiness import Readiness, ask
from matte_cli.settings import CliSettings, child_environment
from matte_cli.supervisor import Child, Supervisor, launch

FRONTENDS, INFERENCE, STORE = 0, 1, 2  # the order of stopping
POLL_SECONDS = 0.25  # while starting only


@dataclass(frozen=True, slots=True)
class Plan:
    host: str
    ports: tuple[int, ...]
    data: Path
    redis_url: str | None
    config: Path | None
    stop_seconds: float
    durability: Durability = "second"
    pool: str = "default"

    @property
    def urls(self) -> tuple[str, ...]:
        """Addresses of the frontends for a browser on this machine."""
        host = "127.0.0.1" if self.host in {"0.0.0.0", "::"} else self.host  # noqa: S104 - compared, not bound
        return tuple(f"http://{f'[{host}]' if ':' in host else host}:{port}" for port in self.ports)

    @property
    def instance(self) -> str:
        """Id of what runs on this data folder, the same at every start."""
        return sha256(str(self.data.resolve()).encode()).hexdigest()[:8]


def npm_environment(config: Path | None) -> dict[str, str]:
    """The npm registry's address, if a model may come from there: for inference alone, and never shown."""
    if RegistrySettings().npm_registry is not None:  # inference reads it too
        return {}
    if config is not None and not any(scheme in config.read_text() for scheme in ("catalog://", "npm://")):
        return {}
    address = npm_registry()
    return {"MATTE_NPM_REGISTRY": address} if address else {}


async def start_all(plan: Plan, supervisor: Supervisor, console: Console) -> None:
    npm = asyncio.create_task(
        asyncio.to_thread(npm_environment, plan.config)
    )  # the client starts as long as Redis does
    if plan.redis_url is None:
        redis = EmbeddedRedis(plan.data / "redis", durability=plan.durability)

        def start_redis() -> Popen[bytes]:
            redis.start()
            assert redis.process is not None
            return redis.process

        await supervisor.add(Child("Redis", STORE, start_redis, redis.folder / "redis.log", plan.stop_seconds))
        store = redis.environment
        console.print(f"[green]✓[/] Redis, jobs are kept in {escape(str(plan.data))}/redis")
    else:
        store = {"MATTE_REDIS_URL": plan.redis_url}
        console.print("[green]✓[/] Redis from MATTE_REDIS_URL")

    async def add(name: str, stage: int, module: str, environment: dict[str, str]) -> None:
        log = plan.data / "logs" / f"{name}.log"
        if plan.config is not None:
            environment |= {"MATTE_CONFIG": str(plan.config.absolute())}

        def start() -> Popen[bytes]:
            if stage == INFERENCE:
                asyncio.run(end_previous_instance(plan, store))
            return launch([sys.executable, "-m", module], child_environment(store, environment), log)

        await supervisor.add(Child(name, stage, start, log, plan.stop_seconds))

    await add("inference", INFERENCE, "matte_inference", {"MATTE_INSTANCE": plan.instance, **await npm})
    for number, port in enumerate(plan.ports, 1):
        environment = {
            "MATTE_HOST": plan.host,
            "MATTE_PORT": str(port),
            # streams end before the supervisor runs out of patience
            "MATTE_SHUTDOWN_SECONDS": str(int(plan.stop_seconds * 0.8)),
        }
        if is_loopback(plan.host):
            environment["MATTE_ADMIN"] = "true"
        name = "frontend" if len(plan.ports) == 1 else f"frontend-{number}"
        await add(name, FRONTENDS, "matte_frontend", environment)


async def end_previous_instance(plan: Plan, store: dict[str, str]) -> None:
    """Requeues the jobs that an earlier inference of this folder held, without waiting for its leases to expire."""
    jobs = JobStore.open(StoreSettings(redis_url=store["MATTE_REDIS_URL"]))
    try:
        with contextlib.suppress(Problem):  # Redis is unreachable: leases then expire by themselves
            await jobs.end_instance(plan.instance, plan.pool, time.time())
    finally:
        await jobs.close()


async def wait_ready(url: str, console: Console, *, trust_env: bool = False) -> Readiness:
    last, said = "", set[str]()
    async with httpx.AsyncClient(base_url=url, timeout=5, trust_env=trust_env) as client:
        with console.status("starting") as status:
            while (found := await ask(client)).waiting_for:
                downloads = [megabytes(each.download) for each in found.awaited if each.moves]
                status.update(f"waiting for {found.waiting_for}" + (f" ({', '.join(downloads)})" if downloads else ""))
                if found.waiting_for != last:
                    last = found.waiting_for
                    if not console.is_terminal:
                        console.print(f"… waiting for {last}")
                for error in {f"{each.name}: {each.download.error}" for each in found.awaited if each.download.error}:
                    if error not in said:
                        said.add(error)
                        console.print(f"[yellow]![/] {escape(error)}")
                await asyncio.sleep(POLL_SECONDS)
    return found


async def run(plan: Plan, lock: InstanceLock, console: Console) -> int:
    """Runs until a signal or a permanent failure. Returns the exit code."""

    def say(text: str) -> None:
        console.print(f"[yellow]![/] {escape(text)}")

    def write_children() -> None:
        alive = {c.name: c.process.pid for c in supervisor.children if c.process is not None}
        lock.write(pid=os.getpid(), url=plan.urls[0], children=alive)

    supervisor = Supervisor(say, write_children)
    stopped = _handle_signals(supervisor, console)
    service = asyncio.create_task(_run_service(plan, supervisor, console))
    waiting = asyncio.create_task(stopped.wait())
    done, pending = await asyncio.wait({service, waiting}, return_when=asyncio.FIRST_COMPLETED)
    for task in pending:
        task.cancel()
    await asyncio.gather(*pending, return_exceptions=True)
    failed = service in done and service.exception()
    if failed:
        print_error(str(failed))
    with console.status("stopping: frontends, inference, Redis (Ctrl-C again: at once)"):
        await supervisor.stop()
    console.print("stopped; jobs that wait are kept and go on next time")
    return 1 if failed else 0


async def _run_service(plan: Plan, supervisor: Supervisor, console: Console) -> None:
    await start_all(plan, supervisor, console)
    watch = asyncio.create_task(supervisor.failure())
    ready = asyncio.create_task(wait_ready(plan.urls[0], console))
    later: list[asyncio.Task[None]] = []
    try:
        await asyncio.wait({watch, ready}, return_when=asyncio.FIRST_COMPLETED)
        if ready.done():
            console.print(welcome(plan.urls, ready.result().models))
            supervisor.ready = True
            later.append(asyncio.create_task(_report_changes(plan.urls[0], supervisor, console)))
        await watch
    finally:
        tasks = [watch, ready, *later]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _report_changes(url: str, supervisor: Supervisor, console: Console) -> None:
    """Prints how far downloads are, and after each restart of a part when the server is ready again."""
    following = asyncio.create_task(follow_downloads(url, console))
    try:
        while await supervisor.restarted.wait():
            supervisor.restarted.clear()
            began = time.monotonic()
            await asyncio.sleep(1.0)  # the part that died is no longer announced by then
            await wait_ready(url, console)
            console.print(f"[green]✓[/] ready again after {time.monotonic() - began:.0f} s")
            if following.done():
                following = asyncio.create_task(follow_downloads(url, console))
    finally:
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)  # its bars leave the terminal


def _handle_signals(supervisor: Supervisor, console: Console) -> asyncio.Event:
    """The first Ctrl-C or SIGTERM sets the event, the second kills everything; SIGHUP reloads inference."""
    stopped = asyncio.Event()

    def on_stop() -> None:
        if stopped.is_set():
            console.print("[yellow]![/] ending everything now")
            supervisor.kill()
        stopped.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, on_stop)

    def reload() -> None:
        for child in supervisor.children:
            if child.name == "inference":
                child.signal(signal.SIGHUP)
        console.print("reading the models' weights again; inference's log says what came of it")

    asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, reload)
    return stopped


def welcome(urls: tuple[str, ...], models: tuple[str, ...]) -> str:
    url = urls[0]
    more = "".join(f"\n  also  {other}" for other in urls[1:])
    return (
        f"\n[bold green]Matte is ready:[/] [bold]{url}[/]   ({', '.join(models)}){more}\n\n"
        f"  1. open {url} and drop a photo on the page\n"
        f"  2. matte cut photo.jpg -o cut.png\n"
        f"  3. curl --data-binary @photo.jpg -H 'Content-Type: image/jpeg' {url}/predict -o cut.png\n\n"
        f"Ctrl-C stops it."
    )


def command(
    host: Annotated[str | None, typer.Option(help="Address to listen on.", show_default="127.0.0.1")] = None,
    port: Annotated[
        int | None, typer.Option(min=1, max=65535, help="Port of the first frontend.", show_default="7860")
    ] = None,
    frontends: Annotated[int, typer.Option(min=1, max=32, help="Number of frontends; they use consecutive ports.")] = 1,
    data_dir: Annotated[Path | None, typer.Option(help="Folder for jobs and logs.", show_default=".matte")] = None,
    config: Annotated[
        Path | None, typer.Option(exists=True, dir_okay=False, help="File with the models to load, and their traffic.")
    ] = None,
) -> None:
    """Start Matte on this machine: Redis, inference and the frontend. Ctrl-C stops it."""
    if not (find_spec("matte_frontend") and find_spec("matte_inference")):
        print_error("matte serve needs Ray, Gradio and OpenCV: pip install 'matte-cli[serve]'")
        raise typer.Exit(1)
    settings, console = CliSettings(), make_console(stderr=True)
    first = port or settings.port
    plan = Plan(
        host=host or settings.host,
        ports=tuple(range(first, first + frontends)),
        data=(data_dir or settings.data_dir).absolute(),
        redis_url=settings.redis_url,
        config=config or settings.config,
        stop_seconds=settings.stop_seconds,
        durability=settings.durability,
        pool=settings.pool,
    )
    os.umask(0o077)  # pictures pass through every file that is made from here on
    try:
        lock = InstanceLock.acquire(plan.data)
        try:
            end_leftovers(lock.previous_children(), lambda text: console.print(f"[yellow]![/] {text}"))
            check_ports(plan.host, plan.ports)
            status = asyncio.run(run(plan, lock, console))
        finally:
            lock.release()
    except InUseError as error:
        print_error(str(error))
        raise typer.Exit(1) from None
    raise typer.Exit(status)
