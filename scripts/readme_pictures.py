"""Regenerates the pictures of the README: python scripts/readme_pictures.py [--page URL]

``astronaut.jpg`` in docs/pictures is a photograph, ``astronaut-cutout.png`` the result of grabcut 2.0.0 for that file,
and ``page.png``, with --page, the page of a running Matte with that result, as Chromium shows it.
"""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path

import cv2
from matte_core.contracts.catalog import VersionConfig
from matte_core.contracts.job import Limits
from matte_core.contracts.options import Options
from matte_inference.families.grabcut import load
from matte_inference.replica.stages import decode_job, finish_and_render
from playwright.sync_api import expect, sync_playwright
from skimage import data

FOLDER = Path(__file__).parents[1] / "docs/pictures"
QUALITY = 88
WINDOW_WIDTH, WINDOW_HEIGHT = 1120, 720


def screenshot(url: str, photo: Path) -> bytes:
    """A PNG of the page at ``url`` with the result for a photograph."""
    with sync_playwright() as playwright:
        # the sandbox needs user namespaces, which containers often forbid
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": WINDOW_WIDTH, "height": WINDOW_HEIGHT}, reduced_motion="reduce")
        page.goto(url)
        page.wait_for_selector("#facts .ready")
        page.set_input_files("#files", photo)
        expect(page.locator("#result-title")).to_have_text("Cut-out ready", timeout=30_000)
        return bytes(page.screenshot())


def main() -> None:
    parser = argparse.ArgumentParser(description="Regenerates the pictures of the README.")
    parser.add_argument("--page", metavar="URL", help="address of a running Matte whose page is photographed")
    url = parser.parse_args().page
    FOLDER.mkdir(parents=True, exist_ok=True)
    bgr = cv2.cvtColor(data.astronaut(), cv2.COLOR_RGB2BGR)
    photo = bytes(cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])[1])
    (FOLDER / "astronaut.jpg").write_bytes(photo)
    segmenter = load(VersionConfig(model="grabcut", version="2.0.0", family="grabcut"))
    decoded = decode_job(segmenter, [photo], Limits())
    alpha = segmenter.forward([decoded.prepared])[0]
    cutout = finish_and_render(segmenter, decoded, alpha, Options()).files["result"][0]
    (FOLDER / "astronaut-cutout.png").write_bytes(cutout)
    if url:
        (FOLDER / "page.png").write_bytes(screenshot(url, FOLDER / "astronaut.jpg"))


if __name__ == "__main__":
    main()
