"""``make bench-quality``: the local models on composites with known alpha, and Matte beside rembg, picture by picture.

Writes its sections of bench/quality.md.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import time
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

import cv2
from matte_cli.npm import npm_registry
from matte_core.contracts.catalog import VersionConfig
from matte_inference.pixels.arrays import UInt8Array
from matte_registry.errors import RegistryError

from bench.quality import page, parity
from bench.quality.composites import Composite, composites
from bench.quality.measure import MeasureError, run_model
from bench.quality.metrics import score
from bench.quality.page import ModelFigures
from bench.quality.photographs import BACKGROUNDS, SUBJECTS
from bench.quality.rembg_environment import locked_version

DEFAULT_MODELS = ("grabcut@1.0.0", "grabcut@2.0.0", "unet@1.0.0", "unet@2.0.0", "isnet@1.0.0", "isnet@1.1.0")
PICTURES = 24


def log(text: str) -> None:
    sys.stderr.write(f"{time.strftime('%H:%M:%S')} {text}\n")


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.quality", description=__doc__)
    parser.add_argument(
        "--models", default=",".join(DEFAULT_MODELS), metavar="NAME@VERSION,…",
        help="grabcut, unet, or any model of the catalog (%(default)s)",
    )  # fmt: skip
    parser.add_argument("--pictures", type=int, default=PICTURES, metavar="N", help="composites (%(default)s)")
    parser.add_argument("--report", type=Path, default=page.PAGE, metavar="FILE", help="the page (bench/quality.md)")
    parser.add_argument("--save", type=Path, metavar="FOLDER", help="keep composites, truths and cut-outs there")
    parser.add_argument("--only", choices=("models", "parity"), help="write only this section")
    parser.add_argument(
        "--photographs", type=Path, metavar="FOLDER", help="compare with rembg on these instead of the packages' ones"
    )
    parsed = parser.parse_args(arguments)
    if parsed.pictures < 1:
        parser.error("--pictures: at least 1")
    for name in parsed.models.split(","):
        if name.count("@") != 1:
            parser.error(f"--models: {name!r} is not NAME@VERSION, such as isnet@1.0.0")
    return parsed


def configuration(name: str) -> VersionConfig:
    """A version of a built-in family, or of the catalog."""
    model, _, number = name.partition("@")
    threads = os.cpu_count() or 1
    if model in {"grabcut", "unet"}:
        return VersionConfig(model=model, version=number, family=model, threads=threads)
    return VersionConfig(
        model=model, version=number, family="onnx", source=f"catalog://{model}@{number}", threads=threads
    )


def measure(name: str, pictures: Sequence[Composite], save: Path | None) -> ModelFigures:
    """What one model is worth; a failure is part of the report."""
    try:
        run = run_model(
            configuration(name), [each.picture for each in pictures],
            lambda done: log(f"{name}: {done} of {len(pictures)}") if done % 6 == 0 or done == len(pictures) else None,
        )  # fmt: skip
    except MeasureError as error:
        log(f"{name}: {error}")
        return ModelFigures(name, {}, failure=str(error).splitlines()[0])
    scores = {}
    for each, cutout in zip(pictures, run.cutouts, strict=True):
        scores[each.name] = score(cutout, each.alpha, each.foreground)
        if save:
            save_cutout(save, each.name, name, cutout)
    return ModelFigures(name, scores, statistics.median(run.seconds), run.peak)


def name_npm_registry() -> None:
    """Models of the catalog are downloaded from the registry that npm uses, as by the matte command."""
    if "MATTE_NPM_REGISTRY" not in os.environ and (found := npm_registry()):
        os.environ["MATTE_NPM_REGISTRY"] = found


def save_composites(folder: Path, pictures: Sequence[Composite]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for each in pictures:
        (folder / f"{each.name}.png").write_bytes(each.picture)
        cv2.imwrite(str(folder / f"{each.name} alpha.png"), each.alpha)


def save_cutout(folder: Path, picture: str, model: str, cutout: UInt8Array) -> None:
    cv2.imwrite(str(folder / f"{picture} {model}.png"), cv2.cvtColor(cutout, cv2.COLOR_RGBA2BGRA))


def models_part(arguments: argparse.Namespace) -> bool:
    how = page.conditions(*(f"{name} {version(name)}" for name in ("onnxruntime", "opencv-python-headless")))
    log(f"making {arguments.pictures} composites")
    pictures = list(composites(arguments.pictures))
    if arguments.save:
        save_composites(arguments.save, pictures)
    figures = [measure(name, pictures, arguments.save) for name in arguments.models.split(",")]
    sources = [
        f"- {role}: " + "; ".join(f"{name} ({photo.package}, {photo.license})" for name, photo in photos.items()) + "."
        for role, photos in (("Subjects", SUBJECTS), ("Backgrounds", BACKGROUNDS))
    ]
    text = page.models_section(figures, {each.name: each.kind for each in pictures}, how, sources)
    sys.stdout.write(text + "\n")
    page.write_section(arguments.report, "models", text)
    return all(each.scores for each in figures)


def parity_part(arguments: argparse.Namespace) -> bool:
    how = page.conditions(f"onnxruntime {version('onnxruntime')}", f"rembg {locked_version('rembg')}")
    pictures = parity.read_folder(arguments.photographs) if arguments.photographs else parity.photographs()
    try:
        pairs = parity.side_by_side(
            "catalog://isnet@1.0.0", pictures,
            lambda pair: log(f"{pair.name}: IoU {pair.iou:.4f}, Matte {pair.matte:.2f} s, rembg {pair.rembg:.2f} s"),
            arguments.save,
        )  # fmt: skip
    except (MeasureError, RegistryError, RuntimeError) as error:
        log(f"Matte beside rembg: {error}")
        return False
    text = parity.parity_section(pairs, how)
    sys.stdout.write(text + "\n")
    page.write_section(arguments.report, "parity", text)
    return all(pair.iou >= parity.LEAST_IOU for pair in pairs if pair.has_subject)


def main() -> int:
    arguments = parse(sys.argv[1:])
    name_npm_registry()
    parts = {"models": models_part, "parity": parity_part}
    passed = [part(arguments) for name, part in parts.items() if arguments.only in (None, name)]
    return 0 if all(passed) else 1


if __name__ == "__main__":
    sys.exit(main())
