"""A small worker of its own: leases from the store and answers with a cut-out that Pillow makes.

Models: ``cut`` (1.0.0 and 2.0.0), ``split`` (half and half, with rules), ``slow`` (takes a while, sends progress and
a preview), ``broken`` (always out of memory), ``asleep`` (has a route, nobody serves it).
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import io
import os
import random
import time
from dataclasses import dataclass

import numpy as np
from matte_core.contracts.catalog import Arm, Replica, Route, RouteTable, Rule
from matte_core.contracts.job import Result, Timings
from matte_core.domain.routing import choose_arm
from matte_core.errors import Problem
from matte_inference.analysis.masks import Coverage
from matte_inference.analysis.uncertainty import Assessment, assess
from matte_jobs.catalog import CatalogStore
from matte_jobs.events import WakeupChannel
from matte_jobs.settings import StoreSettings
from matte_jobs.store import JobStore, Lease
from PIL import Image, ImageFilter, ImageOps

ROUTES = {
    "cut": (("1.0.0", 0), ("2.0.0", 100)),
    "slow": (("1.0.0", 100),),
    "broken": (("1.0.0", 100),),
    "asleep": (("1.0.0", 100),),
    "split": (("1.0.0", 50), ("1.1.0", 50), ("2.0.0", 0)),
}
RULES = {
    "split": (
        Rule(version="9.0.0", header="X-Beta"),
        Rule(version="2.0.0", header="X-Beta", values=("yes",)),
        Rule(version="1.0.0", tenants=("staff",)),
        Rule(version="1.1.0", tenants=("anonymous",), header="X-Team"),
    )
}
TABLE = RouteTable(
    default_model="cut",
    routes=tuple(
        Route(model=model, arms=tuple(Arm(version=v, weight=w) for v, w in arms), rules=RULES.get(model, ()))
        for model, arms in ROUTES.items()
    ),
)
SERVED = ("cut", "slow", "broken", "split")


def cut_out(data: bytes) -> tuple[Image.Image, Image.Image]:
    """The picture with a soft ellipse kept, and the ellipse; a picture of one color has no subject."""
    picture = ImageOps.exif_transpose(Image.open(io.BytesIO(data))).convert("RGB")
    mask = Image.radial_gradient("L").resize(picture.size).point(lambda v: 255 if v < 128 else 0)
    mask = mask.filter(ImageFilter.GaussianBlur(4))
    if len(picture.resize((64, 64)).getcolors(64 * 64) or ()) == 1:
        mask.paste(0, (0, 0, *mask.size))
    cutout = picture.copy()
    cutout.putalpha(mask)
    return cutout, mask


def encoded(picture: Image.Image, kind: str) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, kind.upper())
    return buffer.getvalue()


@dataclass
class Worker:
    store: JobStore
    slow_seconds: float
    prepared: bytes | None

    async def announce(self) -> None:
        catalog = CatalogStore(self.store)
        await catalog.publish("default", TABLE, time.time())
        await catalog.announce_router(
            "default", f"router-{os.getpid()}", expires_at=time.time() + 3600, now=time.time()
        )
        for model in SERVED:
            for version, _ in ROUTES[model]:
                await catalog.announce_replica(
                    Replica(
                        id=f"{model}-{version}-{os.getpid()}", model=model, version=version, family="pillow",
                        digest="sha256:0", slots=2, expires_at=time.time() + 600,
                    ),
                    new=True,
                )  # fmt: skip

    async def run(self) -> None:
        await self.announce()
        wakeups = WakeupChannel(self.store)
        await wakeups.start()
        print("ready", flush=True)
        running: set[asyncio.Task[None]] = set()
        while True:
            leases = [lease for model in SERVED for lease in await self.take(model)]
            for lease in leases:
                task = asyncio.create_task(self.serve(lease))
                running.add(task)
                task.add_done_callback(running.discard)
            if not leases:
                await wakeups.wait(1.0)

    async def take(self, model: str) -> list[Lease]:
        versions = {version: 8 for version, _ in ROUTES[model]}
        now = time.time()
        return await self.store.lease(
            model, holder="test", now=now, until=now + 30, n=8, unassigned=True, versions=versions
        )

    async def serve(self, lease: Lease) -> None:
        spec, began = lease.spec, time.time()
        route = TABLE.route(spec.model)
        assert route is not None
        version = lease.version or choose_arm(route, spec.route_key, random.random()).version
        await self.store.start(lease.id, lease.token, version, began)
        if spec.model == "broken":
            problem = Problem("out_of_memory", "The test's model is always out of memory.")
            await self.store.fail(lease.id, lease.token, problem, time.time())
            return
        files, assessment = await self.make(lease)
        total = time.time() - began
        refs = {
            name: self.store.blobs.ref(lease.id, name, len(data), kind) for name, (data, kind) in files.items()
        }  # fmt: skip
        result = Result(
            model=spec.model, version=version, digest="sha256:0", width=spec.picture.width,
            height=spec.picture.height, foreground=assessment.foreground, uncertainty=assessment.uncertainty,
            files=refs, timings=Timings(forward=total, total=total),
        )  # fmt: skip
        data = {refs[name].key: content for name, (content, _) in files.items()}
        await self.store.finish(lease.id, result, data, now=time.time())

    async def make(self, lease: Lease) -> tuple[dict[str, tuple[bytes, str]], Assessment]:
        spec = lease.spec
        image = await self.store.blobs.get(spec.image)
        assert image is not None
        if self.prepared is not None:
            return {"result": (self.prepared, "image/png")}, Assessment(0.0, Coverage.OK)
        cutout, mask = cut_out(image)
        if spec.model == "slow":
            await self.run_slowly(lease, cutout)
        kind = "webp" if spec.options.format == "webp" else "png"
        wants = spec.options.effective_output
        first = mask if wants == "mask" else cutout
        files = {"result": (encoded(first, kind), f"image/{kind}")}
        if wants == "both":
            files["mask"] = (encoded(mask, kind), f"image/{kind}")
        return files, assess(np.asarray(mask))

    async def run_slowly(self, lease: Lease, cutout: Image.Image) -> None:
        steps = 4
        for step in range(steps):
            await asyncio.sleep(self.slow_seconds / steps)
            data = {"stage": "forward", "fraction": (step + 1) / (steps + 1)}
            await self.store.emit_event(lease.id, lease.token, "progress", data, time.time())
            if step == 1 and lease.spec.preview:
                small = ImageOps.contain(cutout, (64, 64))
                preview = {
                    "b64": base64.b64encode(encoded(small, "webp")).decode(), "content_type": "image/webp",
                    "width": small.width, "height": small.height,
                }  # fmt: skip
                await self.store.emit_event(lease.id, lease.token, "preview", preview, time.time())


async def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--slow-seconds", type=float, default=1.0)
    parser.add_argument("--prepared-bytes", type=int, default=0, help="answer every job with so many bytes, uncut")
    options = parser.parse_args()
    store = JobStore.open(StoreSettings())
    prepared = random.Random(1).randbytes(options.prepared_bytes) if options.prepared_bytes else None
    try:
        await Worker(store, options.slow_seconds, prepared).run()
    finally:
        await store.close()


if __name__ == "__main__":
    asyncio.run(main())
