"""Run by `helm test`: cuts out a picture through the Service and checks the pixels. Argument: the URL."""

import http.client
import io
import json
import logging
import sys
import time
from typing import Any
from urllib.parse import urlsplit

from PIL import Image, ImageDraw

SIZE = 256
DEADLINE = time.monotonic() + 240
log = logging.getLogger("helm-test")


class NotReadyError(Exception):
    """The frontend or its models are still starting."""


def picture() -> bytes:
    """A red disc on a blue background, as PNG."""
    image = Image.new("RGB", (SIZE, SIZE), (40, 90, 200))
    ImageDraw.Draw(image).ellipse((64, 64, 192, 192), fill=(220, 40, 30))
    body = io.BytesIO()
    image.save(body, "PNG")
    return body.getvalue()


def call(method: str, path: str, body: bytes | None = None) -> bytes:
    """The body of a 200 response. Raises NotReadyError if a retry can help."""
    connection = http.client.HTTPConnection(urlsplit(sys.argv[1]).netloc, timeout=120)
    try:
        connection.request(method, path, body, {"Content-Type": "image/png"} if body else {})
        answer = connection.getresponse()
        content = answer.read()
    except OSError as error:
        raise NotReadyError(error) from error
    if answer.status in {429, 502, 503, 504}:
        raise NotReadyError(f"{answer.status} {content[:2000]!r}")
    if answer.status != 200:
        sys.exit(f"{method} {path}: {answer.status} {content[:2000]!r}")
    return content


def cut_out() -> Image.Image:
    """The result of the default model, or of the first one if there is no default."""
    catalog: dict[str, Any] = json.loads(call("GET", "/models"))
    names = [model["name"] for model in catalog["models"]]
    if not names:
        raise NotReadyError("no model is served")
    model = catalog.get("default_model") or names[0]
    return Image.open(io.BytesIO(call("POST", f"/models/{model}/predict?output=cutout", picture())))


def main() -> None:
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    while True:
        try:
            result = cut_out()
            break
        except NotReadyError as error:
            log.info("not ready: %s", error)
            if time.monotonic() > DEADLINE:
                sys.exit("timed out before a picture was cut out")
            time.sleep(3)
    if result.mode != "RGBA" or result.size != (SIZE, SIZE):
        sys.exit(f"expected {SIZE} × {SIZE} pixels with alpha, got {result.mode} {result.size}")
    counts = result.getchannel("A").histogram()
    transparent, opaque = (sum(part) / SIZE**2 for part in (counts[:50], counts[200:]))
    if min(transparent, opaque) < 0.05:
        sys.exit(f"the result is no cut-out: {transparent:.0%} transparent, {opaque:.0%} opaque")
    log.info("success: %.0f %% transparent, %.0f %% opaque", 100 * transparent, 100 * opaque)


main()
