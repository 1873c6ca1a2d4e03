"""Throughput on a GPU: a bare batched loop beside Matte. Needs CUDA; ``python -m bench.gpu`` runs it alone."""

from __future__ import annotations

import importlib.util
import itertools
import os
import sys
import tempfile
import time
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

from matte_core.contracts.catalog import VersionConfig

from bench.client import PredictClient, generate_load
from bench.report import GpuFigures

if TYPE_CHECKING:
    from matte_inference.replica.stages import DecodedJob, RenderedJob

BATCH = 16
SLOTS = 48
SECONDS = 20.0
CONFIG = """
default_model: {model}
versions:
- model: {model}
  version: {version}
  family: {family}
  source: {source}
  weight: 100
  slots: {slots}
  num_gpus: {num_gpus}
  max_batch_size: {batch}
  batch_wait_seconds: 0.005
  parameters: {parameters}
"""


def available() -> bool:
    return importlib.util.find_spec("torch") is not None and bool(importlib.import_module("torch").cuda.is_available())


def bare(config: VersionConfig) -> tuple[str, float]:
    """Device, and pictures per second of a batched loop that decodes and encodes in threads."""
    from matte_inference.families.registry import load  # noqa: PLC0415
    from matte_inference.replica.stages import decode_job, finish_and_render, warm_up  # noqa: PLC0415

    from bench.job import LIMITS, OPTIONS, photo  # noqa: PLC0415 - imports torch

    model, picture = load(config), photo()
    warm_up(model)
    done, end = 0, 0.0
    with ThreadPoolExecutor(os.cpu_count()) as pool:

        def decode_batch() -> list[Future[DecodedJob]]:
            return [pool.submit(decode_job, model, [picture], LIMITS) for _ in range(BATCH)]

        decoding = decode_batch()
        encoding: list[Future[RenderedJob]] = []
        for round_ in itertools.count():
            batch = [future.result() for future in decoding]
            decoding = decode_batch()
            alphas = model.forward([item.prepared for item in batch])
            [future.result() for future in encoding]
            pairs = zip(batch, alphas, strict=True)
            encoding = [pool.submit(finish_and_render, model, decoded, alpha, OPTIONS) for decoded, alpha in pairs]
            if round_ == 2:  # the first batches warm the device
                end, done = time.perf_counter() + SECONDS, 0
            elif round_ > 2:
                done += BATCH
                if time.perf_counter() >= end:
                    break
    return model.device, done / SECONDS


def through_matte(config: VersionConfig) -> float:
    from stack import running  # noqa: PLC0415

    from bench.job import photo  # noqa: PLC0415

    text = CONFIG.format(
        model=config.model, version=config.version, family=config.family, source=config.source, slots=SLOTS,
        num_gpus=config.num_gpus, batch=BATCH, parameters=config.parameters or "{}",
    )  # fmt: skip
    picture = photo()
    with tempfile.TemporaryDirectory() as folder, running(Path(folder), config=text, frontends=2) as stack:
        urls = itertools.cycle(stack.frontends)

        def make_client() -> PredictClient:
            return PredictClient(next(urls), f"/models/{config.model}/predict", picture)

        generate_load(make_client, concurrency=SLOTS, seconds=5)
        done, _ = generate_load(make_client, concurrency=SLOTS + BATCH, seconds=SECONDS)
    return done / SECONDS


def measure(num_gpus: float = 1.0) -> list[GpuFigures]:
    """Of the U-Net, and of SegFormer-B2 with random weights (27 M parameters), two labels, 512² input."""
    from transformers import SegformerConfig, SegformerForSemanticSegmentation  # noqa: PLC0415

    from bench.job import SIDE, unet  # noqa: PLC0415

    b2 = SegformerConfig(depths=[3, 4, 6, 3], hidden_sizes=[64, 128, 320, 512], decoder_hidden_size=768, num_labels=2)
    with tempfile.TemporaryDirectory() as folder:
        SegformerForSemanticSegmentation(b2).save_pretrained(folder)
        segformer = VersionConfig(
            model="segformer", version="1.0.0", family="transformers", source=folder, parameters={"foreground": [1]}
        )
        found = []
        for model in (unet(Path(folder), SIDE), segformer):
            config = model.model_copy(update={"num_gpus": num_gpus, "max_batch_size": BATCH})
            device, rate = bare(config)
            found.append(GpuFigures(f"{config.model} {config.version}", device, BATCH, rate, through_matte(config)))
    return found


if __name__ == "__main__":
    for figure in measure(1.0 if available() else 0.0):
        sys.stdout.write(f"{figure}\n")
