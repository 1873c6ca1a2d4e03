"""Real IS-Net on a real photograph, beside onnxruntime with its own defaults."""

from __future__ import annotations

import numpy as np
import onnxruntime
import pytest
from matte_core.contracts.catalog import VersionConfig
from matte_inference.families.onnx import has_subject
from matte_inference.families.registry import load
from matte_inference.memory import resident_bytes
from matte_inference.pixels.arrays import Pixels, resize
from skimage import data
from weights import known_model

#: bytes that the process may hold more after the pictures than after the first one
_GROWTH = 100e6


@pytest.mark.timeout(600)
def test_isnet_cuts_out_the_cat_as_onnxruntime_alone_does_in_flat_memory() -> None:
    ready = known_model("catalog://isnet@1.0.0")
    try:
        path = str(ready.folder)
        loaded = load(VersionConfig(model="isnet", version="1.0.0", family="onnx", source=path, threads=2))
        session = onnxruntime.InferenceSession(f"{path}/model.onnx", providers=["CPUExecutionProvider"])
    finally:
        ready.release()
    rgb = np.ascontiguousarray(data.chelsea())
    pixels = Pixels(rgb)
    (alpha,) = loaded.forward([loaded.prepare(pixels)])
    # the published constants: (x - 128) / 256
    tensor = (resize(rgb, 1024, 1024).astype(np.float32).transpose(2, 0, 1)[None] - 128) / 256
    expected = session.run(["output"], {"input": tensor})[0][0, 0]
    assert np.abs(alpha - expected).max() < 0.01
    assert has_subject(np.asarray(alpha, np.float32))
    full = loaded.finish(pixels, alpha)
    assert full.shape == rgb.shape[:2]
    assert full[150, 200] > 250  # between the eyes
    assert full[:20, :20].max() < 10  # the corner behind the cat
    del session
    before = resident_bytes()
    for height in (200, 700):
        other = Pixels(resize(rgb, height, 600))
        loaded.forward([loaded.prepare(other)])
    assert resident_bytes() - before < _GROWTH
