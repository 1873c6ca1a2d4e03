"""ViTMatte after other families: trimaps, sizes, what it may and may not change, and folders it must refuse."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from matte_core.contracts.catalog import VersionConfig
from matte_inference.families.registry import load
from matte_inference.families.vitmatte import RefinedSegmenter, make_trimap
from matte_inference.pixels.arrays import Float32Array, Pixels
from matte_inference.replica.forwarder import forward_safely
from matte_registry.folder import hashed
from transformers import (
    SegformerConfig,
    SegformerForSemanticSegmentation,
    VitDetConfig,
    VitMatteConfig,
    VitMatteForImageMatting,
)
from transformers.models.vitmatte.image_processing_vitmatte import VitMatteImageProcessor


def disc(height: int, width: int) -> Float32Array:
    y, x = np.mgrid[:height, :width]
    inside = ((x - width / 2) ** 2 + (y - height / 2) ** 2) < (min(height, width) / 4) ** 2
    return np.where(inside, 1, 0).astype(np.float32)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    backbone = VitDetConfig(
        hidden_size=16, num_hidden_layers=2, num_attention_heads=2, image_size=64, pretrain_image_size=64,
        patch_size=16, num_channels=4, window_size=2, window_block_indices=[0], out_features=["stage2"],
    )  # fmt: skip
    config = VitMatteConfig(
        backbone_config=backbone, hidden_size=16, convstream_hidden_sizes=[8, 8, 8], fusion_hidden_sizes=[8, 8, 8, 8]
    )
    path = tmp_path_factory.mktemp("vitmatte")
    VitMatteForImageMatting(config).save_pretrained(path)
    VitMatteImageProcessor().save_pretrained(path)
    return path


def refined(folder: Path, family: str = "grabcut", source: Path | None = None, **parameters: Any) -> Any:
    stage = {"refine": "vitmatte", "refine_source": str(folder), "refine_size": 64}
    config = VersionConfig(
        model="m", version="2.0.0", family=family, source=source and str(source), parameters=stage | parameters
    )
    return load(config, "cpu")


RGB = (disc(100, 150)[..., None] * (200, 40, 40) + (20, 60, 90)).astype(np.uint8)


def test_after_grabcut_only_the_band_is_decided_anew(folder: Path) -> None:
    segmenter = refined(folder)
    assert isinstance(segmenter, RefinedSegmenter)
    pixels = Pixels(RGB)
    prepared = segmenter.prepare(pixels)
    assert prepared.picture.shape == (3, 43, 64)
    plain = load(VersionConfig(model="m", version="2.0.0", family="grabcut"))
    coarse = cv2.resize(plain.forward([plain.prepare(pixels)])[0], (64, 43), interpolation=cv2.INTER_AREA)
    trimap = make_trimap(coarse, 0.02)
    matte = segmenter.forward([prepared])[0]
    assert matte.shape == (43, 64)
    sure = trimap != np.float32(128 / 255)
    assert 0 < sure.mean() < 1
    assert np.array_equal(matte[sure], trimap[sure])
    assert not np.allclose(matte[~sure], coarse[~sure], atol=0.02)
    assert segmenter.finish(pixels, matte).shape == (100, 150)


def test_what_vitmatte_sees_is_what_its_own_processor_makes(folder: Path) -> None:
    segmenter = refined(folder, refine_size=150)
    seen: list[torch.Tensor] = []
    segmenter._model.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    prepared = segmenter.prepare(Pixels(RGB))
    trimap = make_trimap(disc(100, 150), 0.02)
    own = segmenter._forward(prepared.picture, trimap)
    trimaps = np.rint(trimap * 255).astype(np.uint8)
    expected = VitMatteImageProcessor()(images=RGB, trimaps=trimaps, return_tensors="pt")["pixel_values"]
    assert expected.shape == (1, 4, 128, 160)
    assert torch.allclose(seen[0], expected, atol=1e-5)
    with torch.inference_mode():
        alphas = segmenter._model(expected).alphas[0, 0, :100, :150]
    assert np.allclose(own, alphas.numpy(), atol=1e-5)


def test_after_a_model_of_transformers_in_a_batch(folder: Path, tmp_path: Path) -> None:
    sizes = {"depths": [1] * 4, "hidden_sizes": [8, 8, 16, 16], "num_attention_heads": [1, 1, 2, 2]}
    model = SegformerForSemanticSegmentation(SegformerConfig(num_labels=1, decoder_hidden_size=16, **sizes))
    model.save_pretrained(tmp_path)
    segmenter = refined(folder, "transformers", tmp_path, size=64)
    shapes = [(100, 150), (64, 64), (150, 40)]
    batch = [segmenter.prepare(Pixels(cv2.resize(RGB, (w, h)))) for h, w in shapes]
    assert [alpha.shape for alpha in segmenter.forward(batch)] == [(43, 64), (64, 64), (64, 17)]
    plain = load(VersionConfig(model="m", version="2.0.0", family="transformers", source=str(tmp_path)))
    assert segmenter.digest != plain.digest == hashed(tmp_path).digest


def test_a_coarse_alpha_that_is_no_number_is_not_hidden(folder: Path) -> None:
    segmenter = refined(folder)
    prepared = segmenter.prepare(Pixels(RGB))
    segmenter._coarse.forward = lambda batch: [np.full((8, 8), np.nan, np.float32) for _ in batch]
    assert getattr(forward_safely(segmenter, [prepared])[0], "code", "") == "internal_error"


def test_trimap() -> None:
    alpha = np.zeros((100, 200), np.float32)
    alpha[:, 100:] = 1
    alpha[50, 150] = 0.5
    trimap = make_trimap(alpha, 0.02)  # four pixels
    assert (trimap[:, :96] == 0).all()
    assert (trimap[10, 96:104] == np.float32(128 / 255)).all()
    assert (trimap[10, 104:] == 1).all()
    assert trimap[50, 146] == trimap[54, 150] == np.float32(128 / 255)
    assert trimap[50, 145] == 1
    assert (make_trimap(np.ones((9, 9), np.float32), 0.1) == 1).all()


def test_wrong_folders_and_parameters(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="refine_source"):
        load(VersionConfig(model="m", version="2.0.0", family="grabcut", parameters={"refine": "vitmatte"}))
    with pytest.raises(ValueError, match="WeightsMissing"):
        refined(tmp_path / "absent")
    with pytest.raises(ValueError, match="refine_bend"):
        refined(folder, refine_bend=1)
    with pytest.raises(ValueError, match=r"DigestMismatch.*refusing it"):
        refined(folder, refine_digest="sha256:" + "0" * 64)
    with pytest.raises(ValueError, match="remote"):
        refined(folder, "gradio", url="http://127.0.0.1:9", api_name="/x")
    VitDetConfig(hidden_size=16).save_pretrained(tmp_path)
    (tmp_path / "model.safetensors").touch()
    with pytest.raises(ValueError, match="type 'vitdet', not vitmatte"):
        refined(tmp_path)
    config = json.loads((folder / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {"auto_map": {"AutoModel": "m.Evil"}}))
    with pytest.raises(ValueError, match="never executes"):
        refined(tmp_path)
