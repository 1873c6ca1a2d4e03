"""``make bench``: every figure, side by side in one run, to the terminal and to bench/results.md."""

from __future__ import annotations

import asyncio
import os
import platform
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

from stack import Stack, running

from bench import gpu, report
from bench.measure import Cost, both_cores, deep_queue, idle, memory, one_at_a_time, parts, peer

HERE = Path(__file__).parent
CONFIG = """
default_model: unet
versions:
- {{model: unet, version: 2.0.0, family: unet, source: {source}, weight: 100, replicas: 2, slots: 2, threads: 1}}
"""


def say(text: str) -> None:
    """Progress, to the terminal only."""
    sys.stderr.write(f"{time.strftime('%H:%M:%S')} {text}\n")


def cores() -> report.Cores:
    """The bare loop, FastAPI and Matte on this machine's CPU."""
    from bench.job import unet  # noqa: PLC0415 - imports torch

    config = CONFIG.format(source=unet().source)
    with tempfile.TemporaryDirectory() as folder, running(Path(folder), config=config) as stack:
        url, process = peer()
        try:
            return _cores(stack, url, process.pid)
        finally:
            process.terminate()
            process.wait()


def _cores(stack: Stack, peer_url: str, peer_pid: int) -> report.Cores:
    import psutil  # noqa: PLC0415

    names = {"FastAPI, no queue": (peer_url, "/predict"), "Matte": (stack.url, "/models/unet/predict")}
    processes = {"FastAPI, no queue": [psutil.Process(peer_pid)], "Matte": stack.processes()}
    say("one job at a time, in turns with the bare loop")
    wall, cpu, costs = one_at_a_time({name: (*where, processes[name]) for name, where in names.items()})
    say("eight at a time, in turns with two bare processes")
    bare, rates = both_cores(names)
    say("at rest")
    rest = {name: (idle(found, 12.0), memory(found)) for name, found in parts(stack).items()}
    ways = [_cost(name, costs[name], bare, *rates[name]) for name in names]
    return report.Cores(wall, cpu, bare, ways, rest)


def _cost(name: str, costs: tuple[float, float], bare: float, rate: float, cores: float) -> Cost:
    return Cost(name, *costs, cores / 2, rate / bare, rate)


def main() -> int:
    """Measures, prints and writes."""
    machine = f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}"
    say("admission into a queue of 100 000 jobs")
    deep = asyncio.run(deep_queue())
    say(f"{deep}")
    figures = cores()
    say("GPU" if gpu.available() else "no GPU here")
    text = report.render(machine, figures, deep, gpu.measure() if gpu.available() else None)
    (HERE / "results.md").write_text(text)
    sys.stdout.write(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
