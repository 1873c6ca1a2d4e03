"""Jobs made for tests."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from matte_core.contracts.job import BlobRef, JobSpec, Picture, Result
from matte_jobs.store import Admission, JobStore
from matte_jobs.views import CapacityLookup, unknown_capacity

MODEL = "portrait"
PICTURE = b"the bytes of a picture"


def make_spec(store: JobStore, job_id: str, *, megapixels: float = 1.0, now: float = 0.0, **fields: Any) -> JobSpec:
    fields = {"expires_at": now + 1000, **fields}
    return JobSpec(
        id=job_id,
        model=MODEL,
        image=store.blobs.ref(job_id, "image", len(PICTURE), "image/png"),
        picture=Picture(format="PNG", width=max(1, round(megapixels * 1000)), height=1000),
        created_at=now,
        **fields,
    )


async def admit(
    store: JobStore, job_id: str, *, now: float = 0.0, capacity: CapacityLookup = unknown_capacity, **fields: Any
) -> Admission:
    spec = make_spec(store, job_id, now=now, **fields)
    return await store.admit(spec, {spec.image.key: PICTURE}, now, capacity)


def result_ref(store: JobStore, job_id: str, content: bytes = b"cut") -> BlobRef:
    return store.blobs.ref(job_id, "result", len(content), "image/png")


async def finish(store: JobStore, job_id: str, *, now: float, version: str = "1.0.0", content: bytes = b"cut") -> bool:
    ref = result_ref(store, job_id, content)
    result = Result(model=MODEL, version=version, digest="sha256:0", width=1, height=1, files={"result": ref})
    return await store.finish(job_id, result, {ref.key: content}, now=now)


def picture(i: int) -> bytes:
    """Distinct pictures: a result that was swapped for another's would show."""
    rng = np.random.default_rng(i)
    array = cv2.resize(rng.integers(0, 256, (6, 6, 3), dtype=np.uint8), (480, 480), interpolation=cv2.INTER_CUBIC)
    cv2.circle(array, (240, 240), 80 + 2 * (i % 40), tuple(int(c) for c in rng.integers(0, 256, 3)), -1)
    return bytes(cv2.imencode(".jpg", array)[1].tobytes())
