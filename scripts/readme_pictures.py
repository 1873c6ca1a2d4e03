"""Regenerates docs/pictures/page.png: python scripts/readme_pictures.py URL

The page of a running Matte with its result for a photograph, as Chromium shows it. The README's other pictures are
those of docs/gallery.md, which scripts/gallery.py makes.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
from pathlib import Path

import cv2
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
        expect(page.locator("#result-title")).to_have_text("Cut-out ready", timeout=60_000)
        return bytes(page.screenshot())


def main() -> None:
    parser = argparse.ArgumentParser(description="Regenerates docs/pictures/page.png.")
    parser.add_argument("url", metavar="URL", help="address of a running Matte whose page is photographed")
    url = parser.parse_args().url
    with tempfile.TemporaryDirectory() as folder:
        photo = Path(folder) / "astronaut.jpg"
        bgr = cv2.cvtColor(data.astronaut(), cv2.COLOR_RGB2BGR)
        cv2.imwrite(str(photo), bgr, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])
        (FOLDER / "page.png").write_bytes(screenshot(url, photo))


if __name__ == "__main__":
    main()
