"""Another team's Gradio app: picture in, cut-out (or something else) out. ``python remote_app.py PORT SECONDS``."""

from __future__ import annotations

import sys
import time

import gradio as gr
from PIL import Image, ImageDraw

SECONDS = float(sys.argv[2])


def remove_background(image: Image.Image) -> Image.Image:
    """The ellipse in the middle is kept."""
    time.sleep(SECONDS)
    alpha = Image.new("L", image.size, 0)
    width, height = image.size
    ImageDraw.Draw(alpha).ellipse((width * 0.25, height * 0.25, width * 0.75, height * 0.75), fill=255)
    cutout = image.convert("RGB")
    cutout.putalpha(alpha)
    return cutout


def mask(image: Image.Image) -> Image.Image:
    return remove_background(image).getchannel("A")


def photograph(image: Image.Image) -> Image.Image:
    return image.convert("RGB")


def words(_image: Image.Image) -> str:
    return "a cat"


def broken(_image: Image.Image) -> Image.Image:
    raise gr.Error("no GPU today")


with gr.Blocks() as app:
    for function in (remove_background, mask, photograph, broken):
        source = gr.Image(type="pil")
        target = gr.Image(image_mode=None, format="png")
        gr.Button().click(function, source, target, api_name=function.__name__, concurrency_limit=4)
    gr.Button().click(words, gr.Image(type="pil"), gr.Textbox(), api_name="words")

app.queue().launch(server_name="127.0.0.1", server_port=int(sys.argv[1]), quiet=True, show_error=True)
