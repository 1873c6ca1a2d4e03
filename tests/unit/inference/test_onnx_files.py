"""ONNX files that cannot be served: each is refused with its cause and the fix, and leaves no memory behind."""

from __future__ import annotations

import ctypes
import gc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from matte_core.contracts.catalog import VersionConfig
from matte_core.contracts.registry import Reason
from matte_inference.families.base import Segmenter, WeightsError
from matte_inference.families.onnx_file import external_files
from matte_inference.families.registry import load
from matte_inference.memory import resident_bytes
from matte_inference.pixels.arrays import Pixels
from matte_operator.domain.deploy_errors import parse_deploy_error
from onnx import ModelProto, TensorProto, helper
from tiny_onnx import channel, external, folder, model, node, tensor

WEIGHTS = np.eye(1, 3, dtype=np.float32).reshape(1, 3, 1, 1)
IN, OUT = {"picture": [1, 3, 32, 32]}, {"alpha": [1, 1, 32, 32]}
CONV = node("Conv", ["picture", "w"], "alpha")


def read(path: Path, **parameters: object) -> Segmenter:
    return load(VersionConfig(model="m", version="1.0.0", family="onnx", source=str(path), parameters=parameters))


def elsewhere(location: str) -> ModelProto:
    return model([CONV], inputs=IN, outputs=OUT, tensors=[external("w", WEIGHTS, location)])


def huge_tensor() -> ModelProto:
    weights = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[1, 3, 1 << 20, 1 << 20], raw_data=bytes(12))
    return model([CONV], inputs=IN, outputs={"alpha": None}, tensors=[weights])


def one_op(op: str, *, domain: str = "", opset: int = 17) -> ModelProto:
    made = node(op, ["picture"], "alpha", domain=domain)
    return model([made], inputs=IN, outputs={"alpha": None}, opset=opset, domains=[domain] if domain else [])


def two_inputs() -> ModelProto:
    return model(
        [node("Add", ["picture", "hint"], "alpha")], inputs={**IN, "hint": [1, 3, 32, 32]}, outputs={"alpha": None}
    )


BAD: dict[str, tuple[Callable[[], ModelProto | bytes], Reason, str]] = {
    "empty": (lambda: b"", Reason.WEIGHTS_UNUSABLE, "it is empty: publish the file again"),
    "HTML": (
        lambda: b"\n<!DOCTYPE html><html><title>404</title></html>", Reason.WEIGHTS_UNUSABLE,
        "it is a web page: its address serves a page in place of the file. Correct the address",
    ),
    "Git LFS": (
        lambda: b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", Reason.WEIGHTS_UNUSABLE,
        "it is a pointer of Git LFS, not the file: run git lfs pull",
    ),
    "another format": (lambda: b"GIF89a" + bytes(99), Reason.WEIGHTS_UNUSABLE, "it is not an ONNX file"),
    "truncated": (
        lambda: channel(0).SerializeToString()[:-30], Reason.WEIGHTS_UNUSABLE,
        "it is damaged, 24 bytes or more are missing: the download or the export was cut off. Publish it again",
    ),
    "zeros": (lambda: bytes(1000), Reason.WEIGHTS_UNUSABLE, "damaged, or not an ONNX file: publish it again"),
    "opset": (
        lambda: one_op("Relu", opset=99), Reason.WEIGHTS_UNUSABLE, "it needs opset 99, but onnxruntime has at most "
    ),
    "old opset": (
        lambda: model(
            [node("Upsample", ["picture"], "alpha", height_scale=2.0, width_scale=2.0)], inputs=IN,
            outputs={"alpha": None}, opset=1,
        ),
        Reason.WEIGHTS_UNUSABLE, "onnxruntime does not implement its operator Upsample of opset 1",
    ),
    "version of the format": (
        lambda: model([CONV], inputs=IN, outputs=OUT, tensors=[tensor("w", WEIGHTS)], ir_version=99),
        Reason.WEIGHTS_UNUSABLE, "it has version 99 of the format, but at most ",
    ),
    "custom operator": (
        lambda: one_op("Magic", domain="com.example"), Reason.WEIGHTS_UNUSABLE,
        "it uses the operator com.example:Magic, which onnxruntime does not have. Custom operators are not loaded",
    ),
    "unknown operator": (
        lambda: one_op("Magic"), Reason.WEIGHTS_UNUSABLE, "it uses the operator Magic, which opset 17 does not have"
    ),
    "two inputs": (two_inputs, Reason.WEIGHTS_UNUSABLE, "it has 2 inputs (picture, hint), and one is needed"),
    "no picture": (
        lambda: model([node("Relu", ["x"], "y")], inputs={"x": [1, 1, 32, 32]}, outputs={"y": None}),
        Reason.WEIGHTS_UNUSABLE,
        "its input 'x' is tensor(float) (1, 1, 32, 32), but must be float (1, 3, height, width)",
    ),
    "one open side": (
        lambda: channel(0, width="w"), Reason.WEIGHTS_UNUSABLE, "export it with both sides fixed, or both open"
    ),
    "huge input": (
        lambda: channel(0, height=1 << 20, width=1 << 20), Reason.WEIGHTS_UNUSABLE, "at most 8192 pixels a side"
    ),
    "huge tensor": (huge_tensor, Reason.WEIGHTS_UNUSABLE, "its tensor w claims 13194139533312 bytes, which it"),
    "open size": (
        lambda: channel(0, height="h", width="w"), Reason.METADATA_INVALID,
        "the file leaves the size of its input open: set size in matte.yaml",
    ),
    "missing weights": (
        lambda: elsewhere("gone.onnx_data"), Reason.WEIGHTS_MISSING,
        "its weights are in 'gone.onnx_data', which the version lacks: publish it too",
    ),
    "short weights": (
        lambda: elsewhere("short.onnx_data"), Reason.WEIGHTS_UNUSABLE, "its file of weights is shorter than it says"
    ),
    "weights that the digest does not cover": (
        lambda: elsewhere("short.weights"), Reason.FILE_REFUSED,
        "'short.weights', which is not a part of a version: export it as one file, or call that file model.onnx_data",
    ),
    "weights outside": (
        lambda: elsewhere("../outside.onnx_data"), Reason.FILE_REFUSED, "which leads out of the version's folder"
    ),
    "weights anywhere": (
        lambda: elsewhere("/etc/passwd"), Reason.FILE_REFUSED, "which leads out of the version's folder"
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_a_bad_file_is_refused_with_its_cause_and_the_fix(case: str, tmp_path: Path) -> None:
    make, reason, text = BAD[case]
    path = folder(tmp_path / "version", make())
    for name in ("short.onnx_data", "short.weights", "../outside.onnx_data"):
        (path / name).write_bytes(bytes(4))
    with pytest.raises(WeightsError) as refused:
        read(path)
    message = str(refused.value)
    assert message.startswith(f"{reason}: m-1-0-0: model.onnx: ")
    assert text in message
    assert "\n" not in message
    assert str(tmp_path) not in message
    # as it comes out of Serve, and becomes the condition of a ModelVersion
    trace = f'Traceback:\n  File "x.py", line 1, in load\nmatte_inference.families.base.WeightsError: {message}'
    assert parse_deploy_error(trace) == (reason, message.removeprefix(f"{reason}: "))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"size": 64}, "the file fixes its input at 32 × 32: correct size 64, or leave it out"),
        ({"size": 32, "preprocessing": {"multiple": 8}}, "the file fixes its input at 32 × 32: leave out multiple"),
        ({"parameters": {"output": "beta"}}, "it has no output 'beta', but alpha: correct output"),
    ],
)
def test_a_matte_yaml_that_does_not_fit_the_file(fields: dict[str, object], message: str, tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=f"^MetadataInvalid: m-1-0-0: model.onnx: {message}"):
        read(folder(tmp_path, channel(0), **fields))


def test_a_multiple_larger_than_the_size(tmp_path: Path) -> None:
    path = folder(tmp_path, channel(0, height="h", width="w"), size=32, preprocessing={"multiple": 64})
    with pytest.raises(WeightsError, match="size 32 is smaller than multiple 64"):
        read(path)


@pytest.mark.parametrize("file", ["other.onnx", "../model.onnx", "matte.yaml/../model.onnx", "/etc/passwd"])
def test_a_file_that_is_not_there_is_named_beside_those_that_are(file: str, tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"^WeightsMissing: .*no such file \(ONNX files: model\.onnx\): correct"):
        read(folder(tmp_path, channel(0)), file=file)


def test_another_digest_is_refused(tmp_path: Path) -> None:
    path = folder(tmp_path, channel(0))
    with pytest.raises(WeightsError, match=r"^DigestMismatch: m-1-0-0: "):
        read(path, digest="sha256:" + "0" * 64)
    digest = read(path).digest
    (path / "model.onnx").write_bytes(channel(1).SerializeToString())
    with pytest.raises(WeightsError, match=r"^DigestMismatch: m-1-0-0: "):
        read(path, digest=digest)


@pytest.mark.parametrize("name", ["model.onnx_data", "model.onnx.data"])
def test_weights_beside_the_file_are_read_and_covered_by_the_digest(name: str, tmp_path: Path) -> None:
    path = folder(tmp_path, elsewhere(name), postprocessing={"activation": "none"}, mean=[0] * 3, std=[1] * 3)
    (path / name).write_bytes(WEIGHTS.tobytes())
    loaded = read(path)
    white = Pixels(np.full((40, 40, 3), 255, np.uint8))
    assert (loaded.forward([loaded.prepare(white)])[0] == 1).all()
    (path / name).write_bytes((WEIGHTS / 2).tobytes())
    changed = read(path)
    assert (changed.forward([changed.prepare(white)])[0] == 0.5).all()
    assert changed.digest != loaded.digest


def test_external_data_is_found_wherever_a_graph_can_have_it(tmp_path: Path) -> None:
    def in_graph(location: str) -> ModelProto:
        return model([], inputs={}, outputs={}, tensors=[external("w", WEIGHTS, location)])

    branches = [
        helper.make_graph([node("Constant", [], "y", value=external("v", WEIGHTS, name))], name, [], [])
        for name in ("then", "else")
    ]
    nested = node("If", ["c"], "y", then_branch=branches[0], else_branch=branches[1])
    several = helper.make_node(
        "Many", [], ["y"], tensors=[external("v", WEIGHTS, "one"), external("v", WEIGHTS, "two")]
    )
    made = model([nested, several], inputs={}, outputs={}, tensors=[external("w", WEIGHTS, "w"), tensor("x", [1.0])])
    constant = node("Constant", [], "y", value=external("v", WEIGHTS, "function"))
    made.functions.append(helper.make_function("d", "f", [], ["y"], [constant], made.opset_import))
    sparse = helper.make_sparse_tensor(external("v", WEIGHTS, "values"), external("i", WEIGHTS, "indices"), [3])
    made.graph.sparse_initializer.append(sparse)
    path = tmp_path / "model.onnx"
    path.write_bytes(made.SerializeToString())
    assert external_files(path) == {"then", "else", "one", "two", "w", "function", "values", "indices"}
    path.write_bytes(in_graph("only").SerializeToString())
    assert external_files(path) == {"only"}


def test_fifty_bad_files_leave_no_memory_behind(tmp_path: Path) -> None:
    """Each is 16 MB: 50 that stay would be 800 MB."""
    weights = tensor("big", np.random.default_rng(0).random((4, 1 << 20), np.float32))
    good = model([CONV], inputs=IN, outputs=OUT, tensors=[tensor("w", WEIGHTS), weights])
    custom = one_op("Magic", domain="com.example")
    custom.graph.initializer.append(weights)
    two = two_inputs()
    two.graph.initializer.append(weights)
    bad = [
        folder(tmp_path / str(number), content)
        for number, content in enumerate((custom, two, good.SerializeToString()[: 8 << 20]))
    ]

    def refuse_all(times: int) -> None:
        for number in range(times):
            with pytest.raises(WeightsError):
                read(bad[number % len(bad)])

    def settled() -> int:
        gc.collect()
        ctypes.CDLL(None).malloc_trim(0)
        return resident_bytes()

    refuse_all(len(bad))  # what onnxruntime and the allocator keep for good
    before = settled()
    refuse_all(50)
    assert settled() - before < 50e6
