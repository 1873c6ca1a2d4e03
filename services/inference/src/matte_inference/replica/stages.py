"""The stages of one picture, wherever it comes from and goes to. All are synchronous and thread-safe; the bench's bare
loop calls the same ones.
"""

from __future__ import annotations

import base64
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import cv2
import numpy as np
from matte_core.contracts.job import Limits
from matte_core.contracts.options import Hint, Options

from matte_inference.analysis.uncertainty import Assessment, assess
from matte_inference.families.base import Alpha, Prepared, Segmenter
from matte_inference.pixels.arrays import Pixels, UInt8Array
from matte_inference.pixels.compose import compose
from matte_inference.pixels.decode import decode
from matte_inference.pixels.encode import CONTENT_TYPES, encode, preview

T = TypeVar("T")

#: (height, width) of the picture that warms up a model
_WARM_UP_SIZE = (320, 320)


@dataclass(frozen=True, slots=True)
class DecodedJob:
    pixels: Pixels
    prepared: Prepared  # the network's input
    background: Pixels | None


@dataclass(frozen=True, slots=True)
class RenderedJob:
    """The answer to a job; ``width`` and ``height`` are the result's."""

    files: dict[str, tuple[bytes, str]]  # encoded pictures and their content types by name: ``result``, ``mask``
    width: int
    height: int
    full_size_alpha: UInt8Array  # at the picture's size, (H, W)
    assessment: Assessment


def decode_job(
    segmenter: Segmenter, blobs: Sequence[bytes], limits: Limits, hints: tuple[Hint, ...] = ()
) -> DecodedJob:
    """Decodes the picture (and, as second blob, its background) and prepares the network's input. Raises Problem for
    whatever is wrong with a picture.
    """
    pixels = replace(decode(blobs[0], limits), hints=hints)
    background = decode(blobs[1], limits) if len(blobs) > 1 else None
    return DecodedJob(pixels, segmenter.prepare(pixels), background)


def finish_and_render(segmenter: Segmenter, job: DecodedJob, alpha: Alpha, options: Options) -> RenderedJob:
    """The network's alpha at the picture's size, composed and encoded as requested."""
    return render(job, segmenter.finish(job.pixels, alpha), options)


def render(job: DecodedJob, full_size_alpha: UInt8Array, options: Options) -> RenderedJob:
    """An alpha of the picture's size, composed and encoded as requested."""
    pictures = compose(job.pixels, full_size_alpha, options, job.background)
    kind = "png" if options.format == "auto" else options.format
    files = {name: (encode(array, kind), CONTENT_TYPES[kind]) for name, array in pictures.items()}
    height, width = pictures["result"].shape[:2]
    return RenderedJob(files, width, height, full_size_alpha, assess(full_size_alpha))


def render_preview(job: DecodedJob, full_size_alpha: UInt8Array) -> dict[str, Any]:
    """A small cut-out: the data of a ``preview`` event."""
    array = compose(job.pixels, full_size_alpha, Options(size="preview"))["result"]
    height, width = array.shape[:2]
    content = base64.b64encode(preview(array)).decode()
    return {"b64": content, "content_type": "image/webp", "width": width, "height": height}


def warm_up(segmenter: Segmenter) -> None:
    """Sends one picture through the model, so that the first job does not pay for lazy initialization.

    A disc: noise would be the hardest of all pictures for those families whose time depends on the content.
    """
    height, width = _WARM_UP_SIZE
    disc = cv2.circle(np.full((height, width, 3), 40, np.uint8), (width // 2, height // 2), 90, (220, 200, 180), -1)
    pixels = Pixels(np.asarray(disc, np.uint8))
    alpha = segmenter.forward([segmenter.prepare(pixels)])[0]
    segmenter.finish(pixels, alpha)


def with_cpu_seconds(function: Callable[..., T], *args: Any) -> tuple[T, float]:
    """The function's result, and the CPU seconds that this thread spent on it."""
    begun = time.thread_time()
    result = function(*args)
    return result, time.thread_time() - begun
