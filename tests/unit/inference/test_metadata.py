"""``matte.yaml`` is honored by the family that loads the folder, or refused when it is pushed, verified and loaded."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from matte_core.contracts.base import Contract
from matte_core.contracts.catalog import VersionConfig
from matte_core.contracts.family import HONORED_FIELDS, VITMATTE, Family
from matte_inference.families import birefnet, hf, onnx, sam2, unet, vitmatte
from matte_inference.families.base import WeightsError
from matte_inference.families.registry import load
from matte_inference.families.torch_common import NetworkSegmenter
from matte_inference.pixels.arrays import Pixels, UInt8Array
from matte_registry.errors import RegistryError
from matte_registry.registry import Registry
from matte_registry.settings import RegistrySettings
from synth import sample
from transformers import SegformerConfig, SegformerForSemanticSegmentation

WIDE = Pixels(np.ascontiguousarray(sample(3, 256)[0][:128]))


@pytest.fixture
def unet_folder(tmp_path: Path) -> Path:
    return Path(shutil.copytree(unet.MODELS / "unet-2.0.0", tmp_path / "unet"))


def describe(folder: Path, **fields: Any) -> Path:
    path = folder / "matte.yaml"
    before = yaml.safe_load(path.read_text()) if path.exists() else {"license": "MIT"}
    path.write_text(yaml.safe_dump(before | fields))
    return folder


def segmenter(folder: Path, family: str = "unet", **parameters: Any) -> NetworkSegmenter:
    loaded = load(
        VersionConfig(model="m", version="1.0.0", family=family, source=str(folder), parameters=parameters), "cpu"
    )
    assert isinstance(loaded, NetworkSegmenter)
    return loaded


def alpha(loaded: NetworkSegmenter, pixels: Pixels = WIDE) -> UInt8Array:
    return loaded.finish(pixels, loaded.forward([loaded.prepare(pixels)])[0])


def test_a_card_and_every_default_change_nothing(unet_folder: Path) -> None:
    before = alpha(segmenter(unet_folder))
    describe(
        unet_folder, card={"title": "Portraits", "metrics": {"iou/p3m": 0.9}}, parameters={},
        preprocessing={"resize": "stretch"}, postprocessing={"activation": "sigmoid", "refine": "none"},
    )  # fmt: skip
    assert np.array_equal(alpha(segmenter(unet_folder)), before)


def test_size_is_that_of_the_tensor_that_the_network_gets(unet_folder: Path) -> None:
    loaded = segmenter(describe(unet_folder, size=128))
    assert loaded.prepare(WIDE).shape == (3, 128, 128)
    assert loaded.forward([loaded.prepare(WIDE)])[0].shape == (128, 128)
    assert segmenter(unet_folder, size=64).prepare(WIDE).shape == (3, 64, 64)  # the Model's parameters win


def test_mean_and_std_shift_and_scale_the_tensor(unet_folder: Path) -> None:
    before = segmenter(unet_folder)
    after = segmenter(describe(unet_folder, mean=[0.0, 0.25, 0.5], std=[1.0, 0.5, 0.25]))
    values = before.prepare(WIDE) * 0.25 + 0.5  # as the bundled file says: 0 … 1 again
    mean, std = np.array([0, 0.25, 0.5])[:, None, None], np.array([1, 0.5, 0.25])[:, None, None]
    assert np.allclose(after.prepare(WIDE), (values - mean) / std, atol=1e-5)
    assert not np.array_equal(alpha(before), alpha(after))


def test_letterbox_keeps_the_aspect_and_is_cut_off_again(unet_folder: Path) -> None:
    stretched = segmenter(unet_folder)
    boxed = segmenter(describe(unet_folder, preprocessing={"resize": "letterbox"}))
    assert boxed.prepare(WIDE).shape == stretched.prepare(WIDE).shape == (3, 256, 256)
    assert np.allclose(boxed.prepare(WIDE)[:, 128:], -2)  # black
    inside = (WIDE.rgb.transpose(2, 0, 1).astype(np.float32) / 255 - 0.5) / 0.25
    assert np.allclose(boxed.prepare(WIDE)[:, :128], inside, atol=1e-5)
    soft = np.zeros((256, 256), np.float32)
    soft[:128] = np.linspace(0, 1, 256)
    assert np.array_equal(boxed.finish(WIDE, soft), np.round(soft[:128] * 255).astype(np.uint8))
    assert alpha(boxed).shape == (128, 256)


def test_activation_and_refine_change_the_alpha(unet_folder: Path) -> None:
    sigmoid = segmenter(unet_folder)
    raw = segmenter(describe(unet_folder, postprocessing={"activation": "none"}))
    item = sigmoid.prepare(WIDE)
    chances = np.clip(np.asarray(sigmoid.forward([item])[0], np.float32), 1e-6, 1 - 1e-6)
    logits = np.log(chances / (1 - chances))
    assert np.allclose(raw.forward([item])[0], np.clip(logits, 0, 1), atol=1e-3)
    guided = segmenter(describe(unet_folder, postprocessing={"refine": "guided"}))
    assert np.array_equal(alpha(guided), alpha(segmenter(unet_folder, refine="guided")))
    assert not np.array_equal(alpha(guided), alpha(sigmoid))
    assert np.array_equal(alpha(segmenter(unet_folder, refine="none")), alpha(sigmoid))


def test_transformers_take_labels_and_input_from_the_file_over_their_preprocessor(tmp_path: Path) -> None:
    torch.manual_seed(0)
    sizes = {"depths": [1] * 4, "hidden_sizes": [8, 8, 16, 16], "num_attention_heads": [1, 1, 2, 2]}
    SegformerForSemanticSegmentation(SegformerConfig(num_labels=3, decoder_hidden_size=16, **sizes)).save_pretrained(
        tmp_path
    )
    (tmp_path / "preprocessor_config.json").write_text('{"size": 96, "image_mean": [0.5, 0.5, 0.5]}')
    describe(tmp_path, family="transformers", size=64, mean=[0, 0, 0], std=[1, 1, 1], parameters={"background": 0})
    loaded = segmenter(tmp_path, "transformers")
    prepared = loaded.prepare(WIDE)
    assert prepared.shape == (3, 64, 64)
    assert 0 <= prepared.min() < prepared.max() <= 1
    describe(tmp_path, parameters={"foreground": [1, 2]})
    same = segmenter(tmp_path, "transformers")
    assert np.allclose(loaded.forward([prepared])[0], same.forward([prepared])[0], atol=1e-5)
    describe(tmp_path, parameters={"foreground": [2]})
    other = segmenter(tmp_path, "transformers")
    assert not np.allclose(loaded.forward([prepared])[0], other.forward([prepared])[0], atol=1e-3)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"family": "sam2", "size": 64, "mean": None, "std": None}, r"the family sam2 does not use size: remove it"),
        ({"parameters": {"foreground": [1]}}, r"the family unet does not use parameters\.foreground: remove it"),
        (
            {"family": "vitmatte", "postprocessing": {"refine": "guided"}},
            r"vitmatte does not use postprocessing\.refine",
        ),
        (
            {"family": "transformers", "postprocessing": {"activation": "none"}},
            r"does not use postprocessing\.activation",
        ),
        ({"size": 100}, r"size must be a multiple of 16 for the family unet"),
        ({"family": "grabcut"}, r"family: 'grabcut' is no family with weights: name one of unet, transformers"),
        ({"treshold": 0.5}, r"treshold: no family has this field: remove it"),
        ({"preprocessing": {"resize": "crop"}}, r"preprocessing\.resize"),
    ],
)
def test_what_nobody_honors_is_refused_at_push_verify_and_load(
    fields: dict[str, Any], message: str, unet_folder: Path, tmp_path: Path
) -> None:
    describe(unet_folder, **fields)
    registry = Registry(RegistrySettings(cache_dir=tmp_path / "cache"))
    for attempt in (
        lambda: registry.push(unet_folder, f"file://{tmp_path}/pushed"),
        lambda: registry.verify(f"file://{unet_folder}"),
    ):
        with pytest.raises(RegistryError, match=message) as refused:
            attempt()
        assert refused.value.reason == "MetadataInvalid"
    assert not (tmp_path / "pushed").exists()
    with pytest.raises(WeightsError, match=r"^MetadataInvalid: m-1-0-0: .*" + message):
        segmenter(unet_folder)


def test_a_folder_of_one_family_is_not_loaded_as_another(unet_folder: Path) -> None:
    with pytest.raises(WeightsError, match=r"has family: unet, but the version is loaded as birefnet"):
        segmenter(unet_folder, "birefnet")


def test_the_honored_fields_are_parameters_of_their_family() -> None:
    kinds: dict[str, type[Contract]] = {
        Family.UNET: unet.Parameters, Family.TRANSFORMERS: hf.Parameters, Family.BIREFNET: birefnet.Parameters,
        Family.SAM2: sam2.Parameters, Family.ONNX: onnx.Parameters, VITMATTE: vitmatte.Parameters,
    }  # fmt: skip
    assert kinds.keys() == HONORED_FIELDS.keys()
    for family, kind in kinds.items():
        fields = {path.rpartition(".")[2] for path in HONORED_FIELDS[family]}
        own = {name for name in kind.model_fields if name != "digest" and not name.startswith("refine_")}
        assert fields == own - ({"refine"} if family == VITMATTE else set()), family
