"""``python -m bench.uncertainty``: the uncertainty of masks compared with their real error; bench/uncertainty.md.

Subjects of photographs, cut out by the model itself, are put on other backgrounds, so that their true alpha is known
however well they were cut out. Some composites are easy, others have motion blur, hair, little light, colors like the
background's, a second subject, or a small subject. The error of a mask is the soft Jaccard distance to the true alpha,
1 - Σ min / Σ max. The fit is a line through the log-odds of both: two constants of ``analysis/uncertainty.py``.
"""

from __future__ import annotations

import argparse
import platform
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import cv2
import gradio
import numpy as np
from matte_core.contracts.catalog import VersionConfig
from matte_inference.analysis.uncertainty import assess, gray_share
from matte_inference.families.base import Segmenter
from matte_inference.families.registry import load
from matte_inference.pixels.arrays import Float32Array, Pixels, UInt8Array, fit_box
from numpy.typing import NDArray
from skimage import data
from sklearn.datasets import load_sample_image

HERE = Path(__file__).parent
SEED = 7
SIDE = 1200
KINDS = ("plain", "camouflage", "motion blur", "hair", "dark", "second subject", "small")
KINDS_PER_SUBJECT = 3
FloatArray = NDArray[np.float64]


class Measured(NamedTuple):
    subject: str
    kind: str
    gray_share: float
    uncertainty: float
    error: float


def photographs() -> tuple[dict[str, UInt8Array], list[UInt8Array]]:
    """Subjects by name, and backgrounds; all come with packages."""
    folder = Path(gradio.__file__).parent
    subjects = {
        "astronaut": data.astronaut(), "cat": data.chelsea(), "coffee": data.coffee(), "rocket": data.rocket(),
        "flower": load_sample_image("flower.jpg"), "cheetah": _read(folder / "media_assets/images/cheetah1.jpg"),
        "figurine": _read(folder / "media_assets/images/groot.jpeg"),
        "walking cheetah": _read(folder / "test_data/cheetah2.jpg"),
    }  # fmt: skip
    textures = [cv2.cvtColor(picture, cv2.COLOR_GRAY2RGB) for picture in (data.brick(), data.grass(), data.gravel())]
    china, tower = load_sample_image("china.jpg"), _read(folder / "media_assets/images/tower.jpg")
    return subjects, [china, *textures, tower, data.hubble_deep_field()]


def _read(path: Path) -> UInt8Array:
    return np.asarray(cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB), np.uint8)


def mask_of(segmenter: Segmenter, rgb: UInt8Array) -> UInt8Array:
    pixels = Pixels(rgb)
    return segmenter.finish(pixels, segmenter.forward([segmenter.prepare(pixels)])[0])


def composites(segmenter: Segmenter) -> Iterator[tuple[str, str, UInt8Array, FloatArray]]:
    """Name, kind, picture and true alpha."""
    rng = np.random.default_rng(SEED)
    subjects, backgrounds = photographs()
    masks = {name: mask_of(segmenter, rgb) for name, rgb in subjects.items()}
    for number, (name, rgb) in enumerate(subjects.items()):
        for turn in range(KINDS_PER_SUBJECT):
            kind = KINDS[(number * KINDS_PER_SUBJECT + turn) % len(KINDS)]
            background = backgrounds[(number + 2 * turn) % len(backgrounds)]
            other = "cat" if name == "coffee" else "coffee"
            picture, alpha = composite(rgb, masks[name], background, kind, rng, (subjects[other], masks[other]))
            yield name, kind, picture, alpha


def composite(
    rgb: UInt8Array,
    mask: UInt8Array,
    background: UInt8Array,
    kind: str,
    rng: np.random.Generator,
    other: tuple[UInt8Array, UInt8Array],
) -> tuple[UInt8Array, FloatArray]:
    """The picture and its true alpha."""
    height, width = fit_box(mask.shape[0], mask.shape[1], (SIDE, SIDE))
    alpha = np.clip((cv2.resize(mask, (width, height)) / 255 - 0.5) * 1.6 + 0.5, 0, 1)
    colors = fill_outside(cv2.resize(rgb, (width, height), interpolation=cv2.INTER_CUBIC), alpha)
    behind = cover(background, height, width).astype(np.float64)
    if kind == "hair":
        alpha, colors = with_hair(alpha, colors, rng)
    elif kind == "small":
        alpha, colors = shrunk(alpha, colors)
    elif kind == "motion blur":
        alpha, colors = with_motion_blur(alpha, colors)
    elif kind == "camouflage":
        mean = np.average(colors, axis=(0, 1), weights=alpha)
        deviation = np.sqrt(np.average((colors - mean) ** 2, axis=(0, 1), weights=alpha))
        behind = (behind - behind.mean((0, 1))) / (behind.std((0, 1)) + 1e-3) * deviation + mean
    elif kind == "second subject":
        box = (round(width * 0.45), round(height * 0.45))
        share = cv2.resize(other[1], box)[..., None] / 255
        place = behind[: box[1], : box[0]]
        place[:] = cv2.resize(other[0], box) * share + place * (1 - share)
    picture = colors * alpha[..., None] + behind * (1 - alpha[..., None])
    if kind == "dark":
        picture = picture * 0.18 + rng.normal(0, 7, picture.shape)
    return np.clip(picture, 0, 255).astype(np.uint8), alpha


def fill_outside(rgb: UInt8Array, alpha: FloatArray) -> FloatArray:
    """The colors with those of the old background replaced by the subject's nearby."""
    inside: Float32Array = (alpha > 0.9).astype(np.float32)[..., None]
    total, weight = (cv2.GaussianBlur(each, (61, 61), 0) for each in (rgb * inside, inside))
    return np.where(inside > 0, rgb, np.clip(total / np.maximum(weight[..., None], 1e-3), 0, 255)).astype(np.float64)


def cover(picture: UInt8Array, height: int, width: int) -> UInt8Array:
    scale = max(height / picture.shape[0], width / picture.shape[1])
    size = (int(np.ceil(picture.shape[1] * scale)), int(np.ceil(picture.shape[0] * scale)))
    return np.asarray(cv2.resize(picture, size)[:height, :width], np.uint8)


def shrunk(alpha: FloatArray, colors: FloatArray) -> tuple[FloatArray, FloatArray]:
    """The subject at a third of its size."""
    height, width = alpha.shape
    size = (width // 3, height // 3)
    place = (slice(height // 2, height // 2 + size[1]), slice(width // 3, width // 3 + size[0]))
    small, small_colors = np.zeros_like(alpha), np.zeros_like(colors)
    small[place] = cv2.resize(alpha, size, interpolation=cv2.INTER_AREA)
    small_colors[place] = cv2.resize(colors, size, interpolation=cv2.INTER_AREA)
    return small, small_colors


def with_motion_blur(alpha: FloatArray, colors: FloatArray, length: int = 31) -> tuple[FloatArray, FloatArray]:
    kernel = np.zeros((length, length))
    cv2.line(kernel, (0, length // 2 + 6), (length - 1, length // 2 - 6), (1.0,), 1)
    kernel /= kernel.sum()
    blurred = np.clip(cv2.filter2D(alpha, -1, kernel), 0, 1)
    total = cv2.filter2D(colors * alpha[..., None], -1, kernel)
    return blurred, np.clip(total / np.maximum(blurred, 1e-3)[..., None], 0, 255)


def with_hair(alpha: FloatArray, colors: FloatArray, rng: np.random.Generator) -> tuple[FloatArray, FloatArray]:
    """Hairs of a pixel or two, out of the contour, in the color of the place where they start."""
    solid = (alpha > 0.5).astype(np.uint8)
    contour = max(cv2.findContours(solid, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)[0], key=len)[:, 0]
    center = np.argwhere(solid).mean(0)[::-1]
    hairy, colors = np.round(alpha * 255).astype(np.uint8), colors.copy()
    for start in contour[rng.integers(0, len(contour), 350)]:
        angle = np.arctan2(*(start - center)[::-1]) + rng.normal(0, 0.5)
        step = rng.uniform(0.02, 0.09) * SIDE / 8
        angles = angle + np.cumsum(rng.normal(0, 0.15, 8))
        path = start + np.cumsum(step * np.stack([np.cos(angles), np.sin(angles)], axis=1), axis=0)
        points = (np.vstack([start, path]) * 16).astype(np.int32)[None]
        hair = np.zeros_like(hairy)
        level = (int(rng.integers(110, 255)),)
        cv2.polylines(hair, [points[0]], False, level, 1, cv2.LINE_AA, 4)
        color = colors[start[1], start[0]].copy()
        colors[(cv2.dilate(hair, np.ones((3, 3), np.uint8)) > 0) & (hairy < 128)] = color
        hairy = np.maximum(hairy, hair)
    return hairy / 255, colors


def measure(segmenter: Segmenter) -> list[Measured]:
    found = []
    for name, kind, picture, alpha in composites(segmenter):
        mask = mask_of(segmenter, picture)
        error = 1 - np.minimum(mask / 255, alpha).sum() / np.maximum(mask / 255, alpha).sum()
        share = gray_share(np.bincount(mask.ravel(), minlength=256) / mask.size)
        found.append(Measured(name, kind, share, assess(mask).uncertainty, float(error)))
        print(*found[-1], flush=True)
    return found


def fit(found: list[Measured]) -> tuple[float, float]:
    """Midpoint and steepness: least squares of the log-odds of the error over the logarithm of the gray share."""
    errors = np.clip([each.error for each in found], 1e-3, 1 - 1e-3)
    shares = np.log(np.clip([each.gray_share for each in found], 1e-4, 1))
    steepness, offset = np.polyfit(shares, np.log(errors / (1 - errors)), 1)
    return float(np.exp(-offset / steepness)), float(steepness)


def rank_correlation(found: list[Measured]) -> float:
    """Spearman's."""
    uncertainties, errors = [each.uncertainty for each in found], [each.error for each in found]
    ranks = np.array([np.argsort(np.argsort(values)) for values in (uncertainties, errors)])
    return float(np.corrcoef(ranks)[0, 1])


def report(found: list[Measured], name: str) -> str:
    midpoint, steepness = fit(found)
    off = np.abs([each.uncertainty - each.error for each in found])
    lines = [
        "# Uncertainty and error", "",
        f"`python -m bench.uncertainty`: {name} on {len(found)} composites with known alpha"
        f" ({platform.machine()}, seed {SEED}). The error is the soft Jaccard distance to the true alpha.", "",
        f"- Rank correlation (Spearman) of uncertainty and error: **{rank_correlation(found):.2f}**",
        f"- Mean distance of uncertainty and error: {off.mean():.3f}, median {np.median(off):.3f}",
        f"- Fit to these composites: midpoint {midpoint:.3f}, steepness {steepness:.2f}", "",
        "A mask can be sure and wrong: of two subjects, it takes both or the other one, and no edge tells.", "",
        "| subject | composite | gray share | uncertainty | error |", "|---|---|---|---|---|",
    ]  # fmt: skip
    lines += [
        f"| {each.subject} | {each.kind} | {each.gray_share:.3f} | {each.uncertainty:.3f} | {each.error:.3f} |"
        for each in sorted(found, key=lambda each: each.uncertainty)
    ]
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--family", default="onnx")
    parser.add_argument("--source", default="catalog://isnet@1.0.0", help="address or folder of the weights; '': none")
    parser.add_argument("--out", type=Path, default=HERE / "uncertainty.md")
    options = parser.parse_args()
    config = VersionConfig(model="bench", version="1.0.0", family=options.family, source=options.source or None)
    options.out.write_text(report(measure(load(config)), options.source or options.family))


if __name__ == "__main__":
    main()
