"""Runs one model in a process of its own, through the stages of a replica, so that its time and memory are its own."""

from __future__ import annotations

import contextlib
import multiprocessing as mp
import resource
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
from matte_core.contracts.catalog import VersionConfig
from matte_core.contracts.job import Limits
from matte_core.contracts.options import Options
from matte_inference.families.registry import load
from matte_inference.pixels.arrays import UInt8Array
from matte_inference.pixels.decode import decode
from matte_inference.replica.stages import decode_job, finish_and_render, warm_up

#: slower starts are a download
_LOAD_SECONDS = 900.0
_PICTURE_SECONDS = 300.0


@dataclass(frozen=True, slots=True)
class Run:
    """``cutouts``: RGBA (H, W, 4), in the order of the pictures. ``seconds``: of each. ``peak``: bytes of the process
    at its largest, with Python and libraries; ``start``: seconds to load the model.
    """

    cutouts: Sequence[UInt8Array]
    seconds: Sequence[float]
    peak: int
    start: float


class MeasureError(Exception):
    """A model could not be loaded or failed; the message is its reason."""


class ModelProcess:
    """A loaded model in its own process; ``start`` is the seconds to load it. Raises MeasureError."""

    def __init__(self, config: VersionConfig) -> None:
        context = mp.get_context("spawn")
        self._pipe, there = context.Pipe()
        self._process = context.Process(target=_work, args=(there, config), daemon=True)
        self._process.start()
        there.close()
        self.start: float = _receive(self._pipe, _LOAD_SECONDS)

    def cut(self, picture: bytes) -> tuple[float, bytes]:
        """Seconds from the file to the cut-out, and the cut-out: a PNG."""
        self._pipe.send(picture)
        took, cutout = _receive(self._pipe, _PICTURE_SECONDS)
        return took, cutout

    def peak(self) -> int:
        """Bytes of the process at its largest; no picture is cut after this."""
        self._pipe.send(None)
        return int(_receive(self._pipe, 30))

    def close(self) -> None:
        self._pipe.close()
        self._process.terminate()
        self._process.join()


def run_model(config: VersionConfig, pictures: Sequence[bytes], on_picture: Callable[[int], None]) -> Run:
    """Cuts every picture with default options. Raises MeasureError."""
    with contextlib.closing(ModelProcess(config)) as model:
        seconds, cutouts = [], []
        for number, picture in enumerate(pictures):
            took, cutout = model.cut(picture)
            seconds.append(took)
            cutouts.append(decode_rgba(cutout))
            on_picture(number + 1)
        return Run(cutouts, seconds, model.peak(), model.start)


def decode_rgba(png: bytes) -> UInt8Array:
    pixels = decode(png, Limits())
    opaque = np.full(pixels.rgb.shape[:2], 255, np.uint8)
    return np.dstack((pixels.rgb, opaque if pixels.alpha is None else pixels.alpha))


def _receive(pipe: Connection, seconds: float) -> Any:
    if not pipe.poll(seconds):
        raise MeasureError(f"no answer within {seconds:.0f} s")
    try:
        kind, value = pipe.recv()
    except EOFError:
        raise MeasureError("the process died") from None
    if kind == "error":
        raise MeasureError(value)
    return value


def _work(pipe: Connection, config: VersionConfig) -> None:
    try:
        begun = time.perf_counter()
        segmenter = load(config)
        warm_up(segmenter)
        pipe.send(("ready", time.perf_counter() - begun))
        while (picture := pipe.recv()) is not None:
            begun = time.perf_counter()
            decoded = decode_job(segmenter, [picture], Limits())
            alpha = segmenter.forward([decoded.prepared])[0]
            rendered = finish_and_render(segmenter, decoded, alpha, Options())
            pipe.send(("cutout", (time.perf_counter() - begun, rendered.files["result"][0])))
        pipe.send(("peak", peak_memory()))
    except Exception as error:
        pipe.send(("error", f"{type(error).__name__}: {error}"))


def peak_memory() -> int:
    """Largest resident size of this process, bytes. Not getrusage on Linux: there a child begins with its parent's."""
    status = Path("/proc/self/status")
    if status.exists():
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM:"))
        return int(line.split()[1]) * 1024
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
