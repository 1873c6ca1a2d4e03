"""A worker for the page's tests: leases jobs, segments with OpenCV's GrabCut, reports progress and stores results."""

from __future__ import annotations

import argparse
import asyncio
import base64
import time
import uuid

import cv2
import numpy as np
from matte_core.contracts.catalog import Arm, Replica, Route, RouteTable
from matte_core.contracts.job import Result, Timings
from matte_core.contracts.options import Options
from matte_inference.analysis.uncertainty import assess
from matte_jobs.catalog import CatalogStore
from matte_jobs.events import WakeupChannel
from matte_jobs.settings import StoreSettings
from matte_jobs.store import JobStore, Lease
from numpy.typing import NDArray

MODEL, VERSION, DIGEST = "grabcut", "1.0.0", "sha256:" + "0" * 64
HOUR = 3600.0
#: variance of the Laplacian below which a picture is out of focus, and so are the edges of its subject
BLURRED = 20.0


def alpha_of(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The subject's alpha, height × width, from GrabCut with a prior around the center, at 256 px: soft where the
    picture is out of focus, empty where it has one color.
    """
    height, width = picture.shape[:2]
    scale = 256 / max(height, width)
    small = cv2.resize(picture, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    rows, columns = small.shape[:2]
    box = (columns // 10, rows // 20, columns * 8 // 10, rows * 19 // 20 - rows // 20)
    mask = np.zeros((rows, columns), np.uint8)
    cv2.setRNGSeed(0)  # GrabCut starts from a random clustering
    cv2.grabCut(small, mask, box, np.zeros((1, 65)), np.zeros((1, 65)), 5, cv2.GC_INIT_WITH_RECT)
    subject = np.isin(mask, (cv2.GC_FGD, cv2.GC_PR_FGD)).astype(np.uint8) * 255
    if small.std() < 1:  # nothing to tell from anything
        subject[:] = 0
    elif cv2.Laplacian(cv2.cvtColor(small, cv2.COLOR_BGR2GRAY), cv2.CV_64F).var() < BLURRED:
        subject = np.asarray(cv2.GaussianBlur(subject, (0, 0), 24), np.uint8)
    return np.asarray(cv2.resize(subject, (width, height)), np.uint8)


def encoded(picture: NDArray[np.uint8], alpha: NDArray[np.uint8], options: Options) -> tuple[bytes, str, int, int]:
    """Result bytes, content type, width and height."""
    out = alpha if options.effective_output == "mask" else np.dstack([picture, alpha])
    if options.crop:
        rows, columns = np.nonzero(alpha > 127)
        out = out[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
    kind = "webp" if options.format == "webp" else "png"
    return cv2.imencode(f".{kind}", out)[1].tobytes(), f"image/{kind}", out.shape[1], out.shape[0]


async def serve(store: JobStore, pace: float) -> None:
    """Announces a replica and runs jobs one by one, forever; ``pace`` is the duration of a stage in seconds."""
    catalog, name = CatalogStore(store), f"worker-{uuid.uuid4().hex[:6]}"
    route = Route(model=MODEL, arms=(Arm(version=VERSION, weight=100),))
    await catalog.publish("default", RouteTable(default_model=MODEL, routes=(route,)), time.time())
    replica = Replica(
        id=name, model=MODEL, version=VERSION, family="grabcut", digest=DIGEST, license="Apache-2.0", slots=1,
        expires_at=time.time() + HOUR,
    )  # fmt: skip
    await catalog.announce_replica(replica, new=True)
    await catalog.announce_router("default", name, expires_at=time.time() + HOUR, now=time.time())
    wakeups = WakeupChannel(store)
    await wakeups.start()
    while True:
        now = time.time()
        leases = await store.lease(
            MODEL, holder=name, now=now, until=now + HOUR, n=1, unassigned=True, versions={VERSION: 1}
        )
        for lease in leases:
            await cut(store, lease, pace)
        if not leases:
            await wakeups.wait(1.0)


async def cut(store: JobStore, lease: Lease, pace: float) -> None:
    """Runs one job, from its input to its stored result."""
    spec, began = lease.spec, time.monotonic()
    if not await store.start(spec.id, lease.token, VERSION, time.time()):
        return
    data = await store.blobs.get(spec.image)
    assert data is not None
    picture = np.asarray(cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR), np.uint8)
    await store.emit_event(spec.id, lease.token, "progress", {"stage": "forward", "fraction": 0.4}, time.time())
    alpha = alpha_of(picture)
    await asyncio.sleep(pace)
    small = cv2.imencode(".png", cv2.resize(np.dstack([picture, alpha]), (32, 32)))[1].tobytes()
    preview = {"b64": base64.b64encode(small).decode(), "content_type": "image/png"}
    await store.emit_event(spec.id, lease.token, "preview", preview, time.time())
    await asyncio.sleep(pace)
    body, kind, width, height = encoded(picture, alpha, spec.options)
    ref = store.blobs.ref(spec.id, "result", len(body), kind)
    took, assessment = time.monotonic() - began, assess(alpha)
    result = Result(
        model=MODEL, version=VERSION, digest=DIGEST, width=width, height=height, files={"result": ref},
        foreground=assessment.foreground, uncertainty=assessment.uncertainty, timings=Timings(total=took),
    )  # fmt: skip
    await store.finish(spec.id, result, {ref.key: body}, now=time.time())


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--pace", type=float, default=0.3)
    asyncio.run(serve(JobStore.open(StoreSettings()), parser.parse_args().pace))


if __name__ == "__main__":
    main()
