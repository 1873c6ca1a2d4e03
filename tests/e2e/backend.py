"""Somebody else's Gradio app: keeps the ellipse in the middle. While the file /tmp/hold exists, it answers nobody.

The endpoints beside /cut_out are what bad versions of it would be.
"""

from __future__ import annotations

import itertools
import time
from pathlib import Path

import gradio as gr
from PIL import Image, ImageDraw

HOLD = Path("/tmp/hold")
#: a call of /steady (seconds); /slow takes three times as long in all. Long beside what a busy machine adds to both
STEADY_SECONDS, SLOW_SECONDS = 1.0, 3.2
#: one in so many calls of /failing fails
FAILS = 20
_calls = itertools.count(1)


def _kept(image: Image.Image, left: float, top: float, right: float, bottom: float) -> Image.Image:
    """The ellipse within these shares of the sides."""
    alpha = Image.new("L", image.size, 0)
    width, height = image.size
    ImageDraw.Draw(alpha).ellipse((width * left, height * top, width * right, height * bottom), fill=255)
    cutout = image.convert("RGB")
    cutout.putalpha(alpha)
    return cutout


def cut_out(image: Image.Image) -> Image.Image:
    while HOLD.exists():
        time.sleep(0.2)
    return _kept(image, 0.25, 0.25, 0.75, 0.75)


def failing(image: Image.Image) -> Image.Image:
    if next(_calls) % FAILS == 0:
        raise gr.Error("a bug that shows in one call of twenty")
    return cut_out(image)


def steady(image: Image.Image) -> Image.Image:
    time.sleep(STEADY_SECONDS)
    return cut_out(image)


def slow(image: Image.Image) -> Image.Image:
    time.sleep(SLOW_SECONDS)
    return cut_out(image)


def empty(image: Image.Image) -> Image.Image:
    return _kept(image, 2, 2, 2, 2)


def shifted(image: Image.Image) -> Image.Image:
    return _kept(image, 0.45, 0.25, 0.95, 0.75)


def hungry(image: Image.Image) -> Image.Image:
    """Takes memory until the kernel ends it."""
    taken = [image.tobytes()]
    while True:
        taken.append(b"x" * (16_000_000 + len(taken)))


with gr.Blocks() as app:
    source, target = gr.Image(type="pil"), gr.Image(image_mode=None, format="png")
    for endpoint in (cut_out, failing, steady, slow, empty, shifted, hungry):
        gr.Button().click(endpoint, source, target, api_name=endpoint.__name__, concurrency_limit=16)

app.queue().launch(server_name="0.0.0.0", server_port=7860, quiet=True)
