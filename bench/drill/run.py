"""The drill itself: sends, strikes, waits, and looks at what is left."""

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

from bench.drill import ways
from bench.drill.client import PatientClient
from bench.drill.pictures import VERSIONS, picture, pictures
from bench.drill.plan import Fault, Kind, Options, at_random, in_turn, may_strike, shares
from bench.drill.report import Row
from bench.drill.target import Target
from bench.drill.verdict import Job, Left, Probe, Recovery, Verdict, judge, recovery, steady

PROBE_SECONDS = 0.5
#: of those that wait for an answer
MOST_PROBES = 40
#: jobs sent at once when the random part begins, and those under way all the time in it
DEEP, ABREAST = 120, 12
#: what the second half of a fault's jobs is spread over
AFTER_SECONDS = 4.0
Say = Callable[[str], None]


@dataclass
class Drill:
    """One drill on one server. Everything it learns is in its attributes."""

    options: Options
    target: Target
    client: PatientClient
    say: Say
    jobs: list[Job] = field(default_factory=list)
    probes: list[Probe] = field(default_factory=list)
    rows: list[Row] = field(default_factory=list)
    random_faults: Counter[str] = field(default_factory=Counter)
    random_began: float = 0.0
    references: dict[tuple[int, str], str] = field(default_factory=dict)
    whole: dict[str, int] = field(default_factory=dict)
    _pictures: list[bytes] = field(default_factory=pictures)
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)

    def __post_init__(self) -> None:
        self._draw = random.Random(self.options.seed)
        self._run = f"{self.options.seed}-{int(time.time())}"

    # what is sent ---------------------------------------------------------------------------------------------

    async def learn(self) -> None:
        """Cuts every picture with every version twice: there is one right result each. Counts the processes."""
        for number, version in itertools.product(range(len(self._pictures)), VERSIONS):
            digests = set()
            for turn in range(2):
                job = Job(-1, "predict", number, version, time.monotonic(), f"reference-{turn}-{number}-{version}")
                await ways.send(self.client, job, self._pictures[number])
                digests.add(job.digest or job.failure)
            if len(digests) != 1:
                raise RuntimeError(f"picture {number}, version {version}: twice the same gave {digests}")
            self.references[number, version] = digests.pop()
        if len(set(self.references.values())) != len(self.references):
            raise RuntimeError("two pictures or versions have one result: a swapped one would not show")
        self.whole = {kind.name: len(self.target.find(kind)) for kind in self.options.kinds}

    def send(self) -> asyncio.Task[None]:
        """The next job, under way."""
        number = len(self.jobs)
        way = ways.TURNS[number % len(ways.TURNS)]
        # Gradio's call names no version: the split decides
        version = "" if way == "gradio" else VERSIONS[number // len(ways.TURNS) % 2]
        which = self._draw.randrange(len(self._pictures))
        job = Job(number, way, which, version, time.monotonic(), f"drill-{self._run}-{number}")
        self.jobs.append(job)
        return self._spawn(ways.send(self.client, job, self._pictures[which]))

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _probe(self) -> None:
        small = picture(99, 64)
        for number in itertools.count():
            waiting = sum(probe.answered is None for probe in self.probes[-2 * MOST_PROBES :])
            if waiting < MOST_PROBES:
                self.probes.append(probe := Probe(time.monotonic()))
                key = f"probe-{self._run}-{number}"
                self._spawn(ways.probe(self.client, probe, small, VERSIONS[number % 2], key))
            await asyncio.sleep(PROBE_SECONDS)

    @contextlib.asynccontextmanager
    async def probing(self) -> AsyncIterator[None]:
        """A small picture every half second; at the end everything that was sent has had its time."""
        task = asyncio.create_task(self._probe())
        try:
            yield
        finally:
            task.cancel()
            for left in list(self._tasks):
                left.cancel()
            await asyncio.gather(task, *self._tasks, return_exceptions=True)

    # faults in turn -------------------------------------------------------------------------------------------

    async def in_turn(self) -> None:
        """Each fault, and the same load without one."""
        faults = [None, *in_turn(self.options.kinds, self.options.stop_seconds)]
        for fault, jobs in zip(faults, shares(self.options.jobs, len(faults)), strict=True):
            await self._strike_and_wait(fault, jobs)

    async def _strike_and_wait(self, fault: Fault | None, jobs: int) -> None:
        before = [self.send() for _ in range(jobs // 2)]
        await self._all_accepted(self.jobs[-len(before) :] if before else [])
        open_jobs = sum(job.answered is None and not job.failure for job in self.jobs)
        since, at = self.target.offset(), time.monotonic()
        back = self._spawn_strike(fault)
        for _ in range(jobs - jobs // 2):
            await asyncio.sleep(AFTER_SECONDS / max(1, jobs - jobs // 2))
            self.send()
        well = await self._recovered(at, back)
        found = recovery(at, time.monotonic(), self.probes, self.jobs) if well else Recovery(None, None, None)
        said = [line.strip() for line in self.target.said(since).splitlines() if line.strip()]
        name, signal = (fault.kind.name, fault.signal) if fault else ("none", "–")
        self.rows.append(Row(name, signal, open_jobs, found, said))
        self.say(f"{name} {signal}: {open_jobs} jobs open; {found}; {' / '.join(said)}")
        if not well:
            await self._begin_again()

    async def _all_accepted(self, jobs: list[Job]) -> None:
        for _ in range(100):
            if all(job.accepted or job.answered or job.failure for job in jobs if job.way != "predict"):
                return
            await asyncio.sleep(0.05)

    def _spawn_strike(self, fault: Fault | None) -> asyncio.Task[None]:
        return self._spawn(self._strike(fault) if fault else asyncio.sleep(0))

    async def _strike(self, fault: Fault) -> None:
        """Strikes one process; returns when it runs on, or another one is there in its place."""
        found = self.target.find(fault.kind)
        if not found:
            self.say(f"there is no {fault.kind.name}")
            return
        victim = self._draw.choice(found)
        self.say(f"{fault.signal} to {fault.kind.name} {victim.pid}")
        with contextlib.suppress(psutil.NoSuchProcess):
            if fault.stop_seconds is not None:
                self.target.stop_process(victim)
                await asyncio.sleep(fault.stop_seconds)
                self.target.resume_process(victim)
                return
            victim.kill()
        if fault.kind.name == "serve":
            await self.target.restart()
        if fault.kind.restarted:
            await self._replaced(fault.kind, victim)

    async def _replaced(self, kind: Kind, victim: psutil.Process) -> None:
        while True:
            if len([process for process in self.target.find(kind) if process != victim]) >= self.whole[kind.name]:
                return
            await asyncio.sleep(0.5)

    async def _recovered(self, at: float, back: asyncio.Task[None]) -> bool:
        """Waits until the process is back, the server is well and every job is answered; False if it takes too long."""
        sent, back_at = len(self.jobs), None
        while (now := time.monotonic()) - at < self.options.patience:
            if back.done() and back_at is None:
                back.result()
                back_at = now
            answered = all(job.answered or job.failure for job in self.jobs[:sent])
            if back_at is not None and answered and steady(back_at, now, self.probes):
                return True
            await asyncio.sleep(0.2)
        return False

    async def _begin_again(self) -> None:
        """A server that does not come back is started anew, so that the other faults are seen too."""
        self.say("not recovered: matte serve is ended and started again")
        for line in await self.target.shut_down():
            self.say(line)
        self.target.destroy()
        since = self.target.offset()
        self.target.start()
        await self.target.wait_ready(since)

    # faults at random -----------------------------------------------------------------------------------------

    async def at_random(self) -> None:
        """Strikes what it draws, with a load that never ends."""
        if not self.options.seconds:
            return
        await self._fill()
        self.random_began = time.monotonic()
        end = self.random_began + self.options.seconds
        for _ in range(ABREAST):
            self._spawn(self._load(end))
        heavy_at: float | None = None
        for gap, fault in at_random(self._draw, self.options.kinds, self.options.stop_seconds):
            await asyncio.sleep(min(gap, max(0.0, end - time.monotonic())))
            if (now := time.monotonic()) >= end:
                break
            answered = max((probe.sent for probe in self.probes if probe.answered is not None), default=None)
            if may_strike(fault, now=now, heavy_at=heavy_at, answered=answered):
                heavy_at = now if fault.kind.heavy else heavy_at
                self.random_faults[f"{fault.kind.name} {fault.signal.partition(' ')[0]}"] += 1
                self._spawn(self._strike(fault))
        self.target.resume()

    async def _fill(self) -> None:
        """A long queue, so that much can get lost."""
        begun = [self.send() for _ in range(DEEP)]
        await self._all_accepted(self.jobs[-len(begun) :])
        models = (await self.client.ask("GET", "/models")).json()["models"]
        queued = sum(model["queue_length"] for model in models)
        self.say(f"at random, with {queued} jobs queued")
        if queued < DEEP // 3:
            raise RuntimeError("the jobs end before anything can die: the drill shows nothing on this machine")

    async def _load(self, end: float) -> None:
        while time.monotonic() < end:
            await self.send()

    # the end --------------------------------------------------------------------------------------------------

    async def settle(self) -> None:
        """Gives every open job its time."""
        self.target.resume()
        deadline = time.monotonic() + self.options.patience
        for job in self.jobs:
            while not (job.answered or job.failure) and time.monotonic() < deadline:  # noqa: ASYNC110 - the deadline
                await asyncio.sleep(0.2)

    async def audit(self) -> Verdict:
        """Reads everything once more, ends the server and judges."""
        answered = (job for job in self.jobs if job.answered)
        turns = asyncio.Semaphore(8)

        async def once(job: Job) -> None:
            async with turns:
                await ways.audit(self.client, job, self._pictures[job.picture])

        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self.options.patience):
                await asyncio.gather(*(once(job) for job in answered))
        left = await self._left()
        left.processes = await self.target.shut_down()
        return judge(self.jobs, self.references, left, self.client.broken)

    async def _left(self) -> Left:
        redis: Any = connect(EmbeddedRedis(self.target.data / "redis").url)
        try:
            queues = [key async for key in redis.scan_iter(match="matte:q:*")]
            queued = sum([await redis.zcard(key) for key in queues])
            return Left(queued, int(await redis.zcard("matte:leases")))
        finally:
            await redis.aclose()

    @property
    def random_longest(self) -> float:
        """Seconds that a probe of the random part waited at most."""
        waits = [(p.answered or time.monotonic()) - p.sent for p in self.probes if p.sent >= self.random_began > 0]
        return max(waits, default=0.0)
