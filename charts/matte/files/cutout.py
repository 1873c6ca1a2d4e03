"""What `helm test` runs: cuts out a picture through the Service and looks at the pixels. Argument: the URL."""

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


class NotYetError(Exception):
    """It may come: the frontend or its models start."""


def picture() -> bytes:
    """A red disc before a blue background, as PNG."""
    image = Image.new("RGB", (SIZE, SIZE), (40, 90, 200))
    ImageDraw.Draw(image).ellipse((64, 64, 192, 192), fill=(220, 40, 30))
    body = io.BytesIO()
    image.save(body, "PNG")
    return body.getvalue()


def call(method: str, path: str, body: bytes | None = None) -> bytes:
    """The body of a good answer."""
    connection = http.client.HTTPConnection(urlsplit(sys.argv[1]).netloc, timeout=120)
    try:
        connection.request(method, path, body, {"Content-Type": "image/png"} if body else {})
        answer = connection.getresponse()
        content = answer.read()
    except OSError as error:
        raise NotYetError(error) from error
    if answer.status in {429, 502, 503, 504}:
        raise NotYetError(f"{answer.status} {content[:2000]!r}")
    if answer.status != 200:
        sys.exit(f"{method} {path}: {answer.status} {content[:2000]!r}")
    return content


def cut_out() -> Image.Image:
    """By the default model, else by the first one."""
    catalog: dict[str, Any] = json.loads(call("GET", "/models"))
    names = [model["name"] for model in catalog["models"]]
    if not names:
        raise NotYetError("there is no model")
    model = catalog.get("default_model") or names[0]
    return Image.open(io.BytesIO(call("POST", f"/models/{model}/predict?output=cutout", picture())))


def main() -> None:
    """Tries until it works or the time is over."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    while True:
        try:
            result = cut_out()
            break
        except NotYetError as error:
            log.info("not yet: %s", error)
            if time.monotonic() > DEADLINE:
                sys.exit("nothing was cut out in time")
            time.sleep(3)
    if result.mode != "RGBA" or result.size != (SIZE, SIZE):
        sys.exit(f"expected {SIZE} × {SIZE} pixels with alpha, got {result.mode} {result.size}")
    counts = result.getchannel("A").histogram()
    transparent, opaque = (sum(part) / SIZE**2 for part in (counts[:50], counts[200:]))
    if min(transparent, opaque) < 0.05:
        sys.exit(f"nothing is cut out: {transparent:.0%} is transparent, {opaque:.0%} opaque")
    log.info("cut out: %.0f %% is transparent, %.0f %% opaque", 100 * transparent, 100 * opaque)


main()
