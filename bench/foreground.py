"""``python -m bench.foreground``: two ways to estimate the subject's colors under soft edges, by their error against
known colors and by their time; bench/foreground.md.
"""

from __future__ import annotations

import argparse
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from matte_inference.pixels.arrays import Float32Array, UInt8Array, resize, to_float32
from matte_inference.pixels.foreground import estimate_foreground
from skimage import data
from sklearn.datasets import load_sample_image

HERE = Path(__file__).parent
#: megapixels; floats of whole pictures are only made up to the second
SIZES, MAX_WHOLE = (1, 12, 50), 12
HAIRS = 1200
#: box sizes of BiRefNet's two passes of blur-fusion, pixels
BOXES = (90, 6)
#: the picture that a bounded blur-fusion worked at
BOUND = 4_000_000

#: run in an environment that has PyMatting: path of the picture and alpha, path of the result
PYMATTING = """
import sys, time
import numpy as np
from pymatting import estimate_foreground_ml
given = np.load(sys.argv[1])
image, alpha = given["rgb"] / 255, given["alpha"] / 255
estimate_foreground_ml(image[:64, :64], alpha[:64, :64])  # compiles
begun = time.process_time()
colors = estimate_foreground_ml(image, alpha)
np.savez(sys.argv[2], colors=np.rint(colors * 255).astype(np.uint8), seconds=time.process_time() - begun)
"""


class Case(NamedTuple):
    rgb: UInt8Array  # (H, W, 3)
    alpha: UInt8Array  # (H, W)
    truth: UInt8Array  # the subject's own colors, (H, W, 3)


class Result(NamedTuple):
    error: float  # mean difference of the colors, 0 … 255, where the alpha is soft, weighted by it
    seconds: float  # of one core


def hair_alpha(height: int, width: int) -> UInt8Array:
    """A disc with hairs, uint8 (H, W)."""
    rng = np.random.default_rng(11)
    radius, unit = min(height, width) / 4, max(height, width) / 4000
    middle = np.array((width / 2, height / 2))
    alpha = cv2.circle(np.zeros((height, width), np.uint8), (width // 2, height // 2), round(radius), 255, -1)
    for angle in rng.uniform(0, 2 * np.pi, HAIRS):
        turns = angle + np.cumsum(rng.normal(0, 0.05, 14))
        reach = np.linspace(0.9, rng.uniform(1.1, 1.7), 14)[:, None]
        points = middle + radius * np.stack((np.cos(turns), np.sin(turns)), axis=1) * reach
        opacity, thickness = int(rng.uniform(120, 256)), max(1, round(rng.uniform(1, 4) * unit))
        left, top = np.maximum(0, points.min(axis=0).astype(int) - 8)
        right, bottom = points.max(axis=0).astype(int) + 9
        part = alpha[top:bottom, left:right]
        drawn = np.zeros_like(part)
        places = np.rint((points - (left, top)) * 16).astype(np.int32)
        cv2.polylines(
            drawn, [places], isClosed=False, color=opacity, thickness=thickness, lineType=cv2.LINE_AA, shift=4
        )
        np.maximum(part, drawn, out=part)
    blurred: UInt8Array = cv2.GaussianBlur(alpha, (0, 0), 0.7 + 0.6 * unit)
    return blurred


def composite(megapixels: float, background: UInt8Array) -> Case:
    """Part of a photograph, cut out with hairs, over another one."""
    width = round((megapixels * 1e6 * 4 / 3) ** 0.5)
    size = round(width * 3 / 4), width
    alpha = hair_alpha(*size)
    truth, back = (
        cv2.resize(picture, size[::-1], interpolation=cv2.INTER_CUBIC)
        for picture in (data.coffee()[100:300, 150:450], background)
    )
    rgb = np.empty_like(truth)
    for top in range(0, size[0], 256):  # floats of a large picture are larger still
        rows = slice(top, top + 256)
        weight = to_float32(alpha[rows])[..., None]
        rgb[rows] = np.rint(truth[rows] * weight + back[rows] * (1 - weight))
    return Case(rgb, alpha, truth)


def color_error(colors: UInt8Array, case: Case) -> float:
    soft = (case.alpha > 5) & (case.alpha < 250)
    weight = case.alpha[soft].astype(np.float64)
    apart = np.abs(colors[soft].astype(np.int16) - case.truth[soft]).mean(axis=1)
    return float((apart * weight).sum() / weight.sum())


def blur_fusion(rgb: UInt8Array, alpha: UInt8Array) -> UInt8Array:
    """M. Forte, "Approximate Fast Foreground Color Estimation", ICIP 2021, in the two passes of BiRefNet."""
    image, flat = rgb.astype(np.float32), to_float32(alpha)
    weight = flat[..., None]
    front, back = image, image
    for box in BOXES:  # blurred estimates (equations 4 and 5), corrected to reproduce the picture (equation 6)
        size = (box, box)
        share: Float32Array = cv2.blur(flat, size)[..., None]
        near = cv2.blur(front * weight, size) / (share + 1e-5)
        back = cv2.blur(back * (1 - weight), size) / (1 - share + 1e-5)
        front = np.clip(near + weight * (image - weight * near - (1 - weight) * back), 0, 255)
    return np.where((alpha == 255)[..., None], rgb, np.rint(front).astype(np.uint8))


def bounded_blur_fusion(rgb: UInt8Array, alpha: UInt8Array) -> UInt8Array:
    """The same at 4 MP at most, enlarged."""
    scale = min(1.0, (BOUND / alpha.size) ** 0.5)
    height, width = (max(1, round(side * scale)) for side in alpha.shape)
    small = blur_fusion(resize(rgb, height, width), resize(alpha, height, width))
    return np.where((alpha == 255)[..., None], rgb, resize(small, *alpha.shape))


def measure(case: Case, estimate: Callable[[UInt8Array, UInt8Array], UInt8Array]) -> Result:
    begun = time.thread_time()
    colors = estimate(case.rgb, case.alpha)
    seconds = time.thread_time() - begun
    return Result(color_error(colors, case), seconds)


def measure_pymatting(case: Case, python: str) -> Result:
    with tempfile.TemporaryDirectory() as folder:
        given, made = Path(folder, "given.npz"), Path(folder, "made.npz")
        np.savez(given, rgb=case.rgb, alpha=case.alpha)
        subprocess.run([python, "-c", PYMATTING, str(given), str(made)], check=True)
        with np.load(made) as result:
            return Result(color_error(result["colors"], case), float(result["seconds"]))


def show(result: Result | None) -> str:
    return "–" if result is None else f"{result.error:.1f}, {result.seconds:.2f} s"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pymatting", metavar="PYTHON", help="an interpreter with PyMatting, to compare with it too")
    python = parser.parse_args().pymatting
    cv2.setNumThreads(1)
    backgrounds = {
        "green": np.full((10, 10, 3), (30, 220, 40), np.uint8),
        "a temple": load_sample_image("china.jpg"),
        "leaves": load_sample_image("flower.jpg"),
    }
    lines = []
    for megapixels in SIZES:
        for name, background in backgrounds.items():
            sys.stderr.write(f"{megapixels} MP over {name}\n")
            case = composite(megapixels, background)
            whole = megapixels <= MAX_WHOLE
            cells = (
                f"{megapixels} MP", name, f"{color_error(case.rgb, case):.1f}",
                show(measure(case, blur_fusion) if whole else None),
                show(measure(case, bounded_blur_fusion)),
                show(measure_pymatting(case, python) if whole and python else None),
                show(measure(case, estimate_foreground)),
            )  # fmt: skip
            lines.append(f"| {' | '.join(cells)} |")
    (HERE / "foreground.md").write_text(report(lines))


def report(lines: list[str]) -> str:
    return "\n".join([
        "# Colors of soft edges",
        "",
        "`python -m bench.foreground --pymatting PYTHON` writes this. A disc with 1200 hairs, cut from one photograph,"
        " is composed over a plain color and over two other photographs, so that the subject's own colors are known."
        " Cells are the mean error of the color where the alpha is soft (0 to 255, weighted by the alpha), and seconds"
        f" of one core. {platform.machine()}, Python {platform.python_version()}, shared with other work.",
        "",
        "| picture | background | uncorrected | blur-fusion | blur-fusion at 4 MP | PyMatting | Matte |",
        "|---|---|---|---|---|---|---|",
        *lines,
        "",
        "- **Blur-fusion**: Forte 2021, in the two passes of BiRefNet's authors (boxes of 90, then 6 pixels), and the"
        " same at 4 MP at most and enlarged, which bounds its memory.",
        "- **PyMatting**: `estimate_foreground_ml` (Germer et al. 2020), compiled by Numba.",
        "- **Matte**: the same multi-level method in NumPy, on soft pixels only, at 1 MP at most; a last step in tiles"
        " fits the colors to the picture at its own size. Matte uses it because its error is the lowest; a test holds"
        " its memory at 50 MP below 100 MB beyond the picture and its result.",
        "",
    ])  # fmt: skip


if __name__ == "__main__":
    main()
