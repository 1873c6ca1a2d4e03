"""Versions in the cluster's S3 server, published by ``matte models push`` as people do it."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import onnx
from e2e import objects
from e2e.kube import CommandError, Kube, forwarded
from onnx import TensorProto, helper, numpy_helper

#: side of the network's input, in pixels
_SIDE = 64
METADATA = f"""family: onnx
version: {{version}}
license: {{license}}
size: {_SIDE}
postprocessing: {{{{activation: none}}}}
card: {{{{title: The subject is what is red rather than blue}}}}
"""


def color_key(gain: float) -> bytes:
    """A network whose alpha is ``gain`` × (red − blue), clipped to 0 … 1: exact for the suite's red disc on blue.

    It takes a fraction of a millisecond, so that thousands of pictures measure the way to a network, and not a network.
    """
    shape = [1, 3, _SIDE, _SIDE]
    weights = np.array([gain, 0, -gain], np.float32).reshape(1, 3, 1, 1)
    graph = helper.make_graph(
        [
            helper.make_node("Conv", ["picture", "weights"], ["difference"]),
            helper.make_node("Clip", ["difference", "low", "high"], ["alpha"]),
        ],
        "color_key",
        [helper.make_tensor_value_info("picture", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("alpha", TensorProto.FLOAT, [1, 1, _SIDE, _SIDE])],
        [
            numpy_helper.from_array(weights, "weights"),
            numpy_helper.from_array(np.array(0, np.float32), "low"),
            numpy_helper.from_array(np.array(1, np.float32), "high"),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())


def publish_main(kube: Kube) -> None:
    """The versions of the suite's main model."""
    licenses = {objects.NOT_ALLOWED: "CC-BY-NC-4.0"}
    for version, gain in (("1.0.0", 4.0), ("1.1.0", 5.0), (objects.NOT_ALLOWED, 5.0)):
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            (folder / "model.onnx").write_bytes(color_key(gain))
            (folder / "matte.yaml").write_text(
                METADATA.format(version=version, license=licenses.get(version, objects.LICENSE))
            )
            push(kube, str(folder), objects.source(objects.MAIN, version))


def push(kube: Kube, version: str, source: str) -> None:
    """``matte models push VERSION SOURCE``; the version is a folder or one of the catalog.

    Raises:
        CommandError: the command failed; the text is what it said.
    """
    command = [sys.executable, "-m", "matte_cli", "models", "push", version, source]
    with forwarded(kube.namespace, "service/store", objects.STORE_PORT) as address:
        environment = os.environ | objects.store_credentials(address)
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=600)
    if done.returncode:
        raise CommandError(f"matte models push {version} {source}: {done.stderr.strip() or done.stdout.strip()}")
