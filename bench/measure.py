"""Each figure, beside the bare loop and in turns with it, so that a noisy machine is noisy for all."""

from __future__ import annotations

import asyncio
import contextlib
import multiprocessing as mp
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar

import httpx
import psutil
from matte_core.contracts.job import JobSpec, Picture
from matte_jobs.embedded import EmbeddedRedis
from matte_jobs.settings import StoreSettings
from matte_jobs.store import JobStore
from stack import Stack, free_port

from bench.client import Asker, hammer
from bench.job import percentile, photo, segmenter, timed, worker

#: many and short, for the machine is shared: figures are those of the third of them in which it was quietest
ROUNDS = 24
JOBS_PER_ROUND = 8
#: the same, at eight at a time
LONG_ROUNDS = 9
SECONDS_PER_ROUND = 4.0
CONCURRENCY = 8
R = TypeVar("R")
#: by name: the server, the path that is asked, the processes that serve it
Ways = dict[str, tuple[str, str, Sequence[psutil.Process]]]


@dataclass(frozen=True, slots=True)
class Cost:
    """What a way of serving costs over the bare job. Seconds, and CPU seconds per request.

    At eight at a time: ``share`` is the share of both cores that the job itself gets, by its own CPU time there;
    ``rate`` is what is done of the pictures that two bare processes do in the same time.
    """

    name: str
    added_p50: float
    added_cpu: float
    share: float
    rate: float
    throughput: float


def cpu_seconds(processes: Sequence[psutil.Process]) -> float:
    """CPU used so far, to the nanosecond: each process' own clock (clock_getcpuclockid(3) on Linux)."""
    total = 0.0
    for process in processes:
        with contextlib.suppress(OSError):
            total += time.clock_gettime((~process.pid << 3) | 2)
    return total


def quietest(rounds: Sequence[R], took: Callable[[R], float]) -> list[R]:
    """The third of the rounds in which the bare job took least: what it runs beside is chosen by it alone."""
    return sorted(rounds, key=took)[: max(1, len(rounds) // 3)]


def idle(processes: Sequence[psutil.Process], seconds: float = 12.0) -> float:
    """CPU seconds per second while nothing is asked."""
    before = cpu_seconds(processes)
    time.sleep(seconds)
    return (cpu_seconds(processes) - before) / seconds


def one_at_a_time(ways: Ways, source: str) -> tuple[float, float, dict[str, tuple[float, float]]]:
    """Bare p50 and CPU per job; and per way the added p50 and the CPU outside the job per request, in turns."""
    model, picture = segmenter(source), photo()
    resting = {name: idle(processes) for name, (_, _, processes) in ways.items()}
    askers = {name: Asker(url, path, picture) for name, (url, path, _) in ways.items()}
    for ask in askers.values():
        for _ in range(10):
            ask()
    rounds: list[tuple[float, float, dict[str, tuple[float, float]]]] = []
    for _ in range(ROUNDS):
        walls, job_cpu = timed(model, picture, JOBS_PER_ROUND)
        base = statistics.median(walls)
        over: dict[str, tuple[float, float]] = {}
        for name, (_, _, processes) in ways.items():
            before, begun = cpu_seconds(processes), time.perf_counter()
            took = [askers[name]() for _ in range(JOBS_PER_ROUND)]
            rest = resting[name] * (time.perf_counter() - begun)
            used = (cpu_seconds(processes) - before - rest) / JOBS_PER_ROUND
            over[name] = statistics.median(took) - base, used - job_cpu
        rounds.append((base, job_cpu, over))
    quiet = quietest(rounds, lambda found: found[0])
    costs = {name: _medians([over[name] for _, _, over in quiet]) for name in ways}
    return *_medians([(base, cpu) for base, cpu, _ in quiet]), costs


def _medians(pairs: Sequence[tuple[float, float]]) -> tuple[float, float]:
    return statistics.median(first for first, _ in pairs), statistics.median(second for _, second in pairs)


def both_cores(ways: Ways, source: str) -> tuple[float, dict[str, tuple[float, float]]]:
    """Jobs per second of two bare processes on two cores; and of each way at concurrency 8, in turns.

    With each way's rate comes the job's own CPU, in cores.
    """
    context = mp.get_context("spawn")
    pairs = [context.Pipe() for _ in range(2)]
    workers = [context.Process(target=worker, args=(theirs, source), daemon=True) for _, theirs in pairs]
    for process in workers:
        process.start()
    pipes = [ours for ours, _ in pairs]
    for pipe in pipes:
        pipe.recv()
    picture = photo()
    rounds: list[tuple[float, dict[str, tuple[float, float]]]] = []
    for _ in range(LONG_ROUNDS):
        for pipe in pipes:
            pipe.send(SECONDS_PER_ROUND)
        bare = sum(pipe.recv() for pipe in pipes) / SECONDS_PER_ROUND
        rates: dict[str, tuple[float, float]] = {}
        for name, (url, path, _) in ways.items():
            ask = partial(Asker, url, path, picture)
            done, cpu = hammer(ask, concurrency=CONCURRENCY, seconds=SECONDS_PER_ROUND)
            rates[name] = done / SECONDS_PER_ROUND, cpu / SECONDS_PER_ROUND
        rounds.append((bare, rates))
    for pipe in pipes:
        pipe.send(None)
    for process in workers:
        process.join(10)
    quiet = quietest(rounds, lambda found: -found[0])
    return statistics.median(bare for bare, _ in quiet), {
        name: _medians([rates[name] for _, rates in quiet]) for name in ways
    }


def peer(source: str) -> tuple[str, subprocess.Popen[bytes]]:
    """FastAPI with the same job, and its address."""
    port = free_port()
    process = subprocess.Popen([sys.executable, "-m", "bench.peer", str(port), source])
    url = f"http://127.0.0.1:{port}"
    for _ in range(600):
        try:
            httpx.get(url)
            return url, process
        except httpx.HTTPError:
            time.sleep(0.1)
    raise RuntimeError("the FastAPI peer did not start")


def memory(processes: Sequence[psutil.Process]) -> float:
    """Bytes that would be free without these processes (PSS)."""
    total = 0.0
    for process in processes:
        with contextlib.suppress(psutil.Error):  # Ray ends workers that it does not need
            total += process.memory_full_info().pss
    return total


def parts(stack: Stack) -> dict[str, list[psutil.Process]]:
    """The stack's processes by what they are."""
    assert stack.inference is not None
    assert stack.redis.process is not None
    replicas = stack.serve_processes("ModelVersion")
    router = stack.serve_processes("Router")
    everything = stack.processes()
    frontends = [psutil.Process(process.pid) for process in stack.frontends.values()]
    redis = [psutil.Process(stack.redis.process.pid)]
    named = {process.pid for process in (*replicas, *router, *frontends, *redis)}
    return {
        "one frontend": frontends[:1],
        "one replica": replicas[:1],
        "router": router,
        "Redis": redis,
        "Ray itself": [process for process in everything if process.pid not in named],
    }


async def deep_queue(n: int = 100_000, samples: int = 3000) -> tuple[float, float, float]:
    """Admit + position with ``n`` jobs queued, from 50 tenants: p50, p99 and the largest, in seconds."""
    with tempfile.TemporaryDirectory() as folder:
        redis = EmbeddedRedis(Path(folder))
        redis.start()
        store = JobStore.open(StoreSettings(redis_url=redis.url, max_queue_length=n + samples + 1))
        try:
            for begin in range(0, n, 200):
                await asyncio.gather(*(_admit(store, i) for i in range(begin, begin + 200)))
            walls = []
            for i in range(n, n + samples):
                begun = time.perf_counter()
                admitted = await _admit(store, i)
                walls.append(time.perf_counter() - begun)
                if admitted.queue_length != i + 1:
                    raise RuntimeError(f"queue length {admitted.queue_length} after {i + 1} jobs")
            return percentile(walls, 0.5), percentile(walls, 0.99), max(walls)
        finally:
            await store.close()
            redis.stop()


async def _admit(store: JobStore, i: int):  # type: ignore[no-untyped-def]
    image = store.blobs.ref(f"j{i}", "image", 1000, "image/jpeg")
    spec = JobSpec(
        id=f"j{i}", model="m", tenant=f"tenant{i % 50}", priority=3 + i % 3, image=image,
        picture=Picture(format="JPEG", width=1024, height=1024), created_at=0, expires_at=1e9,
    )  # fmt: skip
    return await store.admit(spec, {image.key: b"x" * 1000}, 1.0)
