"""Somebody else's Gradio app: keeps the ellipse in the middle. While the file /tmp/hold exists, it answers nobody."""

from __future__ import annotations

import time
from pathlib import Path

import gradio as gr
from PIL import Image, ImageDraw

HOLD = Path("/tmp/hold")


def cut_out(image: Image.Image) -> Image.Image:
    while HOLD.exists():
        time.sleep(0.2)
    alpha = Image.new("L", image.size, 0)
    width, height = image.size
    ImageDraw.Draw(alpha).ellipse((width * 0.25, height * 0.25, width * 0.75, height * 0.75), fill=255)
    cutout = image.convert("RGB")
    cutout.putalpha(alpha)
    return cutout


with gr.Blocks() as app:
    source, target = gr.Image(type="pil"), gr.Image(image_mode=None, format="png")
    gr.Button().click(cut_out, source, target, api_name="cut_out")

app.queue().launch(server_name="0.0.0.0", server_port=7860, quiet=True)
