"""BiRefNet: the published network's values, the published checkpoints' names, and checkpoints that are not."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from birefnet_reference import SMALL, filled, picture
from matte_core.contracts.catalog import VersionConfig
from matte_inference.families.birefnet import Parameters, build_network, read_tensors
from matte_inference.families.birefnet_net import BiRefNet, PatchOrder, patches
from matte_inference.families.registry import load
from matte_inference.families.swin_net import SWIN_L, SWIN_T, SwinShape
from matte_inference.families.torch_common import OneChannelSegmenter
from matte_inference.pixels.arrays import Pixels
from matte_registry.folder import hashed
from safetensors.torch import save_file
from torch import Tensor

DATA = Path(__file__).parents[2] / "data"
SHAPE = SwinShape(SMALL["embed_dim"], tuple(SMALL["depths"]), tuple(SMALL["num_heads"]), SMALL["window_size"])
PUBLISHED: dict[str, dict[str, list[int]]] = json.loads((DATA / "birefnet_tensors.json").read_text())
RGB = np.random.default_rng(0).integers(0, 256, (70, 50, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def tensors() -> dict[str, Tensor]:
    return filled(BiRefNet(SHAPE).state_dict())


@pytest.fixture(scope="module")
def expected() -> Tensor:
    with np.load(DATA / "birefnet_logits.npz", allow_pickle=False) as stored:
        return torch.from_numpy(stored["logits"])


def logits(tensors: dict[str, Tensor], order: PatchOrder = "channels") -> Tensor:
    with torch.inference_mode():
        out: Tensor = build_network(tensors, "these", order).eval()(picture())
    return out


# --- against the published implementation -------------------------------------------------------------------------


def test_the_same_values_as_the_published_implementation(tensors: dict[str, Tensor], expected: Tensor) -> None:
    assert expected.std() > 0.2  # there is something to miss
    assert (logits(tensors) - expected).abs().max() < 1e-4


@pytest.mark.parametrize(("name", "shape"), [("swin_v1_t", SWIN_T), ("swin_v1_l", SWIN_L)])
def test_the_names_and_shapes_of_the_published_checkpoints(name: str, shape: SwinShape) -> None:
    with torch.device("meta"):
        built = BiRefNet(shape).state_dict()
    assert {key: list(tensor.shape) for key, tensor in built.items()} == PUBLISHED[name]
    assert SwinShape.of({key: tuple(size) for key, size in PUBLISHED[name].items()}) == shape


def test_older_checkpoints_want_their_patches_by_columns(tensors: dict[str, Tensor], expected: Tensor) -> None:
    """The same network, its first convolutions permuted, with the older order: the same values."""
    moved = dict(tensors)
    for level, side in ((5, 32), (4, 16), (3, 8), (2, 4)):
        name = f"decoder.ipt_blk{level}.conv1.weight"
        by_channel = tensors[name].reshape(64, 3, side, side, 3, 3)  # color, row, column
        moved[name] = by_channel.permute(0, 3, 2, 1, 4, 5).flatten(1, 3).contiguous()
    assert torch.allclose(logits(moved, "columns"), expected, atol=1e-4)
    assert not torch.allclose(logits(moved), expected, atol=1e-2)


def test_patches_by_columns_are_those_of_the_older_code() -> None:
    whole = picture()
    like = torch.zeros(2, 1, 16, 24)
    columns = torch.split(whole, 24, dim=3)
    older = torch.cat([tile for column in columns for tile in torch.split(column, 16, dim=2)], dim=1)
    assert torch.equal(patches(whole, like, "columns"), older)


def test_pictures_of_a_batch_do_not_meet(tensors: dict[str, Tensor], expected: Tensor) -> None:
    network = build_network(tensors, "these").eval()
    with torch.inference_mode():
        alone = network(picture()[1:])
    assert torch.allclose(alone, expected[1:], atol=1e-4)


# --- the family ---------------------------------------------------------------------------------------------------


def saved(tensors: dict[str, Tensor], folder: Path) -> Path:
    save_file({name: tensor.clone() for name, tensor in tensors.items()}, folder / "model.safetensors")
    return folder


def version(folder: Path, **parameters: Any) -> OneChannelSegmenter:
    config = VersionConfig(
        model="bi", version="1.0.0", family="birefnet", source=str(folder), parameters={"size": 64} | parameters
    )
    loaded = load(config)
    assert isinstance(loaded, OneChannelSegmenter)
    return loaded


def test_a_folder_of_the_published_kind_runs_and_its_code_does_not(tensors: dict[str, Tensor], tmp_path: Path) -> None:
    saved(tensors, tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({"auto_map": {"AutoModel": "birefnet.BiRefNet"}}))
    (tmp_path / "birefnet.py").write_text("raise SystemExit('executed')")
    segmenter = version(tmp_path, size=[96, 64], refine="guided")
    pixels = Pixels(RGB)
    prepared = segmenter.prepare(pixels)
    assert prepared.shape == (3, 96, 64)
    alpha = segmenter.forward([prepared])[0]
    assert alpha.shape == (96, 64)
    assert 0 < alpha.min() < alpha.max() < 1
    assert segmenter.finish(pixels, alpha).shape == (70, 50)
    assert segmenter.digest == hashed(tmp_path).digest
    assert not segmenter.remote


def test_half_precision_and_the_names_of_training(tensors: dict[str, Tensor], expected: Tensor, tmp_path: Path) -> None:
    half = {f"module._orig_mod.{k}": v.half() if v.is_floating_point() else v for k, v in tensors.items()}
    read = read_tensors(saved(half, tmp_path) / "model.safetensors")
    assert read.keys() == tensors.keys()
    assert {tensor.dtype for tensor in read.values()} == {torch.float32, torch.int64}
    assert torch.allclose(logits(read), expected, atol=0.02)


def test_positions_are_never_the_files(tensors: dict[str, Tensor], expected: Tensor) -> None:
    name = "bb.layers.0.blocks.0.attn.relative_position_index"
    wild = tensors | {name: torch.full_like(tensors[name], 10_000)}
    assert torch.allclose(logits(wild), expected, atol=1e-4)


def _without(names: tuple[str, ...]) -> Callable[[dict[str, Tensor]], dict[str, Tensor]]:
    return lambda tensors: {name: tensor for name, tensor in tensors.items() if name not in names}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_without(("decoder.conv_out1.0.bias",)), "1 missing: decoder.conv_out1.0.bias"),
        (_without(("bb.patch_embed.proj.weight",)), "no bb.patch_embed.proj.weight"),
        (lambda t: t | {"decoder.extra": torch.zeros(1)}, "1 unknown: decoder.extra"),
        (lambda t: t | {"bb.norm0.bias": torch.zeros(3)}, r"1 of another shape: bb.norm0.bias \(3,\) instead of \(16,"),
        (lambda _: {"conv.weight": torch.zeros(1)}, "no weights of a BiRefNet"),
        (lambda t: {k: v for k, v in t.items() if k.startswith("bb.")}, r"missing: decoder\.\S+, .*, …$"),
    ],
)  # fmt: skip
def test_other_weights_are_refused_by_name(
    change: Callable[[dict[str, Tensor]], dict[str, Tensor]], message: str, tensors: dict[str, Tensor], tmp_path: Path
) -> None:
    saved(change(tensors), tmp_path)
    with pytest.raises(ValueError, match=message):
        version(tmp_path)


def test_broken_and_absent_files(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="NoWeights"):
        version(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"\x80\x04pickle")
    with pytest.raises(ValueError, match="not a sound safetensors file"):
        version(tmp_path)


@pytest.mark.parametrize("wrong", [{"size": 100}, {"size": [64, 8192]}, {"patches": "rows"}, {"threshold": 1}])
def test_wrong_parameters(wrong: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        version(tmp_path, **wrong)


def test_the_size_is_that_of_training() -> None:
    assert Parameters().shape == (1024, 1024)
