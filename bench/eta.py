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
from collections.abc import Sequence
from pathlib import Path
from statistics import median, quantiles
from typing import Any, NamedTuple

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


class Estimate(NamedTuple):
    """An ETA, and the seconds until the job was really done."""

    megapixels: float
    eta: float
    seconds: float


def photo(megapixels: float) -> bytes:
    side = round(math.sqrt(megapixels * 1e6))
    resized = cv2.resize(data.astronaut(), (side, side), interpolation=cv2.INTER_LINEAR)
    return bytes(cv2.imencode(".jpg", cv2.cvtColor(resized, cv2.COLOR_RGB2BGR))[1].tobytes())


def measure() -> dict[float, list[Estimate]]:
    """By utilization."""
    draw, photos = random.Random(SEED), {size: photo(size) for size in SIZES}
    with (
        tempfile.TemporaryDirectory() as folder,
        running(Path(folder), config=CONFIG) as stack,
        httpx.Client(base_url=stack.url, timeout=120) as client,
    ):

        def submit(size: float) -> dict[str, Any]:
            answer = client.post("/v1/jobs", content=photos[size], headers={"Content-Type": "image/jpeg"})
            answer.raise_for_status()
            view: dict[str, Any] = answer.json()
            return view

        def finished(job_id: str) -> dict[str, Any]:
            while (view := client.get(f"/v1/jobs/{job_id}").json())["finished_at"] is None:
                time.sleep(0.1)
            assert view["state"] == "succeeded", view
            return view  # type: ignore[no-any-return]

        warm_up = [submit(size)["id"] for size in SIZES * (WARM // len(SIZES))]
        views = [finished(job_id) for job_id in warm_up]
        seconds_per_job = sum(view["finished_at"] - view["started_at"] for view in views) / len(views)
        time.sleep(1.5)  # the catalog is read once a second
        estimates: dict[float, list[Estimate]] = {}
        for load in LOADS:
            submitted = []
            for _ in range(JOBS):
                began, size = time.monotonic(), draw.choice(SIZES)
                submitted.append((size, submit(size)))
                interval = draw.expovariate(load / (seconds_per_job / 2))
                time.sleep(max(0.0, interval - (time.monotonic() - began)))
            estimates[load] = []
            for size, first_view in submitted:
                if first_view["eta_seconds"] is not None:
                    view = finished(first_view["id"])
                    seconds = view["finished_at"] - view["created_at"]
                    estimates[load].append(Estimate(size, first_view["eta_seconds"], seconds))
        return estimates


def row(name: str, estimates: Sequence[Estimate]) -> str:
    ratios = sorted(estimate.eta / estimate.seconds for estimate in estimates)
    low, high = quantiles(ratios, n=20)[0], quantiles(ratios, n=20)[-1]
    waits = median(estimate.seconds for estimate in estimates)
    return f"| {name} | {len(estimates)} | {waits:.1f} s | {median(ratios):.2f} | {low:.2f} | {high:.2f} |"


def render(found: dict[float, list[Estimate]]) -> str:
    machine = f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}"
    head = "| load | jobs | median time | median | 5 % are below | 5 % are above |\n|---|---|---|---|---|---|"
    rows = [row(f"{load:.0%} of the slots", estimates) for load, estimates in found.items()]
    everything = [estimate for estimates in found.values() for estimate in estimates]
    sizes = [row(f"{size:g} MP", [it for it in everything if it.megapixels == size]) for size in SIZES]
    return (
        "# ETAs beside the truth\n\n"
        "`python -m bench.eta` writes this. Jobs on grabcut 2.0.0 (one replica, two slots) with pictures of"
        f" {SIZES[0]:g} to {SIZES[-1]:g} MP in random order, at random moments, after {WARM} jobs that warm it. The"
        " ratio is `eta_seconds` of the 202 answer over the seconds until the job was done: 1 is exact, above 1 was"
        f" too long. {machine}, shared with other work.\n\n"
        f"{head}\n" + "\n".join([*rows, row("all", everything)]) + "\n\nBy size, at both loads:\n\n"
        f"{head.replace('load', 'picture')}\n" + "\n".join(sizes) + "\n"
    )


def main() -> None:
    argparse.ArgumentParser(prog="python -m bench.eta", description=__doc__).parse_args()
    text = render(measure())
    (HERE / "eta.md").write_text(text)
    sys.stdout.write(text)


if __name__ == "__main__":
    main()
