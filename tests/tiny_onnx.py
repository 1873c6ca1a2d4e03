"""Tiny ONNX graphs, and folders of versions with them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

FLOAT = int(TensorProto.FLOAT)
#: an open side, or an open batch
Side = int | str


def node(op: str, inputs: Sequence[str], output: str, **attributes: Any) -> NodeProto:
    return helper.make_node(op, list(inputs), [output], **attributes)


def tensor(name: str, values: Any, dtype: Any = np.float32) -> TensorProto:
    return numpy_helper.from_array(np.asarray(values, dtype), name)


def model(
    nodes: Sequence[NodeProto], *, inputs: Mapping[str, Sequence[Side]], outputs: Mapping[str, Sequence[Side] | None],
    tensors: Sequence[TensorProto] = (), opset: int = 17, domains: Sequence[str] = (), ir_version: int = 9,
    kind: int = FLOAT,
) -> ModelProto:  # fmt: skip
    made = helper.make_graph(
        nodes, "tiny",
        [helper.make_tensor_value_info(name, kind, list(shape)) for name, shape in inputs.items()],
        [helper.make_tensor_value_info(name, kind, None if s is None else list(s)) for name, s in outputs.items()],
        list(tensors),
    )  # fmt: skip
    opsets = [helper.make_opsetid("", opset), *(helper.make_opsetid(domain, 1) for domain in domains)]
    return helper.make_model(made, opset_imports=opsets, ir_version=ir_version)


def channel(number: int, *, height: Side = 32, width: Side = 32, batch: Side = 1, kind: int = FLOAT) -> ModelProto:
    """A network whose output ``alpha`` is one channel of its input ``picture``."""
    weights = np.zeros((1, 3, 1, 1), np.float16 if kind == TensorProto.FLOAT16 else np.float32)
    weights[0, number] = 1
    return model(
        [node("Conv", ["picture", "w"], "alpha")],
        inputs={"picture": [batch, 3, height, width]}, outputs={"alpha": [batch, 1, height, width]},
        tensors=[tensor("w", weights, weights.dtype)], kind=kind,
    )  # fmt: skip


def external(name: str, values: NDArray[Any], location: str) -> TensorProto:
    """A tensor whose values are in another file."""
    made = tensor(name, values, values.dtype)
    made.ClearField("raw_data")
    made.data_location = TensorProto.EXTERNAL
    for key, value in {"location": location, "offset": "0", "length": str(values.nbytes)}.items():
        made.external_data.add(key=key, value=value)
    return made


def folder(path: Path, content: ModelProto | bytes, **fields: Any) -> Path:
    """A version's folder with the network, and with a ``matte.yaml`` of the fields."""
    path.mkdir(parents=True, exist_ok=True)
    data = content if isinstance(content, bytes) else content.SerializeToString()
    (path / "model.onnx").write_bytes(data)
    (path / "matte.yaml").write_text(yaml.safe_dump({"family": "onnx", "license": "MIT"} | fields))
    return path
