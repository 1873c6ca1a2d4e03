"""``matte serve``: Redis, inference and frontends on this machine, started, watched and stopped in order."""

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
from rich.console import Console
from rich.markup import escape

from matte_cli.console import make_console, print_error
from matte_cli.instance_lock import InstanceLock, InUseError, check_ports, end_leftovers
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
        """Where a browser on this machine finds the frontends."""
        host = "127.0.0.1" if self.host in {"0.0.0.0", "::"} else self.host  # noqa: S104 - compared, not bound
        return tuple(f"http://{f'[{host}]' if ':' in host else host}:{port}" for port in self.ports)

    @property
    def instance(self) -> str:
        """Names what is run on this data folder, the same at every start."""
        return sha256(str(self.data.resolve()).encode()).hexdigest()[:8]

    def log(self, name: str) -> Path:
        return self.data / "logs" / f"{name}.log"


def redis_child(plan: Plan) -> tuple[Child, dict[str, str]]:
    """The embedded Redis as a child, and what the others are started with to use it."""
    server = EmbeddedRedis(plan.data / "redis", durability=plan.durability)

    def start() -> Popen[bytes]:
        server.start()
        assert server.process is not None
        return server.process

    return Child("Redis", STORE, start, server.folder / "redis.log", plan.stop_seconds), server.environment


def service_children(plan: Plan, store: dict[str, str]) -> list[Child]:
    common = {}
    if plan.config is not None:
        common["MATTE_CONFIG"] = str(plan.config.absolute())
    admin = {"MATTE_ADMIN": "true"} if is_loopback(plan.host) else {}
    drain = str(int(plan.stop_seconds * 0.8))  # streams end before the supervisor loses its patience
    parts = [("inference", INFERENCE, "matte_inference", {**common, "MATTE_INSTANCE": plan.instance})]
    for number, port in enumerate(plan.ports, 1):
        name = "frontend" if len(plan.ports) == 1 else f"frontend-{number}"
        listen = {"MATTE_HOST": plan.host, "MATTE_PORT": str(port), "MATTE_SHUTDOWN_SECONDS": drain}
        parts.append((name, FRONTENDS, "matte_frontend", {**common, **admin, **listen}))
    return [_child(plan, store, *part) for part in parts]


def _child(plan: Plan, store: dict[str, str], name: str, stage: int, module: str, extra: dict[str, str]) -> Child:
    log = plan.log(name)

    def start() -> Popen[bytes]:
        if stage == INFERENCE:
            asyncio.run(forget_dead(plan, store))
        return launch([sys.executable, "-m", module], child_environment(extra, store), log)

    return Child(name, stage, start, log, plan.stop_seconds)


async def forget_dead(plan: Plan, store: dict[str, str]) -> None:
    """No inference of this folder runs: what the last one held and announced is given back, not waited for."""
    jobs = JobStore.open(StoreSettings(redis_url=store["MATTE_REDIS_URL"]))
    try:
        with contextlib.suppress(Problem):  # Redis is away: then leases and announcements run out by themselves
            await jobs.end_instance(plan.instance, plan.pool, time.time())
    finally:
        await jobs.close()


async def start_all(plan: Plan, supervisor: Supervisor, console: Console) -> None:
    if plan.redis_url is None:
        redis, store = redis_child(plan)
        await supervisor.add(redis)
        console.print(f"[green]✓[/] Redis, jobs are kept in {escape(str(plan.data))}/redis")
    else:
        store = {"MATTE_REDIS_URL": plan.redis_url}
        console.print("[green]✓[/] Redis from MATTE_REDIS_URL")
    for child in service_children(plan, store):
        await supervisor.add(child)


async def wait_ready(url: str, console: Console, *, trust_env: bool = False) -> Readiness:
    said = ""
    async with httpx.AsyncClient(base_url=url, timeout=5, trust_env=trust_env) as client:
        with console.status("starting") as status:
            while (found := await ask(client)).waiting_for:
                if found.waiting_for != said:
                    said = found.waiting_for
                    status.update(f"waiting for {said}")
                    if not console.is_terminal:
                        console.print(f"… waiting for {said}")
                await asyncio.sleep(POLL_SECONDS)
    return found


async def run(plan: Plan, lock: InstanceLock, console: Console) -> int:
    """Runs until a signal or a lasting failure. Returns the exit code."""

    def say(text: str) -> None:
        console.print(f"[yellow]![/] {escape(text)}")

    def note() -> None:
        alive = {c.name: c.process.pid for c in supervisor.children if c.process is not None}
        lock.write(pid=os.getpid(), url=plan.urls[0], children=alive)

    supervisor = Supervisor(say, note)
    asked = _on_signals(supervisor, console)
    life = asyncio.create_task(_live(plan, supervisor, console))
    waiting = asyncio.create_task(asked.wait())
    done, pending = await asyncio.wait({life, waiting}, return_when=asyncio.FIRST_COMPLETED)
    for task in pending:
        task.cancel()
    await asyncio.gather(*pending, return_exceptions=True)
    failed = life in done and life.exception()
    if failed:
        print_error(str(failed))
    with console.status("stopping: frontends, inference, Redis (Ctrl-C again: at once)"):
        await supervisor.stop()
    console.print("stopped; jobs that wait are kept and go on next time")
    return 1 if failed else 0


async def _live(plan: Plan, supervisor: Supervisor, console: Console) -> None:
    await start_all(plan, supervisor, console)
    watch = asyncio.create_task(supervisor.failure())
    ready = asyncio.create_task(wait_ready(plan.urls[0], console))
    again: asyncio.Task[None] | None = None
    try:
        await asyncio.wait({watch, ready}, return_when=asyncio.FIRST_COMPLETED)
        if ready.done():
            console.print(welcome(plan.urls, ready.result().models))
            supervisor.ready = True
            again = asyncio.create_task(_tell_recoveries(plan.urls[0], supervisor, console))
        await watch
    finally:
        for task in (watch, ready, again):
            if task is not None:
                task.cancel()


async def _tell_recoveries(url: str, supervisor: Supervisor, console: Console) -> None:
    """After each restart of a part: when pictures are answered again."""
    while await supervisor.restarted.wait():
        supervisor.restarted.clear()
        began = time.monotonic()
        await asyncio.sleep(1.0)  # what is known of the part that died has been taken back by then
        await wait_ready(url, console)
        console.print(f"[green]✓[/] ready again after {time.monotonic() - began:.0f} s")


def _on_signals(supervisor: Supervisor, console: Console) -> asyncio.Event:
    """The first Ctrl-C or SIGTERM sets the event; the second ends everything."""
    asked = asyncio.Event()

    def hear() -> None:
        if asked.is_set():
            console.print("[yellow]![/] ending everything now")
            supervisor.kill()
        asked.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, hear)

    def reload() -> None:
        for child in supervisor.children:
            if child.name == "inference":
                child.signal(signal.SIGHUP)
        console.print("reading the models' weights again; inference's log says what came of it")

    asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, reload)
    return asked


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
    frontends: Annotated[
        int, typer.Option(min=1, max=32, help="How many frontends; they take the ports that follow.")
    ] = 1,
    data_dir: Annotated[Path | None, typer.Option(help="Where jobs and logs are kept.", show_default=".matte")] = None,
    config: Annotated[
        Path | None, typer.Option(exists=True, dir_okay=False, help="Which models to load, and their traffic.")
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
    try:
        raise typer.Exit(_serve(plan, console))
    except InUseError as error:
        print_error(str(error))
        raise typer.Exit(1) from None


def _serve(plan: Plan, console: Console) -> int:
    os.umask(0o077)  # pictures pass through every file that is made from here on
    lock = InstanceLock.acquire(plan.data)
    try:
        end_leftovers(lock.previous_children(), lambda text: console.print(f"[yellow]![/] {text}"))
        check_ports(plan.host, plan.ports)
        return asyncio.run(run(plan, lock, console))
    finally:
        lock.release()
