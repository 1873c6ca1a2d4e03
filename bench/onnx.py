"""``python -m bench.onnx``: an ONNX network through Matte beside a bare loop on onnxruntime, in turns; bench/onnx.md.

The bare loop runs the same stages as a replica (decode, prepare, forward, finish, render) on the same threads, in one
process and without a queue. Both get the machine alone, in turns, so that noise affects both.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import NamedTuple

import cv2
import onnxruntime
import psutil
from matte_cli.npm import npm_registry
from matte_core.allocator import keep_freed_memory
from matte_core.contracts.catalog import VersionConfig
from matte_inference.families.base import Segmenter
from matte_inference.families.registry import load
from matte_inference.replica.stages import DecodedJob, decode_job, finish_and_render, warm_up
from matte_registry.registry import Registry
from matte_registry.settings import RegistrySettings
from pydantic import SecretStr
from stack import Stack, running

from bench.client import PredictClient, generate_load
from bench.job import LIMITS, OPTIONS, percentile, photo

HERE = Path(__file__).parent
SOURCE = "catalog://isnet@1.0.0"
CONCURRENCY = 2
GOAL = 0.97
CONFIG = """
default_model: isnet
versions:
- {{model: isnet, version: 1.0.0, family: onnx, source: "{source}", weight: 100, slots: {slots}, threads: {threads}}}
"""


class Round(NamedTuple):
    """Pictures per second."""

    bare: float
    matte: float


class Figures(NamedTuple):
    threads: int
    rounds: Sequence[Round]
    alone: float  # seconds of one picture in the bare loop, median
    latencies: Sequence[float]  # of Matte at the concurrency, seconds
    memory: Sequence[int]  # of the replica after each round, bytes

    @property
    def ratio(self) -> float:
        return statistics.median(each.matte / each.bare for each in self.rounds)


def local_folder(source: str) -> str:
    """The folder of a version on this machine; what has an address is downloaded into the cache."""
    if "://" not in source:
        return source
    npm = npm_registry()
    settings = RegistrySettings(npm_registry=SecretStr(npm)) if npm else RegistrySettings()
    return str(Registry(settings).ensure(source).folder)


def segmenter(source: str, threads: int) -> Segmenter:
    """Loaded and warmed up as in a replica."""
    keep_freed_memory()
    cv2.setNumThreads(1)
    loaded = load(
        VersionConfig(model="isnet", version="1.0.0", family="onnx", source=source, threads=threads, slots=CONCURRENCY)
    )
    warm_up(loaded)
    return loaded


def bare_rate(model: Segmenter, picture: bytes, seconds: float) -> float:
    """Pictures per second of a loop whose decoding and encoding overlap with the network, as in a replica."""
    with ThreadPoolExecutor(CONCURRENCY) as pool:

        def decode() -> DecodedJob:
            return decode_job(model, [picture], LIMITS)

        decoding, encoding = pool.submit(decode), None
        done, begun = 0, time.perf_counter()
        while time.perf_counter() < begun + seconds:
            job, decoding = decoding.result(), pool.submit(decode)
            alpha = model.forward([job.prepared])[0]
            if encoding is not None:
                encoding.result()
            encoding = pool.submit(finish_and_render, model, job, alpha, OPTIONS)
            done += 1
        if encoding is not None:
            encoding.result()
        took = time.perf_counter() - begun
    return done / took


def matte_rate(stack: Stack, picture: bytes, seconds: float, latencies: list[float]) -> float:
    """Pictures per second at the concurrency; adds the seconds of each request."""

    class Timed(PredictClient):
        def __call__(self) -> float:
            took = super().__call__()
            latencies.append(took)
            return took

    begun = time.perf_counter()
    before = len(latencies)
    generate_load(
        partial(Timed, stack.url, "/models/isnet/predict", picture), concurrency=CONCURRENCY, seconds=seconds, warm_up=0
    )
    return (len(latencies) - before) / (time.perf_counter() - begun)


def resident(stack: Stack) -> int:
    (replica,) = stack.serve_processes("ModelVersion")
    return int(psutil.Process(replica.pid).memory_info().rss)


def measure(source: str, *, threads: int, rounds: int, seconds: float) -> Figures:
    picture = photo()
    model = segmenter(source, threads)
    alone = statistics.median(_timed(model, picture) for _ in range(3))
    latencies: list[float] = []
    found, memory = [], []
    with tempfile.TemporaryDirectory() as folder:
        config = CONFIG.format(source=source, slots=CONCURRENCY, threads=threads)
        with running(Path(folder), config=config) as stack:
            matte_rate(stack, picture, 1.0, [])
            for number in range(rounds):
                bare = bare_rate(model, picture, seconds)
                found.append(Round(bare, matte_rate(stack, picture, seconds, latencies)))
                memory.append(resident(stack))
                sys.stderr.write(f"{time.strftime('%H:%M:%S')} round {number + 1}: {found[-1]}\n")
    return Figures(threads, found, alone, latencies, memory)


def _timed(model: Segmenter, picture: bytes) -> float:
    begun = time.perf_counter()
    job = decode_job(model, [picture], LIMITS)
    finish_and_render(model, job, model.forward([job.prepared])[0], OPTIONS)
    return time.perf_counter() - begun


def render(source: str, found: Figures) -> str:
    verdict = "met" if found.ratio >= GOAL else "missed"
    megabytes = [size / 1e6 for size in found.memory]
    lines = [
        f"""# IS-Net through Matte, beside a bare loop

`make bench-onnx` writes this, on {os.cpu_count()} cores, {platform.machine()}, onnxruntime \
{onnxruntime.__version__}. {source} on {found.threads} threads of the CPU; a 1024² JPEG in, a \
PNG out. The bare loop runs the stages of a replica in one process, without queue or HTTP, and decodes and encodes \
while the network runs. Both have the machine in turns.

One picture alone takes {found.alone:.2f} s in the bare loop. Matte at a concurrency of {CONCURRENCY}: p50 \
{percentile(found.latencies, 0.5):.2f} s, p95 {percentile(found.latencies, 0.95):.2f} s.

| round | bare, a minute | Matte, a minute | ratio | memory of the replica |
|---|---|---|---|---|""",
        *(
            f"| {at} | {each.bare * 60:.1f} | {each.matte * 60:.1f} | {each.matte / each.bare:.3f} | {size:.0f} MB |"
            for at, (each, size) in enumerate(zip(found.rounds, megabytes, strict=True), 1)
        ),
        f"| median | | | **{found.ratio:.3f}** (goal {GOAL}: {verdict}) | |",
    ]
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.onnx", description=__doc__)
    parser.add_argument("--source", default=SOURCE, help="folder or address of the version (default: %(default)s)")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=30.0, help="of each half of a round")
    parser.add_argument("--output", type=Path, default=HERE / "onnx.md", help="where the result is written")
    given = parser.parse_args()
    found = measure(local_folder(given.source), threads=given.threads, rounds=given.rounds, seconds=given.seconds)
    text = render(given.source, found)
    given.output.write_text(text)
    sys.stdout.write(text)


if __name__ == "__main__":
    main()
