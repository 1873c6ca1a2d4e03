"""``make drill``: kills and stops processes of a Matte under load. The exit status is 1 if a job suffers."""

from __future__ import annotations

import argparse
import asyncio
import datetime
import os
import platform
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from stack import free_port

from bench.drill.client import RetryingClient
from bench.drill.plan import BY_NAME, KINDS, Options
from bench.drill.report import Figures, render
from bench.drill.run import Drill
from bench.drill.server import Server
from bench.drill.verdict import Verdict

REPORT = Path(__file__).parent.parent / "drill.md"
#: kinds of processes in the short drill: those that recover in seconds. The others take Ray with them
SHORT = ("frontend", "router", "replica", "redis")


def parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.drill", description=__doc__)
    parser.add_argument("--jobs", type=int, help="jobs of the systematic part (500; --short: 60)")
    parser.add_argument("--minutes", type=float, help="duration of the random part (5; --short: 0.4)")
    parser.add_argument("--kinds", help=f"processes to hit, of {','.join(BY_NAME)} (--short: {','.join(SHORT)})")
    parser.add_argument("--stop-seconds", type=float, help="duration of each stop (20; --short: 0, kills only)")
    parser.add_argument("--seed", type=int, default=1, help="seed of the random choices")
    parser.add_argument("--patience", type=float, default=180.0, help="maximum seconds to recover from a fault")
    parser.add_argument("--short", action="store_true", help="two minutes instead of half an hour, with short leases")
    parser.add_argument("--report", type=Path, help="file of the report (bench/drill.md; --short: only printed)")
    parsed = parser.parse_args(arguments)
    unknown = set((parsed.kinds or "").split(",")) - {*BY_NAME, ""}
    if unknown:
        parser.error(f"there is no kind {', '.join(sorted(unknown))}; there is {', '.join(BY_NAME)}")
    return parsed


def options(arguments: argparse.Namespace) -> Options:
    short = arguments.short
    names = arguments.kinds.split(",") if arguments.kinds else SHORT if short else BY_NAME
    return Options(
        jobs=arguments.jobs if arguments.jobs is not None else 60 if short else 500,
        seconds=60.0 * (arguments.minutes if arguments.minutes is not None else 0.4 if short else 5.0),
        kinds=tuple(kind for kind in KINDS if kind.name in names),
        seed=arguments.seed,
        stop_seconds=arguments.stop_seconds if arguments.stop_seconds is not None else 0.0 if short else 20.0,
        patience=arguments.patience,
        quick=short,
    )


def log(text: str) -> None:
    sys.stderr.write(f"{time.strftime('%H:%M:%S')} {text}\n")


async def run(drill_options: Options, folder: Path) -> tuple[Drill, Verdict]:
    server = Server(folder, free_port(), drill_options.quick)
    client = RetryingClient(server.urls)
    drill = Drill(drill_options, server, client, log)
    main = asyncio.current_task()
    assert main is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, main.cancel)
    try:
        log(f"starting matte serve in {folder}")
        server.start()
        await server.wait_ready()
        await drill.record_references()
        async with drill.probing():
            await drill.run_systematic_part()
            await drill.run_random_part()
            await drill.wait_for_jobs()
        log("reading all results again")
        return drill, await drill.audit()
    finally:
        await client.close()
        server.destroy()


def main() -> int:
    arguments = parse(sys.argv[1:])
    folder = Path(tempfile.mkdtemp(prefix="matte-drill-"))
    # before the drill, which takes half an hour
    command = ["git", "-C", str(REPORT.parent), "rev-parse", "--short", "HEAD"]
    commit = subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip() or "unknown"
    try:
        drill, verdict = asyncio.run(run(options(arguments), folder))
    except (KeyboardInterrupt, asyncio.CancelledError):
        log("interrupted; everything is stopped")
        shutil.rmtree(folder, ignore_errors=True)
        return 130
    except RuntimeError as error:
        log(f"the drill failed, the logs are in {folder}: {error}")
        return 2
    machine = f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}"
    today = datetime.datetime.now(tz=datetime.UTC).date().isoformat()
    figures = Figures(
        machine, today, commit, drill.options, drill.rows, drill.random_faults, drill.random_longest,
        len(drill.jobs), len(drill.probes), drill.client.retried, verdict,
    )  # fmt: skip
    text = render(figures).replace(str(folder), "DIR")
    sys.stdout.write(text)
    if report := arguments.report or (None if arguments.short else REPORT):
        report.write_text(text)
    if not verdict.ok:
        log(f"something went wrong; the logs are in {folder}")
        return 1
    shutil.rmtree(folder, ignore_errors=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
