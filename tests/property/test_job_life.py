"""The whole life of jobs against a real Redis, move by move beside a model in plain Python."""

from __future__ import annotations

import asyncio
import itertools
import uuid
from collections.abc import Coroutine
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import hypothesis.strategies as st
import pytest
from fair_queue import FairClock, sort_key
from hypothesis import HealthCheck, settings
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from jobs import MODEL, PICTURE, admit, finish, make_spec, result_ref
from matte_core.contracts.job import TERMINAL, Owner
from matte_core.contracts.job import JobState as S
from matte_core.errors import Problem
from matte_jobs.embedded import EmbeddedRedis
from matte_jobs.settings import StoreSettings
from matte_jobs.store import JobStore, Lease

pytestmark = pytest.mark.integration

T = TypeVar("T")
VERSIONS = ["1.0.0", "2.0.0"]
LEASE_SECONDS = 10
LOST = Problem("attempts_exhausted", "lost")
versions = st.sampled_from(VERSIONS)
picks = st.integers(0, 10**6)
#: from → to
TRANSITIONS: dict[S, set[S]] = {
    S.QUEUED: {S.RUNNING, S.CANCELED, S.EXPIRED},
    S.RUNNING: {S.QUEUED, S.SUCCEEDED, S.FAILED, S.DEAD, S.CANCELED},
    S.DEAD: {S.QUEUED},
}


@dataclass
class Job:
    tenant: str
    tag: int
    key: str
    priority: int
    pin: str
    expires: float
    state: S = S.QUEUED
    subqueue: str = ""
    attempts: int = 0
    fell: bool = False
    until: float = 0.0
    leases: list[Lease] = field(default_factory=list)

    def move(self, to: S) -> None:
        assert to in TRANSITIONS.get(self.state, set()), (self.state, to)
        self.state = to


class JobLife(RuleBasedStateMachine):
    url = ""
    blob_url = ""

    @initialize()
    def begin(self) -> None:
        self.runner = asyncio.Runner()
        self.store = JobStore.open(
            StoreSettings(
                redis_url=self.url, redis_prefix=f"p{uuid.uuid4().hex[:8]}:",
                blob_url=self.blob_url and f"{self.blob_url}/{uuid.uuid4().hex}",
                blob_inline_max_bytes=0 if self.blob_url else 1000,
            )
        )  # fmt: skip
        self.now, self.ids, self.seq = 1000.0, itertools.count(), itertools.count(1)
        self.jobs: dict[str, Job] = {}
        self.clock = FairClock()

    def do(self, work: Coroutine[Any, Any, T]) -> T:
        return self.runner.run(work)

    def queued(self) -> list[str]:
        return sorted((i for i, j in self.jobs.items() if j.state is S.QUEUED), key=lambda i: self.jobs[i].key)

    def ids_in(self, *states: S) -> list[str]:
        return [i for i, j in self.jobs.items() if j.state in states]

    def reset_idle_clock(self) -> None:
        if not self.queued():
            self.clock.reset()

    # moves ------------------------------------------------------------------------------------------------------

    @rule(
        tenant=st.sampled_from("abc"), priority=st.integers(3, 5), megapixels=st.sampled_from([0.05, 0.5, 1.0, 7.3]),
        share=st.sampled_from([0.5, 1.0, 3.0]), pin=st.sampled_from(["", "", *VERSIONS]),
        ttl=st.sampled_from([15, 1000]), attempts=st.integers(1, 3),
    )  # fmt: skip
    def admit(
        self, tenant: str, priority: int, megapixels: float, share: float, pin: str, ttl: float, attempts: int
    ) -> None:
        job_id = f"job{next(self.ids)}"
        fields: dict[str, Any] = {
            "tenant": tenant, "priority": priority, "share": share, "version": pin or None, "max_attempts": attempts,
        }  # fmt: skip
        cost = make_spec(self.store, job_id, megapixels=megapixels).cost
        tag = self.clock.admit(priority, tenant, cost, share)
        key = sort_key(priority, tag, next(self.seq), job_id)
        self.jobs[job_id] = Job(tenant, tag, key, priority, pin, self.now + ttl, subqueue=pin)
        admitted = self.do(
            admit(self.store, job_id, now=self.now, megapixels=megapixels, expires_at=self.now + ttl, **fields)
        )
        self.jobs[job_id].max_attempts = attempts  # type: ignore[attr-defined]
        line = self.queued()
        assert (admitted.position, admitted.queue_length, admitted.existing) == (line.index(job_id), len(line), False)

    @precondition(lambda self: self.jobs)
    @rule(pick=picks)
    def admit_again(self, pick: int) -> None:
        job_id = sorted(self.jobs)[pick % len(self.jobs)]
        assert self.do(admit(self.store, job_id, now=self.now, tenant=self.jobs[job_id].tenant)).existing

    @rule(
        n=st.integers(1, 4), unassigned=st.booleans(), free=st.dictionaries(versions, st.integers(1, 3), max_size=2),
        only_version=st.one_of(st.none(), versions),
    )  # fmt: skip
    def lease(self, n: int, unassigned: bool, free: dict[str, int], only_version: str | None) -> None:
        left = {**free, **({"": n} if unassigned and only_version is None else {})}
        expected: list[str] = []
        for job_id in self.queued():
            subqueue = self.jobs[job_id].subqueue
            slot = subqueue or (only_version or "") if unassigned else subqueue
            if left.get(slot, 0) > 0 and len(expected) < n:
                left[slot] -= 1
                expected.append(job_id)
                self.jobs[job_id].subqueue = slot
        until = self.now + LEASE_SECONDS
        taken = self.do(
            self.store.lease(
                MODEL,
                holder="r",
                now=self.now,
                until=until,
                n=n,
                unassigned=unassigned,
                versions=free,
                only_version=only_version,
            )
        )
        assert [lease.id for lease in taken] == expected
        for lease in taken:
            job = self.jobs[lease.id]
            job.move(S.RUNNING)
            job.attempts, job.until = job.attempts + 1, until
            job.leases.append(lease)
            self.clock.serve(job.priority, job.tag)
            self.reset_idle_clock()
            assert (lease.attempt, lease.version or "") == (job.attempts, job.subqueue)

    def some_lease(self, pick: int) -> tuple[str, Job, Lease, bool]:
        held = [(i, j, lease) for i, j in self.jobs.items() for lease in j.leases]
        job_id, job, lease = held[pick % len(held)]
        return job_id, job, lease, job.state is S.RUNNING and lease is job.leases[-1]

    def has_lease(self) -> bool:
        return any(job.leases for job in self.jobs.values())

    @precondition(has_lease)
    @rule(pick=picks, version=versions)
    def start(self, pick: int, version: str) -> None:
        job_id, job, lease, mine = self.some_lease(pick)
        version = job.subqueue or version
        assert self.do(self.store.start(job_id, lease.token, version, self.now)) == mine
        if mine:
            job.subqueue = version

    @precondition(has_lease)
    @rule(pick=picks, version=versions)
    def defer(self, pick: int, version: str) -> None:
        job_id, job, lease, mine = self.some_lease(pick)
        version = job.subqueue or version
        assert self.do(self.store.defer(job_id, lease.token, version, self.now)) == mine
        if mine:
            job.move(S.QUEUED)
            job.subqueue, job.attempts = version, job.attempts - 1

    @precondition(has_lease)
    @rule(pick=picks, version=versions)
    def fall_back(self, pick: int, version: str) -> None:
        job_id, job, lease, mine = self.some_lease(pick)
        version = job.pin or version
        may = mine and not job.fell
        assert self.do(self.store.fall_back(job_id, lease.token, version, LOST, self.now)) == may
        if may:
            job.move(S.QUEUED)
            job.subqueue, job.attempts, job.fell = version, job.attempts - 1, True

    @precondition(has_lease)
    @rule(pick=picks)
    def renew(self, pick: int) -> None:
        job_id, job, lease, mine = self.some_lease(pick)
        until = self.now + LEASE_SECONDS
        assert self.do(self.store.renew({job_id: lease.token}, now=self.now, until=until)) == (
            set() if mine else {job_id}
        )
        if mine:
            job.until = until

    @precondition(has_lease)
    @rule(pick=picks)
    def release(self, pick: int) -> None:
        job_id, job, lease, mine = self.some_lease(pick)
        expected = self.give_back(job) if mine else "lost"
        assert self.do(self.store.release(job_id, lease.token, LOST, self.now)) == expected

    def give_back(self, job: Job) -> str:
        job.move(S.DEAD if job.attempts >= job.max_attempts else S.QUEUED)  # type: ignore[attr-defined]
        return str(job.state)

    @precondition(has_lease)
    @rule(pick=picks)
    def finish(self, pick: int) -> None:
        job_id, job, _, _ = self.some_lease(pick)
        before = job.state
        stored = self.do(finish(self.store, job_id, now=self.now))
        assert stored == (before in (S.QUEUED, S.RUNNING))
        if stored:
            job.state = S.SUCCEEDED  # also of one that waits for its retry: the work is done
            if before is S.QUEUED:
                self.reset_idle_clock()

    @precondition(has_lease)
    @rule(pick=picks)
    def fail(self, pick: int) -> None:
        job_id, job, lease, mine = self.some_lease(pick)
        assert self.do(self.store.fail(job_id, lease.token, Problem("picture_corrupt", "x"), self.now)) == mine
        if mine:
            job.move(S.FAILED)

    @precondition(lambda self: self.jobs)
    @rule(pick=picks, asker=st.sampled_from("abc"))
    def cancel(self, pick: int, asker: str) -> None:
        job_id = sorted(self.jobs)[pick % len(self.jobs)]
        job = self.jobs[job_id]
        if asker != job.tenant:
            with pytest.raises(Problem, match="job_not_found"):
                self.do(self.store.cancel(job_id, self.now, owner=Owner(asker)))
            return
        before = job.state
        if before not in TERMINAL:
            job.move(S.CANCELED)
        assert self.do(self.store.cancel(job_id, self.now, owner=Owner(asker))) == (before not in TERMINAL)
        if before is S.QUEUED:
            self.reset_idle_clock()

    @precondition(lambda self: self.jobs)
    @rule(pick=picks, asker=st.sampled_from("abc"))
    def remove(self, pick: int, asker: str) -> None:
        """Nothing is left of a job that had ended; another, or somebody else's, stays as it is."""
        job_id = sorted(self.jobs)[pick % len(self.jobs)]
        job = self.jobs[job_id]
        self.do(self.store.remove(job_id, self.now, owner=Owner(asker)))
        if asker != job.tenant or job.state not in TERMINAL:
            return
        del self.jobs[job_id]
        result = result_ref(self.store, job_id)
        assert not self.kept(job_id)
        assert not self.do(self.store.blobs.get(result))
        assert not self.do(self.store.events(job_id))
        assert not self.do(finish(self.store, job_id, now=self.now))  # of a router that had lost it
        self.do(self.store.sweep(self.now))
        assert not self.do(self.store.blobs.get(result))
        with pytest.raises(Problem, match="job_not_found"):
            self.do(self.store.view(job_id, self.now))

    @rule(seconds=st.sampled_from([0.5, 4.0, 11.0]))
    def time_goes_by(self, seconds: float) -> None:
        self.now += seconds
        counts = {"queued": 0, "dead": 0, "expired": 0}
        for job_id in self.ids_in(S.RUNNING):
            if self.jobs[job_id].until <= self.now:
                counts[self.give_back(self.jobs[job_id])] += 1
        for job_id in self.ids_in(S.QUEUED):
            if self.jobs[job_id].expires <= self.now:
                self.jobs[job_id].move(S.EXPIRED)
                counts["expired"] += 1
                self.reset_idle_clock()
        swept = self.do(self.store.sweep(self.now))
        assert (swept.requeued, swept.dead, swept.expired) == (counts["queued"], counts["dead"], counts["expired"])
        assert {job_id for job_id in self.jobs if self.kept(job_id)} == set(self.needed())

    @precondition(lambda self: self.ids_in(S.DEAD))
    @rule(pick=picks)
    def requeue_dead(self, pick: int) -> None:
        dead = self.ids_in(S.DEAD)
        job_id = dead[pick % len(dead)]
        job = self.jobs[job_id]
        self.do(self.store.requeue_dead(job_id, now=self.now, expires_at=self.now + 1000))
        job.move(S.QUEUED)
        job.key = sort_key(job.priority, job.tag, next(self.seq), job_id)
        job.attempts, job.subqueue, job.expires, job.fell = 0, job.pin, self.now + 1000, False

    @rule(version=versions)
    def version_goes_away(self, version: str) -> None:
        waiting = [i for i in self.queued() if self.jobs[i].subqueue == version]
        moved = self.do(self.store.unassign(MODEL, version, Problem("version_not_found", "gone"), self.now))
        assert moved == len(waiting)
        for job_id in waiting:
            job = self.jobs[job_id]
            if job.pin:
                job.state = S.FAILED
                self.reset_idle_clock()
            job.subqueue = job.pin

    @rule(version=versions)
    def version_takes_none_now(self, version: str) -> None:
        waiting = [i for i in self.queued() if self.jobs[i].subqueue == version and not self.jobs[i].pin]
        assert self.do(self.store.unassign(MODEL, version, None, self.now)) == len(waiting)
        for job_id in waiting:
            self.jobs[job_id].subqueue = ""

    # what always holds ------------------------------------------------------------------------------------------

    @invariant()
    def every_job_is_where_the_model_says(self) -> None:
        if not hasattr(self, "jobs"):
            return
        line = self.queued()
        for job_id, job in self.jobs.items():
            view = self.do(self.store.view(job_id, self.now, owner=Owner(job.tenant)))
            position = line.index(job_id) if job.state is S.QUEUED else None
            assert (view.state, view.position, view.queue_length, view.attempts) == (
                job.state, position, len(line), job.attempts,
            )  # fmt: skip

    def kept(self, job_id: str) -> bool:
        data = self.do(self.store.blobs.get(make_spec(self.store, job_id).image))
        assert data in (None, PICTURE)
        return data is not None

    def needed(self) -> list[str]:
        return [i for i, j in self.jobs.items() if j.state not in TERMINAL - {S.DEAD}]

    @invariant()
    def inputs_live_as_long_as_they_are_needed(self) -> None:
        """In Redis not a moment longer; in the object store until the next sweep."""
        jobs = getattr(self, "jobs", {})
        kept = {job_id for job_id in jobs if self.kept(job_id)}
        needed = set(self.needed()) if jobs else set()
        assert kept >= needed if self.blob_url else kept == needed

    @invariant()
    def a_job_ends_with_one_last_event(self) -> None:
        for job_id, job in getattr(self, "jobs", {}).items():
            kinds = [event.type for event in self.do(self.store.events(job_id))]
            assert (kinds[-1] == "finished") == (job.state in TERMINAL)
            if job.state is S.SUCCEEDED:
                assert kinds.count("finished") == 1 + kinds.count("queued") - 1

    def teardown(self) -> None:
        if hasattr(self, "runner"):
            self.do(self.store.close())
            self.runner.close()


@pytest.mark.parametrize("blobs", ["redis", "files"])
def test_job_life(redis_server: EmbeddedRedis, tmp_path: Path, blobs: str) -> None:
    JobLife.url, JobLife.blob_url = redis_server.url, "" if blobs == "redis" else f"file://{tmp_path}"
    run_state_machine_as_test(
        JobLife,
        settings=settings(
            max_examples=40,
            stateful_step_count=30,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            derandomize=False,
        ),
    )
