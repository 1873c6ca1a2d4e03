"""Makes the golden images from scikit-image's photographs: python scripts/golden_images.py [folder]

They are small and in the public domain or CC0 (see the README beside them): a person, an animal, an object, and
something that is hard to cut out.
"""

from __future__ import annotations

import sys
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from skimage import data

FOLDER = Path(__file__).parents[1] / "services/inference/src/matte_inference/analysis/golden"
#: pixels of the longer side
SIDE = 448
PICTURES = {"person": data.astronaut, "cat": data.chelsea, "coffee": data.coffee, "rocket": data.rocket}


def small_jpeg(rgb: NDArray[np.uint8]) -> bytes:
    scale = SIDE / max(rgb.shape[:2])
    height, width = (round(side * scale) for side in rgb.shape[:2])
    small = cv2.resize(rgb, (width, height), interpolation=cv2.INTER_AREA)
    bgr = cv2.cvtColor(small, cv2.COLOR_RGB2BGR)
    return bytes(cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, 82])[1].tobytes())


def main(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, picture in PICTURES.items():
        (folder / f"{name}.jpg").write_bytes(small_jpeg(picture()))


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else FOLDER)
