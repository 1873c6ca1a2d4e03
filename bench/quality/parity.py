"""Matte beside rembg on the same ONNX file, with rembg's own constants in ``matte.yaml``: mask by mask, in one run."""

from __future__ import annotations

import contextlib
import os
import statistics
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from matte_core.contracts.catalog import VersionConfig
from matte_inference.analysis.masks import THRESHOLD, iou
from matte_registry.policy import VerificationPolicy
from matte_registry.registry import Registry

from bench.quality.measure import ModelProcess, decode_rgba
from bench.quality.photographs import BACKGROUNDS, SUBJECTS
from bench.quality.rembg_environment import rembg_python

#: masks below this differ by more than rounding
LEAST_IOU = 0.995
#: photographs of a texture. rembg's min-max stretches the faintest output over them to a full alpha; Matte's does not
WITHOUT_SUBJECT = frozenset({"bricks", "grass", "gravel", "stars"})
#: what rembg's session ``dis_custom`` does, in the words of matte.yaml
REMBG_METADATA = """\
family: onnx
version: 1.0.0
license: Apache-2.0
size: 1024
mean: [0.5, 0.5, 0.5]
std: [1.0, 1.0, 1.0]
preprocessing: {resize: stretch, filter: lanczos, scale: max}
postprocessing: {activation: none, normalize: min-max, refine: none}
parameters: {file: model.onnx, output: output}
"""


@dataclass(frozen=True, slots=True)
class Pair:
    """One picture cut by both. ``iou``: of the masks at half alpha, at full size; ``difference``: the mean of alpha's,
    0 … 1; seconds are from the file's bytes to the PNG's.
    """

    name: str
    megapixels: float
    iou: float
    difference: float
    matte: float
    rembg: float

    @property
    def has_subject(self) -> bool:
        return self.name not in WITHOUT_SUBJECT


@contextlib.contextmanager
def model_folder(source: str) -> Iterator[Path]:
    """A folder with the ONNX file of a source and rembg's constants: a version of Matte, and rembg's ``U2NET_HOME``."""
    with tempfile.TemporaryDirectory(prefix="matte-rembg-") as name:
        folder, ready = Path(name), Registry().ensure(source, VerificationPolicy())
        try:
            (folder / "model.onnx").write_bytes((ready.folder / "model.onnx").read_bytes())
        finally:
            ready.release()
        (folder / "matte.yaml").write_text(REMBG_METADATA)
        yield folder


def rembg_environment(folder: Path) -> dict[str, str]:
    """``OMP_NUM_THREADS`` sets rembg's threads: as many as Matte's."""
    return os.environ | {"U2NET_HOME": str(folder), "OMP_NUM_THREADS": str(os.cpu_count() or 1)}


class Rembg:
    """rembg's library in its own process."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._process = subprocess.Popen(
            [rembg_python(), Path(__file__).with_name("rembg_worker.py"), folder / "model.onnx"],
            env=rembg_environment(folder), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1,
        )  # fmt: skip
        self._answer()

    def cut(self, picture: bytes) -> tuple[float, bytes]:
        """Seconds, and the cut-out: a PNG."""
        source, target = self._folder / "picture", self._folder / "cutout.png"
        source.write_bytes(picture)
        assert self._process.stdin is not None
        self._process.stdin.write(f"{source}\t{target}\n")
        return float(self._answer()), target.read_bytes()

    def _answer(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"rembg ended with status {self._process.wait()}")
        return line

    def close(self) -> None:
        self._process.terminate()
        self._process.wait()


def photographs() -> Mapping[str, bytes]:
    """Every photograph of the packages, as a PNG."""
    return {
        name: bytes(cv2.imencode(".png", cv2.cvtColor(photo.read(), cv2.COLOR_RGB2BGR))[1])
        for name, photo in (*SUBJECTS.items(), *BACKGROUNDS.items())
    }


def compare(name: str, matte: tuple[float, bytes], rembg: tuple[float, bytes]) -> Pair:
    """Two cut-outs of one picture, each with its seconds."""
    one, other = decode_rgba(matte[1])[..., 3], decode_rgba(rembg[1])[..., 3]
    difference = float(cv2.absdiff(np.ascontiguousarray(one), np.ascontiguousarray(other)).mean()) / 255
    agreed = iou(one >= THRESHOLD, other >= THRESHOLD)
    return Pair(name, one.size / 1e6, agreed, difference, matte[0], rembg[0])


def side_by_side(
    source: str, pictures: Mapping[str, bytes], on_pair: Callable[[Pair], None], save: Path | None = None
) -> list[Pair]:
    """Each picture by one and then by the other, in alternating order. Raises MeasureError or RuntimeError."""
    config = VersionConfig(model="isnet", version="1.0.0", family="onnx", threads=os.cpu_count() or 1)
    pairs = []
    with (
        model_folder(source) as folder,
        contextlib.closing(ModelProcess(config.model_copy(update={"source": str(folder)}))) as matte,
        contextlib.closing(Rembg(folder)) as rembg,
    ):
        rembg.cut(next(iter(pictures.values())))  # the first one also initializes; Matte's model is warmed up
        for number, (name, picture) in enumerate(pictures.items()):
            if number % 2:
                matte_result = matte.cut(picture)
                rembg_result = rembg.cut(picture)
            else:
                rembg_result = rembg.cut(picture)
                matte_result = matte.cut(picture)
            pairs.append(compare(name, matte_result, rembg_result))
            on_pair(pairs[-1])
            if save:
                save.mkdir(parents=True, exist_ok=True)
                (save / f"{name} matte.png").write_bytes(matte_result[1])
                (save / f"{name} rembg.png").write_bytes(rembg_result[1])
    return pairs


def parity_section(pairs: Sequence[Pair], how: str) -> str:
    judged = [pair for pair in pairs if pair.has_subject]
    least = min(judged, key=lambda pair: pair.iou)
    ratio = statistics.median(pair.rembg / pair.matte for pair in pairs)
    lines = [
        f"""## Matte beside rembg, picture by picture

{how}

rembg's session `dis_custom` and Matte's family `onnx` on the same file, `catalog://isnet@1.0.0`, with rembg's constants
in `matte.yaml`: Lanczos to 1024², divided by the picture's maximum, mean 0.5, min-max, no refinement. Both from the
file's bytes to a PNG, in turn on one machine, with the same number of threads.

**Least IoU {least.iou:.4f} ({least.name}), and {sum(pair.iou >= LEAST_IOU for pair in judged)} of {len(judged)} at \
{LEAST_IOU} or above. rembg takes {ratio:.2f} times as long (median).** Pictures without a subject do not count: there \
rembg stretches the faintest output to a full alpha, and Matte leaves it faint.

| picture | megapixels | IoU | mean difference of alpha | seconds, Matte | seconds, rembg |
|---|---|---|---|---|---|"""
    ]
    for pair in pairs:
        name = pair.name if pair.has_subject else f"{pair.name} (no subject)"
        lines.append(
            f"| {name} | {pair.megapixels:.2f} | {pair.iou:.4f} | {pair.difference:.4f} | {pair.matte:.2f} "
            f"| {pair.rembg:.2f} |"
        )
    return "\n".join(lines)


def read_folder(folder: Path) -> dict[str, bytes]:
    """The pictures of a folder of one's own."""
    suffixes = {".jpg", ".jpeg", ".png", ".webp"}
    return {path.stem: path.read_bytes() for path in sorted(folder.iterdir()) if path.suffix.lower() in suffixes}
