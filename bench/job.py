"""The job of the benchmarks: a 1024² JPEG in, the U-Net on one thread, a PNG out."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Sequence
from multiprocessing.connection import Connection
from pathlib import Path

import cv2
import yaml
from matte_core.allocator import keep_freed_memory
from matte_core.contracts.catalog import VersionConfig
from matte_core.contracts.job import Limits
from matte_core.contracts.options import Options
from matte_inference.families.base import Segmenter
from matte_inference.families.registry import load
from matte_inference.families.unet import MODELS
from matte_inference.replica.stages import decode_job, finish_and_render, warm_up
from skimage import data

#: of the network's input, pixels
SIDE = 256
LIMITS = Limits()
OPTIONS = Options()


def photo(side: int = 1024) -> bytes:
    resized = cv2.resize(data.astronaut(), (side, side), interpolation=cv2.INTER_CUBIC)
    return bytes(cv2.imencode(".jpg", cv2.cvtColor(resized, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, 90])[1])


def unet(folder: Path, side: int) -> VersionConfig:
    """Version 2.0.0 of the bundled U-Net on one thread, with an input of ``side``²."""
    source = folder / f"unet-{side}"
    shutil.copytree(str(MODELS / "unet-2.0.0"), source)
    about = yaml.safe_load((source / "matte.yaml").read_text())
    (source / "matte.yaml").write_text(yaml.safe_dump({**about, "size": side}))
    return _config(str(source))


def _config(source: str) -> VersionConfig:
    return VersionConfig(model="unet", version="2.0.0", family="unet", source=source, threads=1)


def segmenter(source: str) -> Segmenter:
    """Loaded and warmed up as in a replica."""
    keep_freed_memory()
    cv2.setNumThreads(1)
    loaded = load(_config(source))
    warm_up(loaded)
    return loaded


def run(model: Segmenter, picture: bytes) -> bytes:
    opened = decode_job(model, [picture], LIMITS)
    alpha = model.forward([opened.prepared])[0]
    return finish_and_render(model, opened, alpha, OPTIONS).files["result"][0]


def timed(model: Segmenter, picture: bytes, n: int) -> tuple[list[float], float]:
    """Wall seconds of each of ``n`` jobs, and CPU seconds per job."""
    walls, cpu = [], time.process_time()
    for _ in range(n):
        begun = time.perf_counter()
        run(model, picture)
        walls.append(time.perf_counter() - begun)
    return walls, (time.process_time() - cpu) / n


def worker(pipe: Connection, source: str) -> None:
    """Runs jobs for each number of seconds received; answers how many, counting fractions."""
    model, picture = segmenter(source), photo()
    pipe.send(os.getpid())
    while (seconds := pipe.recv()) is not None:
        done, now = 0.0, time.perf_counter()
        end = now + seconds
        while now < end:
            begun = now
            run(model, picture)
            now = time.perf_counter()
            done += min(1.0, (end - begun) / (now - begun))
        pipe.send(done)


def percentile(values: Sequence[float], q: float) -> float:
    return sorted(values)[min(len(values) - 1, int(q * len(values)))]
