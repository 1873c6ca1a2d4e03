"""Evidence of a rollout as routers and replicas write it: two families cut out real photographs."""

from __future__ import annotations

import functools

import numpy as np
from matte_core.contracts.catalog import VersionConfig
from matte_core.contracts.evidence import AnswerSample, GoldenResult, MaskComparison, MirroredPair, StartReport
from matte_inference.analysis.masks import agreement, compare_masks
from matte_inference.families.base import Segmenter
from matte_inference.families.registry import load
from matte_inference.pixels.arrays import Pixels, UInt8Array
from matte_jobs.evidence import EvidenceStore
from matte_jobs.settings import StoreSettings
from matte_jobs.store import JobStore
from skimage import data

STABLE, CANARY = "1.0.0", "2.0.0"
JOB = "5b0c1d5e6f7a4b8c9d0e1f2a3b4c5d6e"
BEGAN = 1767225600.0


def _mask(segmenter: Segmenter, rgb: UInt8Array) -> UInt8Array:
    pixels = Pixels(rgb)
    return segmenter.finish(pixels, segmenter.forward([segmenter.prepare(pixels)])[0])


@functools.cache
def differences() -> tuple[MaskComparison, ...]:
    """GrabCut is stable; a threshold of the brightness is what somebody wants to roll out."""
    stable = load(VersionConfig(model="grabcut", version=STABLE, family="grabcut"))
    found = []
    for number, (name, rgb) in enumerate((("cat", data.chelsea()), (JOB, data.astronaut()), ("cup", data.coffee()))):
        stable_mask = _mask(stable, rgb)
        canary_mask = np.where(rgb.mean(axis=2) > 120, 255, 0).astype(np.uint8)
        at = BEGAN + 300 + 7.5 * number
        found.append(
            compare_masks(name, STABLE, agreement(canary_mask, stable_mask), (rgb, stable_mask, canary_mask), at)
        )
    return tuple(found)


async def write(settings: StoreSettings, model: str) -> None:
    """Of a model's new version: starts, answers, pairs and pictures."""
    store = JobStore.open(settings)
    try:
        evidence = EvidenceStore(store)
        golden = tuple(
            GoldenResult(name=each.name, agreements={STABLE: each.agreement})
            for each in differences()
            if each.name != JOB
        )
        start = StartReport(replica="grabcut-2-0-0-7f3a", at=BEGAN, digest=f"sha256:{'9f' * 32}", golden=golden)
        await evidence.record_start(model, CANARY, start)
        for number in range(200):
            at = BEGAN + number
            answer = AnswerSample(
                at=at, seconds=0.08 + number / 4000, error=number % 50 == 7, bad_mask=number % 40 == 3,
                no_subject=number == 3, uncertainty=0.06 + number / 10_000,
            )  # fmt: skip
            await evidence.record_answer(model, CANARY, answer)
            await evidence.record_answer(
                model, STABLE, AnswerSample(at=at, seconds=0.05 + number / 8000, uncertainty=0.05)
            )
        for each in differences():
            await evidence.record_pair(model, CANARY, MirroredPair(at=each.at, job=JOB, agreement=each.agreement))
            await evidence.record_comparison(model, CANARY, each)
    finally:
        await store.close()
