"""Makes the golden images from scikit-image's photographs: python scripts/golden_images.py [folder]

They are small and in the public domain or CC0 (see the README beside them): a person, an animal, an object, and
something that is hard to cut out.
"""

from __future__ import annotations

import sys
from pathlib import Path

import cv2
from skimage import data

FOLDER = Path(__file__).parents[1] / "services/inference/src/matte_inference/analysis/golden"
#: pixels of the longer side
SIDE = 448
PICTURES = {"person": data.astronaut, "cat": data.chelsea, "coffee": data.coffee, "rocket": data.rocket}


def main(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, picture in PICTURES.items():
        rgb = picture()
        height, width = (round(side * SIDE / max(rgb.shape[:2])) for side in rgb.shape[:2])
        small = cv2.cvtColor(cv2.resize(rgb, (width, height), interpolation=cv2.INTER_AREA), cv2.COLOR_RGB2BGR)
        cv2.imwrite(str(folder / f"{name}.jpg"), small, [cv2.IMWRITE_JPEG_QUALITY, 82])


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else FOLDER)
