"""The families that need torch: the bundled U-Net, models of transformers, and batches that go wrong."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from matte_core.contracts.catalog import VersionConfig
from matte_core.errors import Problem
from matte_inference.families.base import Alpha, LocalSegmenter, Prepared, WeightsError, to_size
from matte_inference.families.hf import Parameters, query_probabilities
from matte_inference.families.registry import load
from matte_inference.families.torch_common import OneChannelSegmenter, inference_mode, to_arrays, to_tensor
from matte_inference.families.unet import MODELS
from matte_inference.pixels.arrays import Pixels, UInt8Array
from matte_inference.replica.forwarder import forward_safely
from matte_registry.folder import hashed
from synth import sample
from torch import Tensor, nn
from transformers import (
    DetrConfig,
    Mask2FormerConfig,
    Mask2FormerForUniversalSegmentation,
    MaskFormerConfig,
    MaskFormerForInstanceSegmentation,
    PreTrainedModel,
    SegformerConfig,
    SegformerForSemanticSegmentation,
    SwinConfig,
)

PICTURE = Pixels(np.random.default_rng(0).integers(0, 256, (70, 50, 3), dtype=np.uint8))
VERSIONS = ("1.0.0", "2.0.0")


def unet(version: str = "2.0.0", source: Path | None = None, **parameters: Any) -> OneChannelSegmenter:
    config = VersionConfig(
        model="unet", version=version, family="unet", source=source and str(source), parameters=parameters
    )
    loaded = load(config)
    assert isinstance(loaded, OneChannelSegmenter)
    return loaded


# --- the U-Net ----------------------------------------------------------------------------------------------------


def iou(segmenter: OneChannelSegmenter, seeds: Sequence[int]) -> float:
    scores = []
    for seed in seeds:
        rgb, truth = sample(seed, 256)
        pixels = Pixels(rgb)
        alpha = segmenter.finish(pixels, segmenter.forward([segmenter.prepare(pixels)])[0])
        one, two = alpha > 127, truth > 127
        scores.append((one & two).sum() / max(1, (one | two).sum()))
    return float(np.mean(scores))


def test_the_second_version_is_better_and_the_cards_say_what_is_true() -> None:
    seeds = range(1_000_000_000, 1_000_000_005)
    first, second = (iou(unet(version), seeds) for version in VERSIONS)
    assert second > first + 0.05
    published = [float(re.search(r"IoU \| \*\*([\d.]+)", card(v)).group(1)) for v in VERSIONS]  # type: ignore[union-attr]
    assert published[1] > published[0] + 0.05
    assert second == pytest.approx(published[1], abs=0.15)


def card(version: str) -> str:
    return (MODELS / f"unet-{version}" / "MODEL_CARD.md").read_text()


@pytest.mark.parametrize("version", VERSIONS)
def test_weights_are_small_and_named_in_the_card(version: str) -> None:
    folder = MODELS / f"unet-{version}"
    assert (folder / "model.safetensors").stat().st_size <= 2_000_000
    stated = re.search(r"sha256:([0-9a-f]{64})", (folder / "matte.yaml").read_text())
    assert stated is not None
    assert stated[1] in card(version)


def test_a_batch_answers_as_its_pictures_do_alone() -> None:
    segmenter = unet()
    batch = [segmenter.prepare(Pixels(sample(seed, 128)[0])) for seed in (1, 2, 3)]
    together = segmenter.forward(batch)
    for item, alpha in zip(batch, together, strict=True):
        assert alpha.shape == (256, 256)
        assert np.allclose(segmenter.forward([item])[0], alpha, atol=1e-4)


def test_finish_is_at_the_pictures_size_refined_or_not() -> None:
    for segmenter in (unet(), unet(refine="guided")):
        alpha = segmenter.finish(PICTURE, segmenter.forward([segmenter.prepare(PICTURE)])[0])
        assert alpha.shape == (70, 50)
        assert alpha.dtype == np.uint8


@pytest.fixture
def copied(tmp_path: Path) -> Path:
    return Path(shutil.copytree(MODELS / "unet-1.0.0", tmp_path / "unet"))


def test_weights_that_differ_are_refused(copied: Path) -> None:
    weights = copied / "model.safetensors"
    good = weights.read_bytes()
    weights.write_bytes(good[:-1] + bytes([good[-1] ^ 1]))
    with pytest.raises(ValueError, match="refusing to load"):
        unet(source=copied)
    weights.write_bytes(good)
    digest = unet(source=copied).digest
    assert digest == hashed(copied).digest == unet("1.0.0").digest
    assert unet(source=copied, digest=digest).digest == digest
    with pytest.raises(WeightsError, match=r"^DigestMismatch: unet-2-0-0: .*refusing it"):
        unet(source=copied, digest="sha256:" + "0" * 64)
    pinned = VersionConfig(model="unet", version="2.0.0", family="unet", source=str(copied), digest=digest)
    assert load(pinned).digest == digest
    with pytest.raises(WeightsError, match=r"DigestMismatch.*parameters\.digest"):
        load(pinned.model_copy(update={"parameters": {"digest": "sha256:" + "0" * 64}}))


def test_the_digest_covers_what_decides_and_not_the_card(copied: Path) -> None:
    before = hashed(copied).digest
    (copied / "MODEL_CARD.md").write_text("other words")
    assert hashed(copied).digest == before
    (copied / "matte.yaml").write_text((copied / "matte.yaml").read_text() + "\n")
    assert hashed(copied).digest != before


def test_no_folder_no_family_no_parameter() -> None:
    with pytest.raises(WeightsError, match=r"^WeightsMissing: unet-9-9-9: there is no folder"):
        unet("9.9.9")
    with pytest.raises(ValueError, match="unknown parameter"):
        unet(sise=3)
    with pytest.raises(ValueError, match="unknown family"):
        load(VersionConfig(model="x", version="1.0.0", family="magic"))


def test_without_torch_grabcut_works_and_unet_says_what_to_do() -> None:
    program = """
import sys
sys.modules["torch"] = None
from matte_core.contracts.catalog import VersionConfig
from matte_inference.families.registry import load
load(VersionConfig(model="g", version="2.0.0", family="grabcut"))
for family in ("unet", "transformers"):
    try:
        load(VersionConfig(model="u", version="1.0.0", family=family, source="."))
    except RuntimeError as error:
        print(error)
"""
    paths = {"PYTHONPATH": ":".join(sys.path)}
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, env=paths)
    assert run.stdout.count("make run TORCH=1") == 2


# --- batches that go wrong ----------------------------------------------------------------------------------------

POISON, HUGE, EMPTY = 7.0, 9.0, 5.0


class Fragile(nn.Module):
    """A convolution that fails for a marked input, and runs out of memory beyond a number of items."""

    def __init__(self, room: int) -> None:
        super().__init__()
        self.layer, self.room = nn.Conv2d(3, 1, 1), room
        self.calls: list[int] = []

    def forward(self, x: Tensor) -> Tensor:
        self.calls.append(len(x))
        marks = x[:, 0, 0, 0]
        if len(x) > self.room or (marks == HUGE).any():
            raise torch.OutOfMemoryError("CUDA out of memory")
        if (marks == POISON).any():
            raise RuntimeError("device-side assert")
        out: Tensor = self.layer(x)
        return torch.where((marks == EMPTY)[:, None, None, None], torch.nan, out)


class FragileSegmenter(LocalSegmenter):
    digest = "sha256:0"
    device = "cpu"

    def __init__(self, room: int = 8) -> None:
        self.network = Fragile(room).eval()

    def prepare(self, pixels: Pixels) -> Prepared:
        return np.ascontiguousarray(pixels.rgb.transpose(2, 0, 1).astype(np.float32))

    def forward(self, batch: Sequence[Prepared]) -> list[Alpha]:
        with inference_mode(self.device):
            return [*to_arrays(self.network(to_tensor(batch, self.device))[:, 0])]

    def finish(self, pixels: Pixels, alpha: Alpha) -> UInt8Array:
        return to_size(pixels, alpha, guided=False)


def items(*marks: float) -> list[Prepared]:
    return [np.full((3, 4, 4), mark, np.float32) for mark in marks]


def codes(outcomes: Sequence[Alpha | Problem]) -> list[str]:
    return [outcome.code if isinstance(outcome, Problem) else "ok" for outcome in outcomes]


def test_only_the_guilty_item_fails() -> None:
    segmenter = FragileSegmenter()
    outcomes = forward_safely(segmenter, items(0, 1, POISON, 2, EMPTY))
    assert codes(outcomes) == ["ok", "ok", "internal_error", "ok", "internal_error"]
    alone = segmenter.forward(items(2))[0]
    assert isinstance(outcomes[3], np.ndarray)
    assert np.array_equal(outcomes[3], alone)


def test_out_of_memory_halves_until_it_fits() -> None:
    segmenter = FragileSegmenter(room=2)
    outcomes = forward_safely(segmenter, items(0, 1, 2, 3, 4))
    assert codes(outcomes) == ["ok"] * 5
    assert segmenter.network.calls == [5, 3, 2, 1, 2]


def test_an_item_too_large_alone_is_a_clean_503() -> None:
    outcomes = forward_safely(FragileSegmenter(), items(0, HUGE, 1, 2))
    assert codes(outcomes) == ["ok", "out_of_memory", "ok", "ok"]
    problem = outcomes[1]
    assert isinstance(problem, Problem)
    assert problem.status == 503


def test_memory_and_poison_together() -> None:
    outcomes = forward_safely(FragileSegmenter(room=3), items(0, POISON, 1, HUGE, 2, 3, POISON, 4))
    assert codes(outcomes) == ["ok", "internal_error", "ok", "out_of_memory", "ok", "ok", "internal_error", "ok"]


# --- transformers -------------------------------------------------------------------------------------------------


def segformer(labels: int) -> PreTrainedModel:
    sizes = {"depths": [1] * 4, "hidden_sizes": [8, 8, 16, 16], "num_attention_heads": [1, 1, 2, 2]}
    return SegformerForSemanticSegmentation(SegformerConfig(num_labels=labels, decoder_hidden_size=16, **sizes))


def swin() -> SwinConfig:
    stages = ["stage1", "stage2", "stage3", "stage4"]
    return SwinConfig(
        image_size=64, embed_dim=8, depths=[1] * 4, num_heads=[1, 1, 2, 2], window_size=4, out_features=stages
    )


def maskformer() -> PreTrainedModel:
    decoder = DetrConfig(
        d_model=32, encoder_layers=1, decoder_layers=1, encoder_ffn_dim=16, decoder_ffn_dim=16,
        encoder_attention_heads=2, decoder_attention_heads=2, num_queries=5,
    )  # fmt: skip
    return MaskFormerForInstanceSegmentation(
        MaskFormerConfig(
            backbone_config=swin(), decoder_config=decoder, fpn_feature_size=32, mask_feature_size=32, num_labels=4
        )
    )


def mask2former() -> PreTrainedModel:
    sizes = {"feature_size": 32, "mask_feature_size": 32, "hidden_dim": 32, "num_queries": 5, "num_labels": 4}
    layers = {"encoder_layers": 1, "encoder_feedforward_dim": 16, "dim_feedforward": 16, "decoder_layers": 2}
    return Mask2FormerForUniversalSegmentation(
        Mask2FormerConfig(backbone_config=swin(), num_attention_heads=2, **sizes, **layers)
    )


def loaded(folder: Path, **parameters: Any) -> Any:
    config = VersionConfig(
        model="hf", version="1.0.0", family="transformers", source=str(folder), parameters={"size": 64} | parameters
    )
    return load(config)


MAKERS: dict[str, tuple[Callable[[], PreTrainedModel], dict[str, Any]]] = {
    "semantic-one-label": (lambda: segformer(1), {}),
    "semantic-background": (lambda: segformer(3), {"background": 0}),
    "semantic-foreground": (lambda: segformer(3), {"foreground": [1, 2]}),
    "maskformer": (maskformer, {"foreground": [1]}),
    "mask2former": (mask2former, {"background": 0}),
}


@pytest.mark.parametrize("name", MAKERS)
def test_native_models_from_a_folder(name: str, tmp_path: Path) -> None:
    make, parameters = MAKERS[name]
    torch.manual_seed(0)
    make().save_pretrained(tmp_path)
    segmenter = loaded(tmp_path, **parameters)
    other = Pixels(np.ascontiguousarray(PICTURE.rgb[::-1]))
    first, second = segmenter.forward([segmenter.prepare(PICTURE), segmenter.prepare(other)])
    assert first.min() >= 0
    assert first.max() <= 1
    assert not np.array_equal(first, second)
    assert segmenter.finish(PICTURE, first).shape == (70, 50)
    assert segmenter.digest == hashed(tmp_path).digest


def test_foreground_and_background_of_one_model_agree(tmp_path: Path) -> None:
    segformer(3).save_pretrained(tmp_path)
    one, two = loaded(tmp_path, background=0), loaded(tmp_path, foreground=[1, 2])
    assert np.allclose(one.forward([one.prepare(PICTURE)])[0], two.forward([two.prepare(PICTURE)])[0], atol=1e-5)


def test_the_preprocessors_size_and_colors_are_used(tmp_path: Path) -> None:
    segformer(1).save_pretrained(tmp_path)
    (tmp_path / "preprocessor_config.json").write_text(
        json.dumps({"size": {"height": 96, "width": 96}, "image_mean": [0, 0, 0], "image_std": [1, 1, 1]})
    )
    config = VersionConfig(model="hf", version="1.0.0", family="transformers", source=str(tmp_path))
    prepared = load(config).prepare(PICTURE)
    assert prepared.shape == (3, 96, 96)
    assert 0 <= prepared.min() < prepared.max() <= 1


@pytest.mark.parametrize("file", ["config.json", "preprocessor_config.json"])
def test_code_in_a_folder_is_refused(file: str, tmp_path: Path) -> None:
    segformer(1).save_pretrained(tmp_path)
    path = tmp_path / file
    content = json.loads(path.read_text()) if path.exists() else {}
    path.write_text(json.dumps(content | {"auto_map": {"AutoModel": "modeling.Evil"}}))
    (tmp_path / "modeling.py").write_text("raise SystemExit('executed')")
    with pytest.raises(ValueError, match="never executes"):
        loaded(tmp_path)


def test_pickles_are_not_read(tmp_path: Path) -> None:
    model = segformer(1)
    model.save_pretrained(tmp_path)
    (tmp_path / "model.safetensors").unlink()
    torch.save(model.state_dict(), tmp_path / "pytorch_model.bin")
    with pytest.raises(WeightsError, match=r"NoWeights.*pytorch_model\.bin"):
        loaded(tmp_path)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({}, "must name foreground or background"),
        ({"foreground": [3]}, "class ids of 0 … 2"),
        ({"foreground": []}, "class ids of 0 … 2"),
        ({"background": -1}, "class ids of 0 … 2"),
        ({"foreground": [1], "background": 0}, "exclude each other"),
        ({"treshold": 1}, "treshold"),
    ],
)
def test_wrong_parameters_are_refused(parameters: dict[str, Any], message: str, tmp_path: Path) -> None:
    segformer(3).save_pretrained(tmp_path)
    with pytest.raises(ValueError, match=message):
        loaded(tmp_path, **parameters)


def test_no_source_and_no_folder(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="needs source"):
        load(VersionConfig(model="hf", version="1.0.0", family="transformers"))
    with pytest.raises(WeightsError, match="WeightsMissing"):
        loaded(tmp_path / "absent")


def test_queries_share_pixels_out() -> None:
    sure = 20.0
    classes = torch.tensor([[[sure, 0, 0], [0, sure, 0], [0, sure, 0], [0, 0, sure]]])  # the last is "no object"
    masks = torch.full((1, 4, 1, 3), -sure)
    masks[0, 0, 0, 0] = masks[0, 1, 0, 1] = masks[0, 2, 0, 1] = masks[0, 3, 0, 2] = sure
    chances = query_probabilities(classes, masks)[0, :, 0]
    assert torch.allclose(chances, torch.tensor([[1.0, 0, 0], [0, 1.0, 0]]), atol=1e-4)


def test_parameters_stand_alone() -> None:
    assert Parameters().size == 512
    with pytest.raises(ValueError, match="size"):
        Parameters(size=1)
