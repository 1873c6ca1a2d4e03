"""End users: pictures that go in, masks that come out, without a pause and without a second try."""

from __future__ import annotations

import contextlib
import io
import statistics
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

import httpx
from e2e.objects import MAIN
from PIL import Image, ImageDraw

SIDE = 96


def picture(side: int = SIDE) -> bytes:
    """A red disc on blue, as PNG."""
    image = Image.new("RGB", (side, side), (40, 90, 200))
    ImageDraw.Draw(image).ellipse([side * 0.25, side * 0.25, side * 0.75, side * 0.75], fill=(220, 40, 30))
    body = io.BytesIO()
    image.save(body, "PNG")
    return body.getvalue()


def wrong(cutout: bytes, side: int = SIDE) -> str:
    """Why this is not the disc, cut out; '': it is."""
    image = Image.open(io.BytesIO(cutout))
    if image.size != (side, side) or image.mode not in {"RGBA", "LA"}:
        return f"{image.mode} {image.size}"
    alpha = image.getchannel("A")
    middle, corner = alpha.getpixel((side // 2, side // 2)), alpha.getpixel((2, 2))
    return "" if (middle, corner) == (255, 0) else f"alpha in the middle {middle}, in the corner {corner}"


def predict(client: httpx.Client, path: str = f"/models/{MAIN}/predict") -> bytes:
    """A cut-out.

    Raises:
        httpx.HTTPError: no answer, or a status that is none.
    """
    answer = client.post(path, content=picture(), headers={"Content-Type": "image/png"})
    if answer.is_error:
        text = f"{answer.status_code}: {answer.text[:500]}"
        raise httpx.HTTPStatusError(text, request=answer.request, response=answer)
    return answer.content


@dataclass
class Traffic:
    """What became of the requests."""

    seconds: list[float] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)

    def summary(self) -> str:
        p50 = statistics.median(self.seconds) if self.seconds else 0.0
        slowest = max(self.seconds, default=0.0)
        return f"{len(self.seconds)} requests, {len(self.failures)} failed, p50 {p50:.2f} s, slowest {slowest:.2f} s"


@contextlib.contextmanager
def flowing(
    url: str, path: str = f"/models/{MAIN}/predict", *, users: int = 3, pause: float = 0.3
) -> Iterator[Traffic]:
    """Traffic while the block runs; half the users keep their connection, the others make one per picture.

    Each waits for ``pause`` seconds between two pictures.
    """
    traffic, over = Traffic(), threading.Event()
    threads = [threading.Thread(target=_user, args=(url, path, traffic, over, pause, i % 2 == 0)) for i in range(users)]
    for thread in threads:
        thread.start()
    try:
        yield traffic
    finally:
        over.set()
        for thread in threads:
            thread.join()


def _user(url: str, path: str, traffic: Traffic, over: threading.Event, pause: float, keep: bool) -> None:
    headers = {} if keep else {"Connection": "close"}
    with httpx.Client(base_url=url, timeout=120, headers=headers) as client:
        while not over.is_set():
            began = time.monotonic()
            try:
                if problem := wrong(predict(client, path)):
                    traffic.failures.append(problem)
            except httpx.HTTPError as error:
                traffic.failures.append(f"{type(error).__name__}: {error}")
            traffic.seconds.append(time.monotonic() - began)
            over.wait(pause)
