"""``python -m bench.eta``: ETAs compared with real times, on grabcut with pictures of 0.01 to 36 MP; bench/eta.md."""

from __future__ import annotations

import argparse
import math
import os
import platform
import random
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median, quantiles

import cv2
import httpx
from skimage import data
from stack import running

HERE = Path(__file__).parent
SEED = 10
#: megapixels; each job draws one
SIZES = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 9.0, 18.0, 36.0)
#: jobs before the measurement, and jobs per load
WARM, JOBS = 27, 60
#: utilization of the slots
LOADS = (0.6, 1.0)
CONFIG = """
default_model: grabcut
versions:
- {model: grabcut, version: 2.0.0, family: grabcut, weight: 100, slots: 2}
"""


@dataclass(frozen=True, slots=True)
class Estimate:
    """An ETA, and the seconds until the job was really done."""

    megapixels: float
    eta: float
    seconds: float

    @property
    def ratio(self) -> float:
        return self.eta / self.seconds


def photo(megapixels: float) -> bytes:
    side = round(math.sqrt(megapixels * 1e6))
    resized = cv2.resize(data.astronaut(), (side, side), interpolation=cv2.INTER_LINEAR)
    return bytes(cv2.imencode(".jpg", cv2.cvtColor(resized, cv2.COLOR_RGB2BGR))[1].tobytes())


class Load:
    def __init__(self, client: httpx.Client, draw: random.Random) -> None:
        self._client = client
        self._draw = draw
        self._photos = {size: photo(size) for size in SIZES}

    def send(self, size: float) -> tuple[float, dict[str, float | str | None]]:
        """Submits a job; returns its megapixels and its first view."""
        answer = self._client.post("/v1/jobs", content=self._photos[size], headers={"Content-Type": "image/jpeg"})
        answer.raise_for_status()
        view: dict[str, float | str | None] = answer.json()
        return size, view

    def spread(self, count: int, gap: float) -> Iterator[tuple[float, dict[str, float | str | None]]]:
        """Jobs at random intervals of ``gap`` seconds on average."""
        for _ in range(count):
            began = time.monotonic()
            yield self.send(self._draw.choice(SIZES))
            time.sleep(max(0.0, self._draw.expovariate(1 / gap) - (time.monotonic() - began)))

    def took(self, view: dict[str, float | str | None]) -> tuple[float, float]:
        """Seconds from admission to end, and from lease to end."""
        while True:
            found = self._client.get(f"/v1/jobs/{view['id']}").json()
            if found["finished_at"] is not None:
                assert found["state"] == "succeeded", found
                return found["finished_at"] - found["created_at"], found["finished_at"] - found["started_at"]
            time.sleep(0.1)


def measure() -> dict[float, list[Estimate]]:
    with (
        tempfile.TemporaryDirectory() as folder,
        running(Path(folder), config=CONFIG) as stack,
        httpx.Client(base_url=stack.url, timeout=120) as client,
    ):
        jobs = Load(client, random.Random(SEED))
        warm = [jobs.send(size) for size in SIZES * (WARM // len(SIZES))]
        held = sum(jobs.took(view)[1] for _, view in warm) / len(warm)
        time.sleep(1.5)  # the catalog is read once a second
        return {load: list(_measured(jobs, held / 2 / load)) for load in LOADS}


def _measured(jobs: Load, gap: float) -> Iterator[Estimate]:
    for size, view in list(jobs.spread(JOBS, gap)):
        if view["eta_seconds"] is not None:
            yield Estimate(size, float(view["eta_seconds"]), jobs.took(view)[0])


def row(name: str, estimates: Sequence[Estimate]) -> str:
    ratios = sorted(estimate.ratio for estimate in estimates)
    low, high = quantiles(ratios, n=20)[0], quantiles(ratios, n=20)[-1]
    waits = median(estimate.seconds for estimate in estimates)
    return f"| {name} | {len(estimates)} | {waits:.1f} s | {median(ratios):.2f} | {low:.2f} | {high:.2f} |"


def render(found: dict[float, list[Estimate]]) -> str:
    machine = f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}"
    head = (
        "| load | jobs | median time | median | 5 % are below | 5 % are above |\n"
        "|---|---|---|---|---|---|"
    )  # fmt: skip
    rows = [row(f"{load:.0%} of the slots", estimates) for load, estimates in found.items()]
    everything = [estimate for estimates in found.values() for estimate in estimates]
    sizes = [
        row(f"{size:g} MP", [estimate for estimate in everything if estimate.megapixels == size]) for size in SIZES
    ]
    return (
        "# ETAs beside the truth\n\n"
        "`python -m bench.eta` writes this. Jobs on grabcut 2.0.0 (one replica, two slots) with pictures of"
        f" {SIZES[0]:g} to {SIZES[-1]:g} MP in random order, at random moments, after {WARM} jobs that warm it. The"
        " ratio is `eta_seconds` of the 202 answer over the seconds until the job was done: 1 is exact, above 1 was"
        f" too long. {machine}, shared with other work.\n\n"
        f"{head}\n" + "\n".join([*rows, row("all", everything)]) + "\n\nBy size, at both loads:\n\n"
        f"{head.replace('load', 'picture')}\n" + "\n".join(sizes) + "\n"
    )


def main() -> int:
    argparse.ArgumentParser(prog="python -m bench.eta", description=__doc__).parse_args()
    text = render(measure())
    (HERE / "eta.md").write_text(text)
    sys.stdout.write(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
