"""Runs the drill: sends jobs, injects faults, waits for recovery, and checks the results."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import random
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any

import psutil
from matte_jobs.client import connect
from matte_jobs.embedded import EmbeddedRedis
from matte_jobs.keys import Keyspace
from matte_jobs.settings import StoreSettings

from bench.drill import submission
from bench.drill.client import RetryingClient
from bench.drill.pictures import VERSIONS, picture, pictures
from bench.drill.plan import Fault, Options, may_inject, random_faults, split_evenly, systematic_faults
from bench.drill.report import Row
from bench.drill.server import Server
from bench.drill.verdict import Job, Leftovers, Probe, Recovery, Verdict, is_stable, judge, measure_recovery

PROBE_SECONDS = 0.5
#: unanswered at a time
MAX_OPEN_PROBES = 40
#: jobs sent at the start of the random part, and jobs under api throughout it
QUEUE_DEPTH, CONCURRENT_JOBS = 120, 12
#: the second half of a fault's jobs is spread over this time
AFTER_SECONDS = 4.0
Log = Callable[[str], None]


@dataclass
class Drill:
    options: Options
    server: Server
    client: RetryingClient
    log: Log
    jobs: list[Job] = field(default_factory=list)
    probes: list[Probe] = field(default_factory=list)
    rows: list[Row] = field(default_factory=list)
    random_faults: Counter[str] = field(default_factory=Counter)
    random_began: float = 0.0
    references: dict[tuple[int, str], str] = field(default_factory=dict)
    process_counts: dict[str, int] = field(default_factory=dict)
    _pictures: list[bytes] = field(default_factory=pictures)
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)

    def __post_init__(self) -> None:
        self._draw = random.Random(self.options.seed)
        self._run = f"{self.options.seed}-{int(time.time())}"

    async def record_references(self) -> None:
        """Cuts every picture twice with every version, to know the right results; counts the processes."""
        for number, version in itertools.product(range(len(self._pictures)), VERSIONS):
            digests = set()
            for turn in range(2):
                job = Job(-1, "predict", number, version, time.monotonic(), f"reference-{turn}-{number}-{version}")
                await submission.send(self.client, job, self._pictures[number])
                digests.add(job.digest or job.failure)
            if len(digests) != 1:
                raise RuntimeError(f"picture {number}, version {version}: twice the same gave {digests}")
            self.references[number, version] = digests.pop()
        if len(set(self.references.values())) != len(self.references):
            raise RuntimeError("two pictures or versions have one result: a swapped one would not show")
        self.process_counts = {kind.name: len(self.server.find(kind)) for kind in self.options.kinds}

    def send(self) -> asyncio.Task[None]:
        number = len(self.jobs)
        api = submission.API_ROTATION[number % len(submission.API_ROTATION)]
        # Gradio's call names no version: the split decides
        version = "" if api == "gradio" else VERSIONS[number // len(submission.API_ROTATION) % 2]
        which = self._draw.randrange(len(self._pictures))
        job = Job(number, api, which, version, time.monotonic(), f"drill-{self._run}-{number}")
        self.jobs.append(job)
        return self._spawn(submission.send(self.client, job, self._pictures[which]))

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _probe(self) -> None:
        small = picture(99, 64)
        for number in itertools.count():
            waiting = sum(probe.answered is None for probe in self.probes[-2 * MAX_OPEN_PROBES :])
            if waiting < MAX_OPEN_PROBES:
                self.probes.append(probe := Probe(time.monotonic()))
                key = f"probe-{self._run}-{number}"
                self._spawn(submission.probe(self.client, probe, small, VERSIONS[number % 2], key))
            await asyncio.sleep(PROBE_SECONDS)

    @contextlib.asynccontextmanager
    async def probing(self) -> AsyncIterator[None]:
        """Sends a small picture every half second; cancels all tasks at the end."""
        task = asyncio.create_task(self._probe())
        try:
            yield
        finally:
            task.cancel()
            for left in list(self._tasks):
                left.cancel()
            await asyncio.gather(task, *self._tasks, return_exceptions=True)

    async def run_systematic_part(self) -> None:
        faults = [None, *systematic_faults(self.options.kinds, self.options.stop_seconds)]
        for fault, jobs in zip(faults, split_evenly(self.options.jobs, len(faults)), strict=True):
            await self._inject_and_wait(fault, jobs)

    async def _inject_and_wait(self, fault: Fault | None, jobs: int) -> None:
        before = [self.send() for _ in range(jobs // 2)]
        await self._all_accepted(self.jobs[-len(before) :] if before else [])
        open_jobs = sum(job.answered is None and not job.failure for job in self.jobs)
        since, at = self.server.log_size(), time.monotonic()
        injection = self._spawn(self._inject(fault) if fault else asyncio.sleep(0))
        for _ in range(jobs - jobs // 2):
            await asyncio.sleep(AFTER_SECONDS / max(1, jobs - jobs // 2))
            self.send()
        # until the process is back, the server stable and every job answered
        sent, back_at, recovered = len(self.jobs), None, False
        while not recovered and (now := time.monotonic()) - at < self.options.patience:
            if injection.done() and back_at is None:
                injection.result()
                back_at = now
            answered = all(job.answered or job.failure for job in self.jobs[:sent])
            recovered = back_at is not None and answered and is_stable(back_at, now, self.probes)
            if not recovered:
                await asyncio.sleep(0.2)
        found = Recovery(None, None, None)
        if recovered:
            found = measure_recovery(at, time.monotonic(), self.probes, self.jobs)
        said = [line.strip() for line in self.server.output_since(since).splitlines() if line.strip()]
        name, signal = (fault.kind.name, fault.signal) if fault else ("none", "–")
        self.rows.append(Row(name, signal, open_jobs, found, said))
        self.log(f"{name} {signal}: {open_jobs} jobs open; {found}; {' / '.join(said)}")
        if not recovered:
            self.log("not recovered: matte serve is restarted")
            for line in await self.server.shut_down():
                self.log(line)
            self.server.destroy()
            since = self.server.log_size()
            self.server.start()
            await self.server.wait_ready(since)

    async def _all_accepted(self, jobs: list[Job]) -> None:
        for _ in range(100):
            if all(job.accepted or job.answered or job.failure for job in jobs if job.api != "predict"):
                return
            await asyncio.sleep(0.05)

    async def _inject(self, fault: Fault) -> None:
        """Hits one process; returns once it runs again or was replaced."""
        found = self.server.find(fault.kind)
        if not found:
            self.log(f"there is no {fault.kind.name}")
            return
        victim = self._draw.choice(found)
        self.log(f"{fault.signal} to {fault.kind.name} {victim.pid}")
        with contextlib.suppress(psutil.NoSuchProcess):
            if fault.stop_seconds is not None:
                victim.suspend()
                self.server.stopped.append(victim)
                await asyncio.sleep(fault.stop_seconds)
                self.server.resume_process(victim)
                return
            victim.kill()
        if fault.kind.name == "serve":
            await self.server.restart()
        if fault.kind.restarted:
            while len(set(self.server.find(fault.kind)) - {victim}) < self.process_counts[fault.kind.name]:  # noqa: ASYNC110
                await asyncio.sleep(0.5)

    async def run_random_part(self) -> None:
        if not self.options.seconds:
            return
        for _ in range(QUEUE_DEPTH):
            self.send()
        await self._all_accepted(self.jobs[-QUEUE_DEPTH:])
        models = (await self.client.request("GET", "/models")).json()["models"]
        queued = sum(model["queue_length"] for model in models)
        self.log(f"at random, with {queued} jobs queued")
        if queued < QUEUE_DEPTH // 3:
            raise RuntimeError("the jobs end before a fault can hit them: the drill shows nothing on this machine")

        self.random_began = time.monotonic()
        end = self.random_began + self.options.seconds

        async def send_until_end() -> None:
            while time.monotonic() < end:
                await self.send()

        for _ in range(CONCURRENT_JOBS):
            self._spawn(send_until_end())
        heavy_at: float | None = None
        for gap, fault in random_faults(self._draw, self.options.kinds, self.options.stop_seconds):
            await asyncio.sleep(min(gap, max(0.0, end - time.monotonic())))
            if (now := time.monotonic()) >= end:
                break
            answered = max((probe.sent for probe in self.probes if probe.answered is not None), default=None)
            if may_inject(fault, now=now, heavy_at=heavy_at, answered=answered):
                heavy_at = now if fault.kind.heavy else heavy_at
                self.random_faults[f"{fault.kind.name} {fault.signal.partition(' ')[0]}"] += 1
                self._spawn(self._inject(fault))
        self.server.resume()

    async def wait_for_jobs(self) -> None:
        self.server.resume()
        deadline = time.monotonic() + self.options.patience
        for job in self.jobs:
            while not (job.answered or job.failure) and time.monotonic() < deadline:  # noqa: ASYNC110 - the deadline
                await asyncio.sleep(0.2)

    async def audit(self) -> Verdict:
        answered = (job for job in self.jobs if job.answered)
        turns = asyncio.Semaphore(8)

        async def once(job: Job) -> None:
            async with turns:
                await submission.audit(self.client, job, self._pictures[job.picture])

        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self.options.patience):
                await asyncio.gather(*(once(job) for job in answered))
        redis: Any = connect(EmbeddedRedis(self.server.data / "redis").url)
        keys = Keyspace(StoreSettings().redis_prefix)
        try:
            queues = [key async for key in redis.scan_iter(match=keys.subqueue("*", "*"))]
            left = Leftovers(sum([await redis.zcard(key) for key in queues]), int(await redis.zcard(keys.leases())))
        finally:
            await redis.aclose()
        left.processes = await self.server.shut_down()
        return judge(self.jobs, self.references, left, self.client.broken)

    @property
    def random_longest(self) -> float:
        """Longest wait of a probe in the random part, seconds."""
        waits = [(p.answered or time.monotonic()) - p.sent for p in self.probes if p.sent >= self.random_began > 0]
        return max(waits, default=0.0)
