"""Measurements, each in turns with the bare loop, so that noise of the machine affects both."""

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

from bench.client import PredictClient, generate_load
from bench.job import percentile, photo, segmenter, timed, worker

#: many and short, because the machine is shared: only the quietest third counts
ROUNDS = 24
JOBS_PER_ROUND = 8
LONG_ROUNDS = 9
SECONDS_PER_ROUND = 4.0
CONCURRENCY = 8
R = TypeVar("R")
#: by name: URL, path, processes
Servers = dict[str, tuple[str, str, Sequence[psutil.Process]]]


@dataclass(frozen=True, slots=True)
class Overhead:
    """Overhead of a server over the bare job, in seconds and CPU seconds per request.

    At a concurrency of eight: ``share`` is the job's own CPU time as a share of both cores; ``rate`` is the throughput
    relative to that of two bare processes.
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


def quiet_rounds(rounds: Sequence[R], took: Callable[[R], float]) -> list[R]:
    """The third of the rounds in which the bare job was fastest: the choice does not depend on the servers."""
    return sorted(rounds, key=took)[: max(1, len(rounds) // 3)]


def idle_cpu(processes: Sequence[psutil.Process], seconds: float = 12.0) -> float:
    """CPU seconds per second without requests."""
    before = cpu_seconds(processes)
    time.sleep(seconds)
    return (cpu_seconds(processes) - before) / seconds


def one_at_a_time(servers: Servers, source: str) -> tuple[float, float, dict[str, tuple[float, float]]]:
    """Bare p50 and CPU per job; and by server, the added p50 and the CPU outside the job per request."""
    model, picture = segmenter(source), photo()
    idle = {name: idle_cpu(processes) for name, (_, _, processes) in servers.items()}
    clients = {name: PredictClient(url, path, picture) for name, (url, path, _) in servers.items()}
    for client in clients.values():
        for _ in range(10):
            client()
    rounds: list[tuple[float, float, dict[str, tuple[float, float]]]] = []
    for _ in range(ROUNDS):
        walls, job_cpu = timed(model, picture, JOBS_PER_ROUND)
        base = statistics.median(walls)
        added: dict[str, tuple[float, float]] = {}
        for name, (_, _, processes) in servers.items():
            before, begun = cpu_seconds(processes), time.perf_counter()
            took = [clients[name]() for _ in range(JOBS_PER_ROUND)]
            rest = idle[name] * (time.perf_counter() - begun)
            used = (cpu_seconds(processes) - before - rest) / JOBS_PER_ROUND
            added[name] = statistics.median(took) - base, used - job_cpu
        rounds.append((base, job_cpu, added))
    quiet = quiet_rounds(rounds, lambda found: found[0])
    costs = {name: _medians([added[name] for _, _, added in quiet]) for name in servers}
    return *_medians([(base, cpu) for base, cpu, _ in quiet]), costs


def _medians(pairs: Sequence[tuple[float, float]]) -> tuple[float, float]:
    return statistics.median(first for first, _ in pairs), statistics.median(second for _, second in pairs)


def both_cores(servers: Servers, source: str) -> tuple[float, dict[str, tuple[float, float]]]:
    """Jobs per second of two bare processes on two cores; and by server, jobs per second and their CPU in cores."""
    context = mp.get_context("spawn")
    pairs = [context.Pipe() for _ in range(2)]
    workers = [context.Process(target=worker, args=(remote_end, source), daemon=True) for _, remote_end in pairs]
    for process in workers:
        process.start()
    pipes = [local_end for local_end, _ in pairs]
    for pipe in pipes:
        pipe.recv()
    picture = photo()
    rounds: list[tuple[float, dict[str, tuple[float, float]]]] = []
    for _ in range(LONG_ROUNDS):
        for pipe in pipes:
            pipe.send(SECONDS_PER_ROUND)
        bare = sum(pipe.recv() for pipe in pipes) / SECONDS_PER_ROUND
        rates: dict[str, tuple[float, float]] = {}
        for name, (url, path, _) in servers.items():
            make_client = partial(PredictClient, url, path, picture)
            done, cpu = generate_load(make_client, concurrency=CONCURRENCY, seconds=SECONDS_PER_ROUND)
            rates[name] = done / SECONDS_PER_ROUND, cpu / SECONDS_PER_ROUND
        rounds.append((bare, rates))
    for pipe in pipes:
        pipe.send(None)
    for process in workers:
        process.join(10)
    quiet = quiet_rounds(rounds, lambda found: -found[0])
    return statistics.median(bare for bare, _ in quiet), {
        name: _medians([rates[name] for _, rates in quiet]) for name in servers
    }


def start_fastapi(source: str) -> tuple[str, subprocess.Popen[bytes]]:
    port = free_port()
    process = subprocess.Popen([sys.executable, "-m", "bench.fastapi_server", str(port), source])
    url = f"http://127.0.0.1:{port}"
    for _ in range(600):
        try:
            httpx.get(url)
            return url, process
        except httpx.HTTPError:
            time.sleep(0.1)
    raise RuntimeError("the FastAPI server did not start")


def memory(processes: Sequence[psutil.Process]) -> float:
    """Bytes that would be free without these processes (PSS)."""
    total = 0.0
    for process in processes:
        with contextlib.suppress(psutil.Error):  # Ray ends workers that it does not need
            total += process.memory_full_info().pss
    return total


def components(stack: Stack) -> dict[str, list[psutil.Process]]:
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
    """Admission and exact position with ``n`` jobs of 50 tenants queued: p50, p99 and maximum, seconds."""
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
