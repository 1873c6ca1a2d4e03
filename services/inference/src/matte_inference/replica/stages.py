"""What is done to one picture, apart from where it comes from and goes to. Every stage is synchronous and thread-safe;
the bench's bare loop calls the same ones.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import cv2
import numpy as np
from matte_core.contracts.limits import Limits
from matte_core.contracts.options import Hint, Options

from matte_inference.families.base import Alpha, Prepared, Segmenter
from matte_inference.pixels.compose import EMPTY, compose
from matte_inference.pixels.decode import decode
from matte_inference.pixels.encode import CONTENT_TYPES, encode, preview
from matte_inference.pixels.types import Bytes, Pixels

#: (height, width) of the picture that warms a model
_WARM = (320, 320)


@dataclass(frozen=True, slots=True)
class Opened:
    """A decoded job: its picture, the network's input, and the picture behind, if there is one."""

    pixels: Pixels
    prepared: Prepared
    background: Pixels | None


@dataclass(frozen=True, slots=True)
class Rendered:
    """Encoded answers by name (``result``, ``mask``) with their content types; width and height of the result.

    ``subject_found`` is false where the model's alpha is empty.
    """

    files: dict[str, tuple[bytes, str]]
    width: int
    height: int
    subject_found: bool


def open_picture(segmenter: Segmenter, blobs: Sequence[bytes], limits: Limits, hints: tuple[Hint, ...] = ()) -> Opened:
    """Decodes the picture (and, as second blob, its background) and prepares the network's input.

    Raises:
        Problem: whatever is wrong with a picture.
    """
    pixels = replace(decode(blobs[0], limits), hints=hints)
    background = decode(blobs[1], limits) if len(blobs) > 1 else None
    return Opened(pixels, segmenter.prepare(pixels), background)


def render(segmenter: Segmenter, opened: Opened, alpha: Alpha, options: Options) -> Rendered:
    """The alpha at the picture's size, composed and encoded as asked."""
    return render_with_mask(segmenter, opened, alpha, options)[0]


def render_with_mask(segmenter: Segmenter, opened: Opened, alpha: Alpha, options: Options) -> tuple[Rendered, Bytes]:
    """As :func:`render`, and the alpha at the picture's size."""
    whole = segmenter.finish(opened.pixels, alpha)
    return render_whole(opened, whole, options), whole


def render_whole(opened: Opened, whole: Bytes, options: Options) -> Rendered:
    """An alpha that has the picture's size, composed and encoded as asked."""
    pictures = compose(opened.pixels, whole, options, opened.background)
    kind = "png" if options.format == "auto" else options.format
    files = {name: (encode(array, kind), CONTENT_TYPES[kind]) for name, array in pictures.items()}
    height, width = pictures["result"].shape[:2]
    return Rendered(files, width, height, subject_found=bool(whole.max() > EMPTY))


def small(opened: Opened, whole: Bytes) -> dict[str, Any]:
    """A small cut-out for whoever watches: the data of a ``preview`` event."""
    array = compose(opened.pixels, whole, Options(size="preview"))["result"]
    height, width = array.shape[:2]
    content = base64.b64encode(preview(array)).decode()
    return {"b64": content, "content_type": "image/webp", "width": width, "height": height}


def warm(segmenter: Segmenter) -> None:
    """One picture through every stage, so that the first user does not pay for lazy set-up.

    A disc: noise would be the hardest of all pictures for those families whose time depends on what they see.
    """
    disc = cv2.circle(np.full((*_WARM, 3), 40, np.uint8), (_WARM[1] // 2, _WARM[0] // 2), 90, (220, 200, 180), -1)
    pixels = Pixels(np.asarray(disc, np.uint8))
    alpha = segmenter.forward([segmenter.prepare(pixels)])[0]
    segmenter.finish(pixels, alpha)
