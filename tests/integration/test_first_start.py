"""The first start of a model whose weights are elsewhere: who answers meanwhile, what is told, and the next start."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import onnx
import pytest
from integration.registry.standins import HubServer
from jobs import picture
from matte_jobs.embedded import EmbeddedRedis
from matte_registry.registry import Registry
from onnx import TensorProto, helper, numpy_helper
from served import eventually
from stack import Stack

pytestmark = [pytest.mark.integration, pytest.mark.timeout(1200)]

CONFIG = """
default_model: cut
fallback_model: grabcut
versions:
- {{model: cut, version: 1.0.0, family: onnx, source: "{source}", digest: "{digest}", weight: 100}}
- {{model: broken, version: 1.0.0, family: onnx, source: "{broken}", weight: 100}}
- {{model: grabcut, version: 2.0.0, family: grabcut, weight: 100}}
"""
METADATA = b"family: onnx\nlicense: Apache-2.0\nmean: [0, 0, 0]\nstd: [1, 1, 1]\npostprocessing: {activation: none}\n"
BLOCK_BYTES = 1 << 16


def network() -> bytes:
    """An ONNX file of 1 MB whose alpha is the brightness of the picture."""
    ballast = np.random.default_rng(0).random((512, 512), np.float32)
    nodes = [
        helper.make_node("ReduceMean", ["input"], ["mean"], axes=[1], keepdims=1),
        helper.make_node("ReduceMean", ["ballast"], ["level"], keepdims=0),
        helper.make_node("Sub", ["level", "level"], ["zero"]),
        helper.make_node("Add", ["mean", "zero"], ["output"]),
    ]
    graph = helper.make_graph(
        nodes, "brightness",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, (1, 3, 64, 64))],
        [helper.make_tensor_value_info("output", TensorProto.FLOAT, (1, 1, 64, 64))],
        [numpy_helper.from_array(ballast, "ballast")],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())


def write(folder: Path, weights: bytes) -> Path:
    folder.mkdir()
    (folder / "matte.yaml").write_bytes(METADATA)
    (folder / "model.onnx").write_bytes(weights)
    return folder


@dataclass
class FirstStart:
    """A stack with an empty cache, and the hub that has the default model's weights."""

    stack: Stack
    hub: HubServer

    def start(self) -> None:
        self.stack.start_inference()

    def end(self) -> float:
        """Ends inference as Ctrl-C does; returns the seconds that it took."""
        assert self.stack.inference is not None
        began = time.monotonic()
        self.stack.inference.send_signal(signal.SIGTERM)
        assert self.stack.inference.wait(60) == 0
        return time.monotonic() - began

    def log(self) -> str:
        return (self.stack.folder / "inference.log").read_text()

    def catalog(self) -> dict[str, Any]:
        answer = httpx.get(f"{self.stack.url}/models")
        return dict(answer.json()) if answer.is_success else {"models": []}

    def version(self, model: str) -> dict[str, Any]:
        found = [each["versions"][0] for each in self.catalog()["models"] if each["name"] == model]
        return dict(found[0]) if found else {"ready": False, "download": None}

    def download(self, model: str = "cut") -> dict[str, Any]:
        return self.version(model)["download"] or {"done": 0, "total": 0, "error": None}

    def answered_by(self) -> str:
        answer = httpx.post(f"{self.stack.url}/predict", content=picture(1), timeout=60)
        assert answer.status_code == 200, answer.text
        return str(answer.headers["X-Model"])


@pytest.fixture
def first_start(tmp_path: Path) -> Iterator[FirstStart]:
    good = write(tmp_path / "good", network())
    broken = write(tmp_path / "broken", network()[:5000])
    files = {path.name: path.read_bytes() for path in good.iterdir()}
    with HubServer().running() as hub:
        assert isinstance(hub, HubServer)
        source = f"hf://o/m@{hub.commit(files)}"
        config = tmp_path / "models.yaml"
        digest = Registry().check_folder(good).digest
        config.write_text(CONFIG.format(source=source, digest=digest, broken=broken))
        redis = EmbeddedRedis(tmp_path / "redis")
        redis.start()
        environment = {
            **redis.environment,
            "MATTE_CONFIG": str(config),
            "MATTE_HUB_URL": hub.url,
            "MATTE_CACHE_DIR": str(tmp_path / "cache"),
            "MATTE_DOWNLOAD_BLOCK_BYTES": str(BLOCK_BYTES),
            "MATTE_DOWNLOAD_PARALLEL": "1",
            "MATTE_DOWNLOAD_ATTEMPTS": "1",
            "MATTE_ANNOUNCE_SECONDS": "1",
            "MATTE_CATALOG_SECONDS": "0",
        }
        stack = Stack(tmp_path, redis, environment)
        try:
            stack.add_frontend()
            yield FirstStart(stack, hub)
        finally:
            stack.stop()


def soon(check: Callable[[], Any]) -> None:
    eventually(check, 240)


def test_the_fallback_answers_until_the_download_is_loaded(first_start: FirstStart) -> None:
    stack, hub = first_start.stack, first_start.hub

    # away: the fallback answers, and the reason is told
    hub.failures = 10**6
    first_start.start()
    soon(lambda: httpx.get(f"{stack.url}/readyz").is_success)
    assert first_start.answered_by() == "grabcut"
    soon(lambda: "SourceUnavailable: " in (first_start.download()["error"] or ""))
    catalog = first_start.catalog()
    assert (catalog["default_model"], catalog["pending_default_model"]) == ("grabcut", "cut")
    assert "cut-1-0-0: SourceUnavailable: " in first_start.log()

    # weights that cannot be loaded are told too, and disturb nobody
    soon(lambda: first_start.download("broken")["error"])
    assert "model.onnx" in first_start.download("broken")["error"]
    soon(lambda: "matte-inference: ready" in first_start.log())
    assert first_start.answered_by() == "grabcut"

    # a job for the model that is awaited waits in the queue
    job = httpx.post(f"{stack.url}/v1/jobs?model=cut", content=picture(2), timeout=60).json()
    assert (job["state"], job["eta_seconds"]) == ("queued", None)

    # back, but slow: the download moves, and ends with the process
    hub.failures, hub.seconds_per_piece = 0, 0.5
    assert stack.inference is not None
    stack.inference.send_signal(signal.SIGHUP)  # does not wait for the next attempt
    soon(lambda: 3 * BLOCK_BYTES <= first_start.download()["done"] < first_start.download()["total"])
    assert first_start.download()["error"] is None
    assert first_start.end() < 20
    before = hub.served["model.onnx"]
    assert before >= 3 * BLOCK_BYTES

    # the next start resumes it, moves the default model, and answers what waited
    hub.seconds_per_piece = 0
    first_start.start()
    soon(lambda: first_start.catalog().get("default_model") == "cut")
    assert first_start.catalog()["pending_default_model"] is None
    assert first_start.download() == {"done": 0, "total": 0, "error": None}
    assert first_start.answered_by() == "cut"
    again = hub.served["model.onnx"] - before
    size = len(network())
    assert again <= size - 2 * BLOCK_BYTES, "it was downloaded from the beginning"
    soon(lambda: httpx.get(f"{stack.url}/v1/jobs/{job['id']}").json()["state"] == "succeeded")
    first_start.end()
