"""One job through a replica, apart from Ray."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from matte_core.contracts.catalog import VersionConfig
from matte_core.contracts.job import BlobRef, JobSpec, Result, Timings
from matte_core.contracts.limits import Limits
from matte_core.errors import Problem
from matte_jobs.store import JobStore

from matte_inference.families.base import Alpha, Segmenter
from matte_inference.replica.stages import Opened, Rendered, open_picture, render, render_whole, small

log = logging.getLogger("matte.replica")

T = TypeVar("T")

#: says something of the store, not of the job
AWAY = frozenset({"storage_unavailable", "storage_full"})
#: seconds between tries to store a result: two minutes in all
STORE_WAITS = (0.5, 1, 2, 4, 8, 15, 30, 30, 30)


class ReplicaService:
    """Runs jobs on a loaded segmenter.

    Args:
        store: the job store.
        config: the version that is served.
        segmenter: loaded and warm.
        forward: one prepared picture to its alpha, batched with its neighbours.
        clock: Unix seconds.
        limits: bounds on pictures.
    """

    def __init__(
        self,
        store: JobStore,
        config: VersionConfig,
        segmenter: Segmenter,
        forward: Callable[[Any], Awaitable[Any]],
        *,
        clock: Callable[[], float],
        limits: Limits,
    ) -> None:
        self._store = store
        self._config = config
        self._segmenter = segmenter
        self._forward = forward
        self._clock = clock
        self._limits = limits
        self._threads = ThreadPoolExecutor(config.slots, thread_name_prefix="pixels")

    async def run(self, spec: JobSpec, token: str) -> None:
        """Runs a leased job and stores its outcome: a result, a failure, or one attempt less."""
        try:
            await self._process(spec, token)
        except Problem as problem:
            if problem.code in AWAY:
                raise  # the router gives the job back
            await self._store.fail(spec.id, token, problem, self._clock())
        except Exception:
            log.exception("job %s failed on %s", spec.id, self._config.app)
            detail = f"Version {self._config.version} of {self._config.model} failed on this picture."
            await self._store.release(spec.id, token, Problem("attempts_exhausted", detail), self._clock())

    async def _fetch(self, spec: JobSpec) -> list[bytes]:
        refs = [ref for ref in (spec.image, spec.background) if ref is not None]
        blobs = [await self._store.blobs.get(ref) for ref in refs]
        if any(blob is None for blob in blobs):
            raise Problem("result_expired", "The picture is gone: the job has ended already.")
        return [blob for blob in blobs if blob is not None]

    async def _process(self, spec: JobSpec, token: str) -> None:
        marks = [self._clock()]
        blobs = await self._fetch(spec)
        marks.append(self._clock())
        opened: Opened = await self._threaded(open_picture, self._segmenter, blobs, self._limits)
        marks.append(self._clock())
        await self._progress(spec, "segment", 0.3)
        alpha = await self._forward(opened.prepared)
        marks.append(self._clock())
        await self._progress(spec, "render", 0.7)
        rendered = await (self._watched if spec.preview else self._rendered)(spec, opened, alpha)
        marks.append(self._clock())
        await self._put(spec, token, rendered, marks)

    async def _rendered(self, spec: JobSpec, opened: Opened, alpha: Alpha) -> Rendered:
        return await self._threaded(render, self._segmenter, opened, alpha, spec.options)

    async def _watched(self, spec: JobSpec, opened: Opened, alpha: Alpha) -> Rendered:
        """The same, with a preview before it."""
        whole = await self._threaded(self._segmenter.finish, opened.pixels, alpha)
        await self._store.preview(spec, await self._threaded(small, opened, whole), self._clock())
        return await self._threaded(render_whole, opened, whole, spec.options)

    async def _put(self, spec: JobSpec, token: str, rendered: Rendered, marks: Sequence[float]) -> None:
        refs: dict[str, BlobRef] = {}
        data: dict[str, bytes] = {}
        for name, (content, content_type) in rendered.files.items():
            refs[name] = self._store.blobs.ref(f"{spec.id}:{token}", name, len(content), content_type)
            data[refs[name].key] = content
        total = marks[-1] - marks[0]
        result = Result(
            model=self._config.model,
            version=self._config.version,
            digest=self._segmenter.digest,
            arm=self._config.version,
            width=rendered.width,
            height=rendered.height,
            files=refs,
            timings=_timings(spec, marks),
        )
        per_megapixel = total / max(0.01, spec.picture.megapixels)
        if not await self._stored(spec, result, data, per_megapixel):
            log.info("job %s had ended before its result came", spec.id)

    async def _stored(self, spec: JobSpec, result: Result, data: Mapping[str, bytes], per_megapixel: float) -> bool:
        """Keeps trying while the store is full or away: the work is done, and the lease is renewed meanwhile."""
        for wait in STORE_WAITS:
            try:
                return await self._store.finish(
                    spec.id, result, data, seconds_per_megapixel=per_megapixel, now=self._clock()
                )
            except Problem as problem:
                log.warning("job %s: its result waits for the store: %s", spec.id, problem)
                await asyncio.sleep(wait)
        raise RuntimeError("the store took no result")

    async def _progress(self, spec: JobSpec, stage: str, fraction: float) -> None:
        """For those who watch; everybody else need not pay for it."""
        if spec.preview:
            await self._store.progress(spec, {"stage": stage, "fraction": fraction}, self._clock())

    async def _threaded(self, stage: Callable[..., T], *args: Any) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, stage, *args)

    def close(self) -> None:
        """Ends the threads."""
        self._threads.shutdown(wait=False)


def _timings(spec: JobSpec, marks: Sequence[float]) -> Timings:
    begun, fetched, decoded, forwarded, encoded = marks
    return Timings(
        queued=round(max(0.0, begun - spec.created_at), 6),
        fetch=round(fetched - begun, 6),
        decode=round(decoded - fetched, 6),
        forward=round(forwarded - decoded, 6),
        encode=round(encoded - forwarded, 6),
        total=round(encoded - begun, 6),
    )
