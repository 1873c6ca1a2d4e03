"""Makes the pictures of the README: python scripts/readme_pictures.py [--page URL]

Each ``NAME.jpg`` in docs/pictures is a photograph; its ``NAME-cutout.png`` is what grabcut 2.0.0 makes of that file.
With the URL of a Matte that runs, ``page.png`` is its page with a result, as Chromium shows it.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from pathlib import Path

import cv2
from matte_core.contracts.catalog import VersionConfig
from matte_core.contracts.limits import Limits
from matte_core.contracts.options import Options
from matte_inference.families.grabcut import load
from matte_inference.pixels.types import Bytes
from matte_inference.replica.stages import open_picture, render
from playwright.sync_api import expect, sync_playwright
from skimage import data
from sklearn.datasets import load_sample_image

FOLDER = Path(__file__).parents[1] / "docs/pictures"
WIDTH = 512
QUALITY = 88
#: of the browser's window, pixels
WINDOW = (1120, 720)


def photographs() -> dict[str, Bytes]:
    """The photographs by name, uint8 (H, W, 3) RGB as their packages carry them: nothing is downloaded."""
    return {
        "astronaut": data.astronaut(),
        "coffee": data.coffee(),
        "chelsea": data.chelsea(),
        "flower": load_sample_image("flower.jpg"),
    }


def jpeg(rgb: Bytes) -> bytes:
    """A photograph as a JPEG, at most :data:`WIDTH` pixels wide."""
    height, width = rgb.shape[:2]
    if width > WIDTH:
        rgb = cv2.resize(rgb, (WIDTH, round(height * WIDTH / width)), interpolation=cv2.INTER_AREA)
    bgr = cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR)
    return bytes(cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])[1])


def cutout(photo: bytes) -> bytes:
    """What grabcut 2.0.0 answers to a picture with no options: a PNG with alpha.

    Raises:
        Problem: the bytes are not a sound picture.
    """
    segmenter = load(VersionConfig(model="grabcut", version="2.0.0", family="grabcut"))
    opened = open_picture(segmenter, [photo], Limits())
    alpha = segmenter.forward([opened.prepared])[0]
    return render(segmenter, opened, alpha, Options()).files["result"][0]


def page(url: str, photo: Path) -> bytes:
    """The page of the Matte at ``url`` once it has cut a photograph out, a PNG."""
    width, height = WINDOW
    with sync_playwright() as playwright:
        # the sandbox needs user namespaces, which containers often forbid
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        opened = browser.new_page(viewport={"width": width, "height": height}, reduced_motion="reduce")
        opened.goto(url)
        opened.wait_for_selector("#facts .ready")
        opened.set_input_files("#files", photo)
        expect(opened.locator("#result-title")).to_have_text("Cut-out ready", timeout=30_000)
        return bytes(opened.screenshot())


def main() -> int:
    """Writes every picture; the page only if there is one to show."""
    parser = argparse.ArgumentParser(description="Makes the pictures of the README.")
    parser.add_argument("--page", metavar="URL", help="a Matte that runs: takes a picture of its page")
    url = parser.parse_args().page
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name, rgb in photographs().items():
        photo = jpeg(rgb)
        (FOLDER / f"{name}.jpg").write_bytes(photo)
        (FOLDER / f"{name}-cutout.png").write_bytes(cutout(photo))
    if url:
        (FOLDER / "page.png").write_bytes(page(url, FOLDER / "astronaut.jpg"))
    return 0


if __name__ == "__main__":
    sys.exit(main())
