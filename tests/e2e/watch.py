"""What Models say of themselves and what routers really do, second by second, while something happens."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import subprocess
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from e2e.kube import Kube, forwarded
from matte_core.errors import Problem
from matte_jobs.evidence import EvidenceStore
from matte_jobs.settings import StoreSettings
from matte_jobs.store import JobStore
from matte_operator.domain.rollout.observation import applied_weight

#: between two looks at what the routers use
LOOK_SECONDS = 0.05
_FIELDS = (
    ".metadata.name",
    ".metadata.generation",
    ".status.rollout.stable",
    ".status.rollout.canary",
    ".status.rollout.phase",
    '.status.conditions[?(@.type=="Ready")].status',
)
_LINE = "|".join(f"{{{name}}}" for name in _FIELDS) + "\n"


@dataclass(frozen=True)
class Moment:
    """A Model as a watch process it, ``at`` that time (Unix seconds)."""

    at: float
    model: str
    generation: int
    stable: str
    canary: str
    phase: str
    ready: str


@dataclass(frozen=True)
class Used:
    """From ``at`` on the routers gave a version so much, per cent: the highest, where they differed."""

    at: float
    weight: int


@dataclass
class Watch:
    """What was seen so far. ``used`` is by model and version."""

    moments: list[Moment] = field(default_factory=list)
    used: dict[tuple[str, str], list[Used]] = field(default_factory=dict)

    def of(self, model: str, since: float = 0) -> list[Moment]:
        """A Model's moments."""
        return [moment for moment in list(self.moments) if moment.model == model and moment.at >= since]

    def highest(self, model: str, version: str) -> int:
        """The most that a version ever had."""
        return max((used.weight for used in self.used.get((model, version), [])), default=0)

    def weights(self, model: str, version: str) -> list[int]:
        """What a version had, one after the other."""
        return [used.weight for used in self.used.get((model, version), [])]

    def when(self, model: str, version: str, weight: int, since: float = 0) -> float:
        """When the routers gave a version this weight (Unix seconds); infinite: not yet."""
        times = [used.at for used in self.used.get((model, version), []) if used.weight == weight and used.at >= since]
        return min(times, default=float("inf"))


@contextlib.contextmanager
def watching(kube: Kube) -> Iterator[Watch]:
    """Watches every Model and every router of the namespace."""
    watch, over = Watch(), threading.Event()
    secret = kube.get("secret/matte-redis")["data"]["url"]
    password = urlsplit(base64.b64decode(secret).decode()).password
    command = ["kubectl", "--namespace", kube.namespace, "get", "models", "--watch", "-o", f"jsonpath={_LINE}"]
    with (
        forwarded(kube.namespace, "pod/matte-redis-0", 6379) as address,
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process,
    ):
        url = f"redis://:{password}@{urlsplit(address).netloc}/0"
        threads = [
            threading.Thread(target=_listen, args=(process, watch)),
            threading.Thread(target=lambda: asyncio.run(_look(url, watch, over))),
        ]
        for thread in threads:
            thread.start()
        try:
            yield watch
        finally:
            over.set()
            process.terminate()
            for thread in threads:
                thread.join()


def _listen(process: subprocess.Popen[str], watch: Watch) -> None:
    assert process.stdout is not None
    for line in process.stdout:
        model, generation, *fields = line.rstrip("\n").split("|")
        watch.moments.append(Moment(time.time(), model, int(generation), *fields))


async def _look(url: str, watch: Watch, over: threading.Event) -> None:
    store = JobStore.open(StoreSettings(redis_url=url))
    evidence = EvidenceStore(store)
    try:
        while not over.is_set():
            with contextlib.suppress(Problem):
                applied = await evidence.applied_weights("default", time.time())
                names = {(m, v) for router in applied for m, split in router.weights.items() for v in split}
                for model, version in names | watch.used.keys():
                    _note(watch, model, version, applied_weight(model, version, applied))
            await asyncio.sleep(LOOK_SECONDS)
    finally:
        await store.close()


def _note(watch: Watch, model: str, version: str, weight: int | None) -> None:
    known = watch.used.setdefault((model, version), [])
    if weight is not None and (not known or known[-1].weight != weight):
        known.append(Used(time.time(), weight))
