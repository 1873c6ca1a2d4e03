"""``make bench``: every figure, side by side in one run, to the terminal and to bench/results.md."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import platform
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
from stack import Stack, running

from bench import gpu, report
from bench.job import SIDE, photo, segmenter, timed, unet
from bench.measure import JOBS_PER_ROUND, Cost, Ways, both_cores, deep_queue, idle, memory, one_at_a_time, parts, peer

HERE = Path(__file__).parent
#: of what the network sees in longer jobs, pixels
LONG_SIDES = (384, 512)
CONFIG = """
default_model: unet
versions:
- {{model: unet, version: 2.0.0, family: unet, source: {source}, weight: 100, replicas: 2, slots: 2, threads: 1}}
"""


def say(text: str) -> None:
    """Progress, to the terminal only."""
    sys.stderr.write(f"{time.strftime('%H:%M:%S')} {text}\n")


@contextlib.contextmanager
def serving(side: int) -> Iterator[tuple[Stack, Ways, str]]:
    """The U-Net at ``side``² by every way: a Matte, where each is asked and what serves it, and the model's source."""
    with tempfile.TemporaryDirectory() as folder:
        source = str(unet(Path(folder), side).source)
        with running(Path(folder), config=CONFIG.format(source=source)) as stack:
            url, process = peer(source)
            fastapi = (url, "/predict", [psutil.Process(process.pid)])
            try:
                ways: Ways = {
                    "FastAPI, no queue": fastapi,
                    "Matte": (stack.url, "/models/unet/predict", stack.processes()),
                }
                yield stack, ways, source
            finally:
                process.terminate()
                process.wait()


def cores() -> report.Cores:
    """The bare loop, FastAPI and Matte on this machine's CPU."""
    with serving(SIDE) as (stack, ways, source):
        say("one job at a time, in turns with the bare loop")
        wall, cpu, costs = one_at_a_time(ways, source)
        say("eight at a time, in turns with two bare processes")
        bare, rates = both_cores(ways, source)
        say("at rest")
        rest = {name: (idle(found, 12.0), memory(found)) for name, found in parts(stack).items()}
    return report.Cores(wall, cpu, bare, [_cost(name, costs[name], bare, *rates[name]) for name in ways], rest)


def longer(side: int) -> report.Longer:
    """Both cores again, with a job of several times the length."""
    with serving(side) as (_, ways, source):
        say(f"eight at a time, at {side}²")
        cpu = timed(segmenter(source), photo(), JOBS_PER_ROUND)[1]
        bare, rates = both_cores(ways, source)
    return report.Longer(side, cpu, {name: (used / 2, rate / bare) for name, (rate, used) in rates.items()})


def _cost(name: str, costs: tuple[float, float], bare: float, rate: float, cores: float) -> Cost:
    return Cost(name, *costs, cores / 2, rate / bare, rate)


def main() -> int:
    """Measures, prints and writes."""
    argparse.ArgumentParser(prog="python -m bench", description=__doc__).parse_args()
    machine = f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}"
    say("admission into a queue of 100 000 jobs")
    deep = asyncio.run(deep_queue())
    say(f"{deep}")
    figures, long = cores(), [longer(side) for side in LONG_SIDES]
    say("GPU" if gpu.available() else "no GPU here")
    text = report.render(machine, figures, long, deep, gpu.measure() if gpu.available() else None)
    (HERE / "results.md").write_text(text)
    sys.stdout.write(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
