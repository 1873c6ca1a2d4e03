"""SAM 2: hints as prompts, what stands in for them, and the model from a folder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from matte_core.contracts.catalog import VersionConfig
from matte_core.contracts.job import Limits
from matte_core.contracts.options import MAX_HINT_POINTS, MAX_HINTS, Hint, Options, parse_hints
from matte_inference.families.registry import load
from matte_inference.families.sam2 import Sam2Segmenter, default_hints, to_prompts
from matte_inference.pixels.arrays import Pixels
from matte_inference.replica.stages import decode_job, finish_and_render
from matte_registry.folder import hashed
from pydantic import ValidationError
from synth import sample
from transformers import (
    Sam2Config,
    Sam2HieraDetConfig,
    Sam2Model,
    Sam2VideoConfig,
    Sam2VideoModel,
    Sam2VisionConfig,
    SegformerConfig,
)

RGB = sample(3, 96)[0]


def vision() -> Sam2VisionConfig:
    backbone = Sam2HieraDetConfig(
        hidden_size=8, image_size=[64, 64], blocks_per_stage=[1, 1, 2, 1], embed_dim_per_stage=[8, 16, 32, 64],
        num_attention_heads_per_stage=[1, 1, 2, 2], window_size_per_stage=[8, 4, 4, 4], global_attention_blocks=[3],
        window_positional_embedding_background_size=[4, 4],
    )  # fmt: skip
    return Sam2VisionConfig(
        backbone_config=backbone, backbone_channel_list=[64, 32, 16, 8], fpn_hidden_size=32,
        backbone_feature_sizes=[[16, 16], [8, 8], [4, 4]],
    )  # fmt: skip


PARTS: dict[str, Any] = {
    "prompt_encoder_config": {"hidden_size": 32, "image_size": 64},
    "mask_decoder_config": {"hidden_size": 32, "mlp_dim": 32, "num_attention_heads": 2, "iou_head_hidden_dim": 16},
}
MEMORY: dict[str, Any] = {
    "image_size": 64, "memory_attention_hidden_size": 32, "memory_attention_num_layers": 1,
    "memory_attention_feed_forward_hidden_size": 32, "memory_attention_rope_feat_sizes": [4, 4],
    "memory_encoder_hidden_size": 32, "memory_encoder_output_channels": 16, "memory_fuser_embed_dim": 32,
    "memory_fuser_intermediate_dim": 32, "memory_fuser_num_layers": 1, "mask_downsampler_embed_dim": 32,
}  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("sam2")
    model = Sam2Model(Sam2Config(vision_config=vision(), **PARTS))
    with torch.no_grad():
        for parameter in model.parameters():  # the usual start is so small that hints would hardly be felt
            parameter.add_(torch.randn_like(parameter) * 0.1)
    model.save_pretrained(path)
    return path


def version(folder: Path, **parameters: Any) -> Sam2Segmenter:
    config = VersionConfig(model="sam", version="1.0.0", family="sam2", source=str(folder), parameters=parameters)
    loaded = load(config)
    assert isinstance(loaded, Sam2Segmenter)
    return loaded


def alpha(segmenter: Sam2Segmenter, hints: str) -> Any:
    return segmenter.forward([segmenter.prepare(Pixels(RGB, hints=parse_hints(hints)))])[0]


# --- hints --------------------------------------------------------------------------------------------------------


def test_hints_as_callers_write_them() -> None:
    options = Options(hints=" 0.5,.25;!1,0   0.1,0.2,0.8,0.9 ")
    assert options.hints == "0.5,.25 !1,0 0.1,0.2,0.8,0.9"
    assert options.parsed_hints == (Hint((0.5, 0.25)), Hint((1.0, 0.0), subject=False), Hint((0.1, 0.2, 0.8, 0.9)))
    assert Options.model_validate_json(options.model_dump_json()) == options
    assert Options().parsed_hints == ()


def test_strokes_as_callers_write_them() -> None:
    options = Options(hints="0.1,0.2:0.3,0.4@0.05 !0,0:1,1:.5,.5")
    thick, thin = options.parsed_hints
    assert thick == Hint((0.1, 0.2, 0.3, 0.4), width=0.05)
    assert (thin.points, thin.subject, thin.width) == (((0, 0), (1, 1), (0.5, 0.5)), False, 0.02)
    assert not thick.is_box


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ("0.1,0.2:0.3", "no hint"),
        ("0.1,0.2:0.3,0.4:", "no hint"),
        ("0.1,0.2@0.05", "no hint"),
        ("0.1,0.2:0.3,1.4", "lies in the picture"),
        ("0.1,0.2:0.3,0.4@0.3", "up to 0.25"),
        ("0.1,0.2:0.3,0.4@0", "above 0"),
        (":".join(["0.5,0.5"] * (MAX_HINT_POINTS + 1)), "at most 1024 points"),
        (" ".join([":".join(["0.5,0.5"] * 30)] * 40), "at most 1024 points"),
    ],
)
def test_other_strokes_are_refused(wrong: str, message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        Options(hints=wrong)


def test_a_stroke_is_points_along_it() -> None:
    prompts = to_prompts(parse_hints("0,0:0.4,0:0.4,0.4 !0.9,0.9:0.9,0.9"))
    subject = [(0, 0, 1), (0.2, 0, 1), (0.4, 0, 1), (0.4, 0.2, 1), (0.4, 0.4, 1)]
    assert np.allclose(prompts, [[*subject, *[(0.9, 0.9, 0)] * 5]])


@pytest.mark.parametrize(
    "wrong", ["", "x", "0.5", "0.5,2", "-0.1,0.5", "0.1,0.2,0.3", "nan,0", "1e-3,0", "0.5,0.5,0.4,0.9", "!0,0,1,1"]
)
def test_other_hints_are_refused(wrong: str) -> None:
    with pytest.raises(ValidationError, match=r"hint|box"):
        Options(hints=wrong)


def test_hints_are_bounded() -> None:
    assert len(Options(hints="0,0 " * MAX_HINTS).parsed_hints) == MAX_HINTS
    with pytest.raises(ValidationError, match="1 to 64 hints"):
        Options(hints="0,0 " * (MAX_HINTS + 1))


def test_a_prompt_per_box_and_one_for_the_rest() -> None:
    prompts = to_prompts(parse_hints("0,0,0.4,0.4 0.5,0.5,1,1 0.2,0.2 0.9,0.1 !0.3,0.3"))
    assert prompts == (
        ((0, 0, 2), (0.4, 0.4, 3), (0.2, 0.2, 1), (0.3, 0.3, 0)),
        ((0.5, 0.5, 2), (1, 1, 3), (0.3, 0.3, 0)),
        ((0.9, 0.1, 1), (0.3, 0.3, 0)),
    )


def test_without_hints_what_stands_out_is_boxed() -> None:
    rgb = np.full((120, 200, 3), 90, np.uint8)
    cv2.circle(rgb, (120, 70), 25, (250, 210, 30), -1)
    box, point = default_hints(rgb)
    assert np.allclose(box.at, (95 / 200, 45 / 120, 145 / 200, 95 / 120), atol=0.06)
    assert np.hypot(point.at[0] * 200 - 120, point.at[1] * 120 - 70) < 20


@pytest.mark.parametrize("shape", [(1, 1), (5, 300), (40, 60)])
def test_where_nothing_stands_out_the_center_is_meant(shape: tuple[int, int]) -> None:
    hints = default_hints(np.full((*shape, 3), 128, np.uint8))
    assert hints[-1].at == pytest.approx((0.5, 0.5), abs=0.02)


# --- the model ----------------------------------------------------------------------------------------------------


def test_hints_change_what_is_cut(folder: Path) -> None:
    segmenter = version(folder)
    found = [alpha(segmenter, hints) for hints in ("0.2,0.2", "0.8,0.8", "0.1,0.1,0.5,0.6", "0.2,0.2 !0.8,0.8")]
    assert all(one.shape == (64, 64) and one.dtype == np.float32 for one in found)
    assert all(0 <= one.min() < one.max() <= 1 for one in found)
    assert all(np.abs(a - b).max() > 1e-4 for i, a in enumerate(found) for b in found[:i])


def test_several_prompts_give_their_union(folder: Path) -> None:
    segmenter = version(folder)
    one, two, both = (alpha(segmenter, h) for h in ("0,0,0.4,0.4", "0.5,0.5,1,1", "0,0,0.4,0.4 0.5,0.5,1,1"))
    assert (both >= np.minimum(one, two) - 1e-5).all()
    assert np.abs(both - np.maximum(one, two)).mean() < 0.01  # the union is taken before the enlargement


def test_a_box_is_what_the_model_takes_for_a_box(folder: Path) -> None:
    segmenter = version(folder)
    prepared = segmenter.prepare(Pixels(RGB, hints=parse_hints("0.25,0.125,0.75,0.5")))
    with torch.inference_mode():
        output = segmenter._model(
            pixel_values=torch.from_numpy(prepared.picture)[None],
            input_boxes=torch.tensor([[[16.0, 8.0, 48.0, 32.0]]]),
            multimask_output=False,
        )
        maps = segmenter._model.get_image_embeddings(torch.from_numpy(prepared.picture)[None])
        logits = segmenter._best_mask(maps, prepared.prompts[0])
    assert torch.allclose(logits, output.pred_masks[0, 0, 0], atol=1e-5)


def test_pictures_of_a_batch_keep_their_own_hints(folder: Path) -> None:
    segmenter = version(folder)
    other = Pixels(np.ascontiguousarray(RGB[::-1]), hints=parse_hints("0.8,0.1"))
    batch = [segmenter.prepare(Pixels(RGB)), segmenter.prepare(other)]
    together = segmenter.forward(batch)
    for item, alpha_ in zip(batch, together, strict=True):
        assert np.allclose(segmenter.forward([item])[0], alpha_, atol=1e-4)


def test_a_jobs_hints_reach_the_model(folder: Path) -> None:
    segmenter = version(folder, refine="guided")
    data = cv2.imencode(".png", RGB)[1].tobytes()
    opened = decode_job(segmenter, [data], Limits(), Options(hints="!0.1,0.1 0.9,0.8").parsed_hints)
    assert opened.prepared.prompts == (((0.9, 0.8, 1), (0.1, 0.1, 0)),)
    rendered = finish_and_render(segmenter, opened, segmenter.forward([opened.prepared])[0], Options(output="mask"))
    assert (rendered.width, rendered.height) == (96, 96)
    without = decode_job(segmenter, [data], Limits(), Options(hints="!0.1,0.1").parsed_hints)
    assert without.prepared.prompts[0][0][2] == 2  # the box that was guessed


# --- folders ------------------------------------------------------------------------------------------------------


def test_a_folder_published_for_videos_gives_the_part_for_pictures(tmp_path: Path) -> None:
    whole = Sam2VideoModel(Sam2VideoConfig(vision_config=vision(), **PARTS, **MEMORY))
    whole.save_pretrained(tmp_path)
    segmenter = version(tmp_path)
    stored, read = whole.state_dict(), segmenter._model.state_dict()
    assert len(read) < len(stored)
    assert all(torch.equal(stored[name], tensor) for name, tensor in read.items())
    assert alpha(segmenter, "0.2,0.2").shape == (64, 64)
    assert segmenter.digest == hashed(tmp_path).digest


def test_wrong_folders_and_parameters(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="NoWeights"):
        version(tmp_path)
    with pytest.raises(ValueError, match="threshold"):
        version(folder, threshold=1)
    SegformerConfig().save_pretrained(tmp_path)
    (tmp_path / "model.safetensors").touch()
    with pytest.raises(ValueError, match="type 'segformer'"):
        version(tmp_path)
    config = json.loads((folder / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {"auto_map": {"AutoModel": "m.Evil"}}))
    with pytest.raises(ValueError, match="never executes"):
        version(tmp_path)


def test_a_folder_without_some_weights(folder: Path, tmp_path: Path) -> None:
    model = Sam2Model.from_pretrained(folder)
    kept = {name: tensor for name, tensor in model.state_dict().items() if "iou_prediction_head" not in name}
    model.save_pretrained(tmp_path, state_dict=kept)
    with pytest.raises(ValueError, match=r"lacks .* tensors of SAM 2"):
        version(tmp_path)
