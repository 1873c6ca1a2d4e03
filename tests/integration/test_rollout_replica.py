"""The replica's part of a rollout, against a real Redis and a real family: what it records, and at what cost."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import pytest
from jobs import MODEL
from matte_core.contracts.catalog import VersionConfig
from matte_core.contracts.job import JobSpec, JobState, Limits, Picture
from matte_core.errors import Problem
from matte_inference.families.base import Alpha, Prepared, Segmenter
from matte_inference.families.registry import load
from matte_inference.metrics import INFERENCE
from matte_inference.pixels.arrays import Pixels, UInt8Array
from matte_inference.replica.forwarder import Forwarder
from matte_inference.replica.golden import GoldenImages, built_in_images
from matte_inference.replica.service import ReplicaService
from matte_inference.router.route_plan import DispatchOptions
from matte_jobs.evidence import EvidenceStore
from matte_jobs.settings import StoreSettings
from matte_jobs.store import JobStore
from matte_telemetry.metrics import Instruments
from matte_telemetry.prometheus import PrometheusMeter
from opentelemetry.trace import NoOpTracer

pytestmark = [pytest.mark.integration, pytest.mark.timeout(60)]

CONFIG = VersionConfig(model=MODEL, version="2.0.0", family="grabcut")
OLD = CONFIG.model_copy(update={"version": "1.0.0"})
STABLE = "1.0.0"
METER = PrometheusMeter(INFERENCE)


@dataclass
class FaultySegmenter:
    """A real family whose answers are spoilt on purpose; ``forwards`` counts its forwards."""

    inner: Segmenter
    error: Exception | None = None
    blank: bool = False
    forwards: int = 0
    batch_limit: int | None = None

    remote = False
    device = "cpu"

    def __post_init__(self) -> None:
        self.digest = self.inner.digest

    def available(self) -> bool:
        return True

    def prepare(self, pixels: Pixels) -> Prepared:
        return self.inner.prepare(pixels)

    def forward(self, batch: Sequence[Prepared]) -> list[Alpha]:
        self.forwards += 1
        if self.error is not None:
            raise self.error
        return self.inner.forward(batch)

    def finish(self, pixels: Pixels, alpha: Alpha) -> UInt8Array:
        whole = self.inner.finish(pixels, alpha)
        return np.zeros_like(whole) if self.blank else whole


def replica(store: JobStore, segmenter: Segmenter, config: VersionConfig = CONFIG) -> ReplicaService:
    return ReplicaService(
        store,
        config,
        segmenter,
        Forwarder(segmenter, config, METER),
        clock=time.time,
        limits=Limits(),
        instruments=Instruments(METER, NoOpTracer()),
    )


def golden(store: JobStore, segmenter: Segmenter, config: VersionConfig = CONFIG) -> GoldenImages:
    return GoldenImages(
        EvidenceStore(store), config, segmenter, Forwarder(segmenter, config, METER),
        limits=Limits(), images=built_in_images(),
    )  # fmt: skip


async def leased_job(store: JobStore, job_id: str = "j") -> tuple[JobSpec, str]:
    """A job that was leased, and its token."""
    disc = cv2.circle(np.full((120, 120, 3), 40, np.uint8), (60, 60), 30, (220, 200, 180), -1)
    data = cv2.imencode(".png", disc)[1].tobytes()
    now = time.time()
    spec = JobSpec(
        id=job_id, model=MODEL, image=store.blobs.ref(job_id, "image", len(data), "image/png"),
        picture=Picture(format="PNG", width=120, height=120), created_at=now, expires_at=now + 60,
    )  # fmt: skip
    await store.admit(spec, {spec.image.key: data}, now)
    (lease,) = await store.lease(
        MODEL, holder="h", now=now, until=now + 60, n=1, unassigned=True, versions={"2.0.0": 1}
    )
    return spec, lease.token


async def state(store: JobStore, job_id: str = "j") -> JobState:
    return (await store.view(job_id, time.time())).state


@pytest.fixture
def segmenter() -> FaultySegmenter:
    return FaultySegmenter(load(CONFIG))


async def test_an_answer_is_written_only_where_somebody_asks(store: JobStore, segmenter: FaultySegmenter) -> None:
    service, evidence = replica(store, segmenter), EvidenceStore(store)
    await service.run(*await leased_job(store, "a"), DispatchOptions())
    await service.run(*await leased_job(store, "b"), DispatchOptions("1.0.0", sampled=True))
    segmenter.blank = True
    await service.run(*await leased_job(store, "c"), DispatchOptions(sampled=True))
    await service.close()
    assert [await state(store, job_id) for job_id in "abc"] == [JobState.SUCCEEDED] * 3
    answers = await evidence.answers(MODEL, "2.0.0", 0)
    assert sorted((answer.error, answer.bad_mask) for answer in answers) == [(False, False), (False, True)]
    assert all(0 < answer.seconds < 20 for answer in answers)
    assert {answer.bad_mask: answer.no_subject for answer in answers} == {False: False, True: True}
    results = [(await store.view(job_id, time.time())).result for job_id in "abc"]
    assert [result and result.foreground for result in results] == ["found", "found", "none"]
    of_results = sorted(result.uncertainty for result in results[1:] if result and result.uncertainty is not None)
    assert sorted(answer.uncertainty or 0.0 for answer in answers) == of_results


@pytest.mark.parametrize("error", [RuntimeError("boom"), MemoryError(), Problem("backend_failed", "nothing came")])
async def test_what_the_version_is_to_blame_for_falls_back(
    store: JobStore, segmenter: FaultySegmenter, error: Exception
) -> None:
    segmenter.error = error
    service = replica(store, segmenter)
    await service.run(*await leased_job(store), DispatchOptions("1.0.0", sampled=True))
    view = await store.view("j", time.time())
    assert (view.state, view.version, view.attempts) == (JobState.QUEUED, "1.0.0", 0)
    await service.run(*await leased_job(store, "k"), DispatchOptions(sampled=True))
    assert await state(store, "k") is JobState.FAILED
    await service.close()
    answers = await EvidenceStore(store).answers(MODEL, "2.0.0", 0)
    assert [answer.error for answer in answers] == [True, True]


async def test_a_pictures_fault_is_its_own(store: JobStore, segmenter: FaultySegmenter) -> None:
    service = replica(store, segmenter)
    spec, token = await leased_job(store)
    await store.redis.set(spec.image.key, b"no picture")
    await service.run(spec, token, DispatchOptions("1.0.0", sampled=True))
    await service.close()
    assert await state(store) is JobState.FAILED
    assert await EvidenceStore(store).answers(MODEL, "2.0.0", 0) == []


async def test_a_mirror_compares_and_leaves_the_job_alone(store: JobStore, segmenter: FaultySegmenter) -> None:
    evidence = EvidenceStore(store)
    stable, mirror = replica(store, segmenter, OLD), replica(store, FaultySegmenter(load(CONFIG), blank=True))
    same = replica(store, FaultySegmenter(load(CONFIG)))
    spec, token = await leased_job(store)
    await asyncio.gather(mirror.mirror(spec, STABLE), same.mirror(spec, STABLE))
    assert await state(store) is JobState.RUNNING
    await stable.run(spec, token, DispatchOptions(mirrored=True))
    for _ in range(500):
        if len(pairs := await evidence.pairs(MODEL, "2.0.0", 0)) == 2 and await evidence.comparisons(MODEL, "2.0.0"):
            break
        await asyncio.sleep(0.01)
    assert sorted(pair.agreement.iou for pair in pairs) == [0.0, 1.0]
    (shown,) = await evidence.comparisons(MODEL, "2.0.0")
    assert (shown.name, shown.stable, shown.agreement.iou) == ("j", STABLE, 0.0)
    await mirror.mirror(spec, STABLE)  # it has ended, the picture is gone
    for service in (stable, mirror, same):
        await service.close()
    assert len(await evidence.pairs(MODEL, "2.0.0", 0)) == 2


# golden images ----------------------------------------------------------------------------------------------------


async def test_golden_masks_are_kept_compared_and_not_made_twice(store: JobStore, segmenter: FaultySegmenter) -> None:
    evidence, names = EvidenceStore(store), set(built_in_images())
    first = golden(store, segmenter, OLD)
    await first.compute()
    await first.report("one", 1.0)
    assert segmenter.forwards == len(names)
    assert (await evidence.golden_masks(MODEL, "1.0.0")).keys() == names
    again = golden(store, segmenter, OLD)
    await again.compute()
    await again.report("two", 2.0)
    assert segmenter.forwards == len(names) + 1
    one, two = await evidence.start_reports(MODEL, "1.0.0")
    assert one.golden == two.golden
    assert (one.replica, one.digest) == ("one", segmenter.digest)

    blank = golden(store, FaultySegmenter(load(CONFIG), blank=True))
    await blank.compute()
    await blank.report("new", 3.0)
    (new,) = await evidence.start_reports(MODEL, "2.0.0")
    assert {result.bad_mask for result in new.golden} == {"empty mask"}
    assert all(result.agreements["1.0.0"].iou == 0 for result in new.golden)
    assert {shown.name for shown in await evidence.comparisons(MODEL, "2.0.0")} == names
    await evidence.delete_version("p", MODEL, "2.0.0")
    assert (await evidence.golden_versions(MODEL)).keys() == {"1.0.0"}


async def test_a_golden_image_that_fails_is_told(store: JobStore, segmenter: FaultySegmenter) -> None:
    segmenter.error = RuntimeError("boom")
    broken = golden(store, segmenter)
    await broken.compute()
    await broken.report("one", 1.0)
    (report,) = await EvidenceStore(store).start_reports(MODEL, "2.0.0")
    assert all("RuntimeError" in result.error for result in report.golden)
    assert await EvidenceStore(store).golden_masks(MODEL, "2.0.0") == {}


async def test_a_replica_starts_without_a_store(segmenter: FaultySegmenter) -> None:
    nowhere = JobStore.open(StoreSettings(redis_url="redis://127.0.0.1:1/0"))
    begun = time.monotonic()
    await golden(nowhere, segmenter).compute()
    assert time.monotonic() - begun < 20
    assert segmenter.forwards == len(built_in_images())
    await nowhere.close()
