"""ONNX versions on a real Ray Serve: a bad one says why, and disturbs no other."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import httpx
import numpy as np
import pytest
from served import eventually
from skimage import data
from stack import Stack, running
from tiny_onnx import channel, folder, model, node

pytestmark = [pytest.mark.integration, pytest.mark.timeout(400)]

CONFIG = """
default_model: net
versions:
- {{model: net, version: 1.0.0, family: onnx, source: {folder}/good, weight: 100, slots: 2}}
- {{model: net, version: 2.0.0, family: onnx, source: {folder}/operator, weight: 0}}
- {{model: net, version: 3.0.0, family: onnx, source: {folder}/cut, weight: 0}}
- {{model: net, version: 4.0.0, family: onnx, source: {folder}/flat, weight: 0}}
"""
#: what each of the others says
REASONS = {
    "2.0.0": "WeightsUnusable: net-2-0-0: model.onnx: it uses the operator com.example:Magic",
    "3.0.0": "WeightsUnusable: net-3-0-0: model.onnx: it is damaged",
    "4.0.0": "WeightsUnusable: net-4-0-0: model.onnx: its output has 3 channels",
}


def write_versions(path: Path) -> None:
    plain: dict[str, Any] = {"mean": [0.0] * 3, "std": [1.0] * 3, "postprocessing": {"activation": "none"}}
    inputs = {"picture": [1, 3, 32, 32]}
    folder(path / "good", channel(0, height=64, width=64), **plain)
    magic = node("Magic", ["picture"], "alpha", domain="com.example")
    folder(path / "operator", model([magic], inputs=inputs, outputs={"alpha": None}, domains=["com.example"]))
    folder(path / "cut", channel(0).SerializeToString()[:-30])
    flat = model([node("GlobalAveragePool", ["picture"], "alpha")], inputs=inputs, outputs={"alpha": None})
    folder(path / "flat", flat)


def errors(stack: Stack) -> dict[str, str | None]:
    """By version, why it does not run."""
    versions = httpx.get(f"{stack.url}/models/net").json()["versions"]
    return {each["version"]: (each["download"] or {}).get("error") for each in versions}


def test_bad_versions_say_why_and_disturb_no_other(tmp_path: Path) -> None:
    write_versions(tmp_path)
    photo = data.astronaut()[:300, :200]
    jpeg = cv2.imencode(".jpg", cv2.cvtColor(photo, cv2.COLOR_RGB2BGR))[1].tobytes()
    with running(tmp_path / "stack", config=CONFIG.format(folder=tmp_path)) as stack:
        eventually(lambda: all(errors(stack)[version] for version in REASONS), 120)
        for version, reason in REASONS.items():
            assert reason in str(errors(stack)[version])
        assert errors(stack)["1.0.0"] is None
        for _ in range(3):
            answer = httpx.post(
                f"{stack.url}/predict", content=jpeg, headers={"Content-Type": "image/jpeg"}, timeout=60
            )
            assert answer.status_code == 200, answer.text
            assert answer.headers["X-Model-Version"] == "1.0.0"
        decoded = cv2.imdecode(np.frombuffer(answer.content, np.uint8), cv2.IMREAD_UNCHANGED)
        assert decoded is not None
        assert decoded.shape == (300, 200, 4)
        assert (
            np.abs(decoded[..., 3].astype(float) - photo[..., 0]).mean() < 25
        )  # the network's alpha is the red channel
