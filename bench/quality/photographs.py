"""Photographs that installed packages ship, and their licenses. No file is downloaded.

Each one is either a subject or a background, never both.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import cv2
import numpy as np
from matte_inference.pixels.arrays import UInt8Array
from skimage import data
from sklearn.datasets import load_sample_image


@dataclass(frozen=True, slots=True)
class Photograph:
    """``read`` gives uint8 (H, W, 3) in RGB."""

    read: Callable[[], UInt8Array]
    package: str
    license: str


def _gray(read: Callable[[], UInt8Array]) -> Callable[[], UInt8Array]:
    return lambda: np.repeat(read()[..., None], 3, axis=2)


def _gradio(path: str) -> Callable[[], UInt8Array]:
    def read() -> UInt8Array:
        found = find_spec("gradio")  # not imported: that takes seconds
        bgr = cv2.imread(str(Path(found.origin).parent / path)) if found and found.origin else None
        if bgr is None:
            raise RuntimeError(f"this gradio has no {path}: the pictures need the version in locks/all.txt")
        return np.asarray(cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB), np.uint8)

    return read


_SKIMAGE, _SKLEARN, _GRADIO = "scikit-image", "scikit-learn", "gradio"
#: gradio names no photographer: what the package says is that it is Apache-2.0 as a whole
_AS_PACKAGE = "Apache-2.0, as its package"

SUBJECTS: Mapping[str, Photograph] = {
    "astronaut": Photograph(data.astronaut, _SKIMAGE, "public domain (NASA)"),
    "cat": Photograph(data.chelsea, _SKIMAGE, "CC0"),
    "coffee": Photograph(data.coffee, _SKIMAGE, "CC0"),
    "retina": Photograph(data.retina, _SKIMAGE, "CC0"),
    "flower": Photograph(lambda: load_sample_image("flower.jpg"), _SKLEARN, "CC BY 2.0"),
    "cheetah": Photograph(_gradio("media_assets/images/cheetah1.jpg"), _GRADIO, _AS_PACKAGE),
    "cub": Photograph(_gradio("test_data/cheetah2.jpg"), _GRADIO, _AS_PACKAGE),
    "lion": Photograph(_gradio("media_assets/images/lion.jpg"), _GRADIO, _AS_PACKAGE),
}
BACKGROUNDS: Mapping[str, Photograph] = {
    "pagoda": Photograph(lambda: load_sample_image("china.jpg"), _SKLEARN, "CC BY 2.0"),
    "launch site": Photograph(data.rocket, _SKIMAGE, "public domain (SpaceX)"),
    "garage": Photograph(lambda: data.stereo_motorcycle()[0], _SKIMAGE, "none stated (Middlebury 2014)"),
    "stars": Photograph(data.hubble_deep_field, _SKIMAGE, "public domain (NASA)"),
    "bricks": Photograph(_gray(data.brick), _SKIMAGE, "CC0"),
    "grass": Photograph(_gray(data.grass), _SKIMAGE, "CC0"),
    "gravel": Photograph(_gray(data.gravel), _SKIMAGE, "CC0"),
    "tower": Photograph(_gradio("media_assets/images/tower.jpg"), _GRADIO, _AS_PACKAGE),
}
