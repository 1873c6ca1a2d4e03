"""``make bench``: the overhead of Matte over the bare model, to the terminal and to bench/results.md."""

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

from bench import gpu, measure, report
from bench.job import SIDE, photo, segmenter, timed, unet

HERE = Path(__file__).parent
#: sides of the network's input in the longer jobs, pixels
LONG_SIDES = (384, 512)
CONFIG = """
default_model: unet
versions:
- {{model: unet, version: 2.0.0, family: unet, source: {source}, weight: 100, replicas: 2, slots: 2, threads: 1}}
"""


def log(text: str) -> None:
    sys.stderr.write(f"{time.strftime('%H:%M:%S')} {text}\n")


@contextlib.contextmanager
def serving(side: int) -> Iterator[tuple[Stack, measure.Servers, str]]:
    """Starts FastAPI and Matte with the U-Net at ``side``²; yields Matte, both servers, and the model's source."""
    with tempfile.TemporaryDirectory() as folder:
        source = str(unet(Path(folder), side).source)
        with running(Path(folder), config=CONFIG.format(source=source)) as stack:
            url, process = measure.start_fastapi(source)
            try:
                servers: measure.Servers = {
                    "FastAPI, no queue": (url, "/predict", [psutil.Process(process.pid)]),
                    "Matte": (stack.url, "/models/unet/predict", stack.processes()),
                }
                yield stack, servers, source
            finally:
                process.terminate()
                process.wait()


def main() -> None:
    argparse.ArgumentParser(prog="python -m bench", description=__doc__).parse_args()
    machine = f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}"
    log("admission into a queue of 100 000 jobs")
    deep = asyncio.run(measure.deep_queue())
    log(f"{deep}")
    with serving(SIDE) as (stack, servers, source):
        log("one job at a time, in turns with the bare loop")
        wall, cpu, added = measure.one_at_a_time(servers, source)
        log("eight at a time, in turns with two bare processes")
        bare, rates = measure.both_cores(servers, source)
        log("idle")
        idle = {
            name: (measure.idle_cpu(found, 12.0), measure.memory(found))
            for name, found in measure.components(stack).items()
        }
    overheads = [
        measure.Overhead(name, *added[name], share=cores / 2, rate=rate / bare, throughput=rate)
        for name, (rate, cores) in rates.items()
    ]
    figures, longer = report.CpuFigures(wall, cpu, bare, overheads, idle), []
    for side in LONG_SIDES:
        with serving(side) as (_, servers, source):
            log(f"eight at a time, at {side}²")
            cpu = timed(segmenter(source), photo(), measure.JOBS_PER_ROUND)[1]
            bare, rates = measure.both_cores(servers, source)
        shares = {name: (cores / 2, rate / bare) for name, (rate, cores) in rates.items()}
        longer.append(report.LongerJob(side, cpu, shares))
    log("GPU" if gpu.available() else "no GPU here")
    text = report.render(machine, figures, longer, deep, gpu.measure() if gpu.available() else None)
    (HERE / "results.md").write_text(text)
    sys.stdout.write(text)


if __name__ == "__main__":
    main()
