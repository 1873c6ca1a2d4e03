"""The onnx family: tiny graphs on onnxruntime, and the pure rules around them."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnxruntime
import pytest
from matte_core.contracts.catalog import VersionConfig
from matte_core.errors import Problem
from matte_inference.families.base import WeightsError
from matte_inference.families.onnx import (
    OnnxSegmenter,
    Parameters,
    activate,
    best_batch_size,
    has_subject,
    input_size,
    measure_batch_limit,
    stretch_subject,
)
from matte_inference.families.registry import load
from matte_inference.metrics import INFERENCE
from matte_inference.pixels.arrays import Float32Array, Pixels, UInt8Array
from matte_inference.replica.forwarder import Forwarder, forward_safely
from matte_inference.replica.stages import warm_up
from matte_telemetry.prometheus import PrometheusMeter
from onnx import TensorProto
from PIL import Image
from skimage import data
from tiny_onnx import channel, folder, model, node, tensor

PHOTO = Pixels(np.ascontiguousarray(data.astronaut()[:, :384]))
PLAIN = {"mean": [0.0, 0.0, 0.0], "std": [1.0, 1.0, 1.0]}
ALPHA: dict[str, Any] = {"postprocessing": {"activation": "none"}}


def segmenter(path: Path, *, threads: int = 1, num_gpus: float = 0.0, **parameters: Any) -> OnnxSegmenter:
    config = VersionConfig(
        model="m", version="1.0.0", family="onnx", source=str(path), parameters=parameters, threads=threads,
        num_gpus=num_gpus,
    )  # fmt: skip
    loaded = load(config)
    assert isinstance(loaded, OnnxSegmenter)
    return loaded


def network_alpha(loaded: OnnxSegmenter, pixels: Pixels = PHOTO) -> Float32Array:
    (alpha,) = loaded.forward([loaded.prepare(pixels)])
    assert alpha.dtype == np.float32
    return np.asarray(alpha, np.float32)


def full_alpha(loaded: OnnxSegmenter, pixels: Pixels = PHOTO) -> UInt8Array:
    return loaded.finish(pixels, loaded.forward([loaded.prepare(pixels)])[0])


def test_the_network_sees_the_picture_at_its_fixed_size(tmp_path: Path) -> None:
    loaded = segmenter(folder(tmp_path, channel(0, height=48, width=64), **PLAIN, **ALPHA))
    expected = cv2.resize(PHOTO.rgb, (64, 48), interpolation=cv2.INTER_AREA)[..., 0] / 255
    assert np.allclose(network_alpha(loaded), expected, atol=1e-6)
    assert full_alpha(loaded).shape == (512, 384)
    assert (loaded.device, loaded.batch_limit) == ("cpu", 1)


def test_letterbox_keeps_the_aspect_and_is_cut_off_again(tmp_path: Path) -> None:
    boxed = segmenter(
        folder(tmp_path, channel(1, height=64, width=64), preprocessing={"resize": "letterbox"}, **PLAIN, **ALPHA)
    )
    alpha = network_alpha(boxed)
    assert (alpha[:, 48:] == 0).all()
    expected = cv2.resize(PHOTO.rgb, (48, 64), interpolation=cv2.INTER_AREA)[..., 1] / 255
    assert np.allclose(alpha[:, :48], expected, atol=1e-6)
    whole = full_alpha(boxed).astype(float) - PHOTO.rgb[..., 1]
    assert np.abs(whole).mean() < 25  # of the same place: shifted by an eighth it would be 50


def test_lanczos_is_that_of_pillow(tmp_path: Path) -> None:
    loaded = segmenter(folder(tmp_path, channel(2), preprocessing={"filter": "lanczos"}, **PLAIN, **ALPHA))
    expected = np.asarray(Image.fromarray(PHOTO.rgb).resize((32, 32), Image.Resampling.LANCZOS))[..., 2] / 255
    assert np.allclose(network_alpha(loaded), expected, atol=1e-6)


def test_an_alpha_that_is_not_refined_is_resized_by_the_filter(tmp_path: Path) -> None:
    loaded = segmenter(folder(tmp_path, channel(2), preprocessing={"filter": "lanczos"}, **PLAIN, **ALPHA))
    small = Image.fromarray(np.rint(network_alpha(loaded) * 255).astype(np.uint8))
    assert np.array_equal(full_alpha(loaded), np.asarray(small.resize((384, 512), Image.Resampling.LANCZOS)))


def test_scale_max_divides_by_the_largest_value_that_the_network_would_see(tmp_path: Path) -> None:
    dark = Pixels(PHOTO.rgb // 4)
    loaded = segmenter(folder(tmp_path, channel(0), preprocessing={"scale": "max"}, **PLAIN, **ALPHA))
    small = cv2.resize(dark.rgb, (32, 32), interpolation=cv2.INTER_AREA)
    assert np.allclose(network_alpha(loaded, dark), small[..., 0] / small.max(), atol=1e-6)
    plain = segmenter(folder(tmp_path, channel(0), preprocessing={"scale": 255}, **PLAIN, **ALPHA))
    assert np.allclose(network_alpha(plain, dark), small[..., 0] / 255, atol=1e-6)
    black = Pixels(np.zeros((40, 40, 3), np.uint8))
    assert (network_alpha(loaded, black) == 0).all()


def test_mean_and_std_come_after_the_scale(tmp_path: Path) -> None:
    loaded = segmenter(folder(tmp_path, channel(0), mean=[0.5, 0, 0], std=[2.0, 1, 1], **ALPHA))
    small = cv2.resize(PHOTO.rgb, (32, 32), interpolation=cv2.INTER_AREA)[..., 0] / 255
    assert np.allclose(loaded.prepare(PHOTO).picture[0], (small - 0.5) / 2, atol=1e-6)


@pytest.mark.parametrize(
    ("size", "multiple", "picture", "expected"),
    [
        (320, None, (1000, 500), (320, 320)),
        (512, 32, (1000, 500), (512, 256)),
        (512, 32, (1000, 510), (512, 288)),
        (500, 32, (10, 4000), (32, 480)),
        (512, 32, (30, 20), (512, 352)),
        (64, 64, (5000, 5000), (64, 64)),
    ],
)
def test_the_size_of_an_open_input(
    size: int, multiple: int | None, picture: tuple[int, int], expected: tuple[int, int]
) -> None:
    assert input_size(*picture, Parameters(size=size, multiple=multiple)) == expected


@pytest.mark.parametrize("resize", ["stretch", "letterbox"])
def test_a_network_with_open_axes_takes_each_picture_in_its_own_aspect(resize: str, tmp_path: Path) -> None:
    loaded = segmenter(
        folder(
            tmp_path, channel(0, height="h", width="w", batch="n"), size=128,
            preprocessing={"multiple": 16, "resize": resize}, **PLAIN, **ALPHA,
        )
    )  # fmt: skip
    pictures = [PHOTO, Pixels(np.ascontiguousarray(PHOTO.rgb[:150])), PHOTO, PHOTO]
    inputs = [loaded.prepare(pixels) for pixels in pictures]
    assert [item.picture.shape for item in inputs] == [(3, 128, 96), (3, 64, 128), (3, 128, 96), (3, 128, 96)]
    for limit in (1, 8):  # one by one, and neighbors of one size together: the same alphas
        loaded.batch_limit = limit
        alphas = loaded.forward(inputs)
        for item, alpha in zip(inputs, alphas, strict=True):
            assert np.allclose(alpha, np.clip(item.picture[0], 0, 1))
    for pixels, alpha in zip(pictures, alphas, strict=True):
        difference = loaded.finish(pixels, alpha).astype(float) - pixels.rgb[..., 0]
        assert np.abs(difference).mean() < 20


def test_a_network_in_half_precision(tmp_path: Path) -> None:
    loaded = segmenter(folder(tmp_path, channel(0, kind=TensorProto.FLOAT16), **PLAIN, **ALPHA))
    expected = cv2.resize(PHOTO.rgb, (32, 32), interpolation=cv2.INTER_AREA)[..., 0] / 255
    assert np.allclose(network_alpha(loaded), expected, atol=1e-3)


def test_the_output_is_chosen_by_name(tmp_path: Path) -> None:
    two = model(
        [node("ReduceMean", ["x"], "gray", axes=[1], keepdims=1), node("Sub", ["one", "gray"], "inverse")],
        inputs={"x": [1, 3, 32, 32]}, outputs={"inverse": [1, 1, 32, 32], "gray": [1, 1, 32, 32]},
        tensors=[tensor("one", 1.0)],
    )  # fmt: skip
    path = folder(tmp_path, two, **PLAIN, **ALPHA)
    first, named = network_alpha(segmenter(path)), network_alpha(segmenter(path, output="gray"))
    assert np.allclose(first, 1 - named, atol=1e-6)
    with pytest.raises(
        WeightsError, match=r"MetadataInvalid: m-1-0-0: model\.onnx: it has no output 'red', but inverse, gray"
    ):
        segmenter(path, output="red")


def test_guided_refinement_follows_the_edges_of_the_picture(tmp_path: Path) -> None:
    path = folder(tmp_path, channel(0), **PLAIN, **ALPHA)
    plain, guided = full_alpha(segmenter(path)), full_alpha(segmenter(path, refine="guided"))
    assert not np.array_equal(plain, guided)


LOGITS = np.array([[[2.0, -1.0, 0.5]], [[0.0, 3.0, 0.5]], [[-1.0, 3.5, 0.4]]], np.float32)


def test_activations() -> None:
    one = LOGITS[:1]
    assert np.allclose(activate(one, "none", None), one[0])
    assert np.allclose(activate(one[0], "none", None), one[0])
    assert np.allclose(activate(one, "sigmoid", None), 1 / (1 + np.exp(-one[0])))
    assert np.allclose(activate(np.full((1, 1, 1), -1e4, np.float32), "sigmoid", None), 0)
    assert np.allclose(activate(LOGITS, "sigmoid", (1, 2)), 1 / (1 + np.exp(-LOGITS[1:].max(0))))
    chances = np.exp(LOGITS) / np.exp(LOGITS).sum(0)
    assert np.allclose(activate(LOGITS, "softmax", None), chances[1:].sum(0))
    assert np.allclose(activate(LOGITS * 1e3, "softmax", (0,)), [[1, 0, 0.5]])
    assert np.allclose(activate(LOGITS, "softmax", (2,)), chances[2])
    assert activate(LOGITS, "argmax", None).tolist() == [[0, 1, 0]]
    assert activate(LOGITS, "argmax", (0, 1)).tolist() == [[1, 0, 1]]
    assert activate(np.array([[0, 7, 2]], np.int64), "argmax", None).tolist() == [[0, 1, 1]]
    assert activate(np.array([[0, 7, 2]], np.int64), "argmax", (2,)).tolist() == [[0, 0, 1]]


@pytest.mark.parametrize(
    ("output", "activation", "classes", "message"),
    [
        (LOGITS, "sigmoid", None, "has 3 channels: say which are the subject"),
        (LOGITS, "none", None, "has 3 channels"),
        (LOGITS, "softmax", (3,), "has 3 channels"),
        (LOGITS[:1], "softmax", None, "has 1 channel"),
        (np.zeros(1000, np.float32), "sigmoid", None, r"its output is \(1000,\) for a picture"),
        (np.zeros((1, 0, 4), np.float32), "none", None, "not \\(height, width\\)"),
    ],
)
def test_an_output_that_is_no_alpha_is_refused(output: Any, activation: Any, classes: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        activate(output, activation, classes)


def test_an_output_that_is_no_alpha_fails_the_warm_up_with_its_reason(tmp_path: Path) -> None:
    flat = model([node("GlobalAveragePool", ["x"], "y")], inputs={"x": [1, 3, 32, 32]}, outputs={"y": None})
    loaded = segmenter(folder(tmp_path, flat))
    with pytest.raises(WeightsError, match=r"^WeightsUnusable: m-1-0-0: model\.onnx: its output has 3 channels"):
        warm_up(loaded)


def plane(*values: float) -> Float32Array:
    return np.array([values], np.float32)


@pytest.mark.parametrize(
    ("alpha", "subject"),
    [
        (plane(0.1, 0.8), True),
        (plane(0.0, 0.51), True),
        (plane(0.0, 0.49), False),
        (plane(0, 0), False),
        (plane(1, 1), False),
        (plane(0.9, 0.9005), False),
    ],
)
def test_a_subject_is_what_the_network_is_surer_of_than_of_the_rest(alpha: Float32Array, *, subject: bool) -> None:
    assert has_subject(alpha) is subject
    stretched = stretch_subject(alpha, alpha)
    assert np.isfinite(stretched).all()
    if subject:
        assert (stretched.min(), stretched.max()) == (0, 1)
    else:
        assert np.array_equal(stretched, alpha)


def test_min_max_stretches_a_subject_and_leaves_an_empty_picture_alone(tmp_path: Path) -> None:
    loaded = segmenter(
        folder(tmp_path, channel(0), postprocessing={"activation": "none", "normalize": "min-max"}, **PLAIN)
    )
    gray = np.full((64, 64, 3), 100, np.uint8)
    assert np.allclose(network_alpha(loaded, Pixels(gray)), 100 / 255, atol=1e-6)
    gray[16:48, 16:48] = 200
    alpha = network_alpha(loaded, Pixels(gray))
    assert (alpha.min(), alpha.max()) == (0, 1)
    dim = np.where(gray == 200, 110, gray).astype(np.uint8)  # at most 0.43
    assert network_alpha(loaded, Pixels(dim)).max() == pytest.approx(110 / 255, abs=1e-6)


def test_min_max_does_not_look_at_the_margin_of_a_letterbox(tmp_path: Path) -> None:
    path = folder(
        tmp_path, channel(0), preprocessing={"resize": "letterbox"},
        postprocessing={"activation": "none", "normalize": "min-max"}, **PLAIN,
    )  # fmt: skip
    half = np.full((64, 32, 3), 100, np.uint8)
    half[:32] = 200
    alpha = network_alpha(segmenter(path), Pixels(half))[:, :16]
    assert np.allclose(alpha[:15], 1, atol=1e-6)
    assert np.allclose(alpha[17:], 0, atol=1e-6)


def test_what_is_not_a_number_is_the_pictures_problem(tmp_path: Path) -> None:
    log = model(
        [node("ReduceMean", ["x"], "g", axes=[1]), node("Log", ["g"], "y")],
        inputs={"x": [1, 3, 32, 32]},
        outputs={"y": None},
    )
    for normalize in ("none", "min-max"):
        described = {"activation": "none", "normalize": normalize}
        loaded = segmenter(folder(tmp_path, log, mean=[0.5] * 3, std=[1.0] * 3, postprocessing=described))
        (outcome,) = forward_safely(loaded, [loaded.prepare(PHOTO)])
        assert isinstance(outcome, Problem)
        assert outcome.code == "internal_error"


def test_more_memory_than_there_is_is_out_of_memory(tmp_path: Path) -> None:
    """The network asks for 2^44 bytes. Linux would promise them: onnxruntime's arena has a bound."""
    huge = model(
        [node("ReduceMean", ["x"], "g"), node("Expand", ["g", "n"], "y")],
        inputs={"x": [1, 3, 32, 32]}, outputs={"y": None}, tensors=[tensor("n", [1, 1, 1 << 21, 1 << 21], np.int64)],
    )  # fmt: skip
    loaded = segmenter(folder(tmp_path, huge))
    (outcome,) = forward_safely(loaded, [loaded.prepare(PHOTO)])
    assert isinstance(outcome, Problem)
    assert outcome.code == "out_of_memory"
    with pytest.raises(MemoryError, match="out of memory"):
        warm_up(loaded)


def test_a_batch_that_is_slower_than_one_by_one_is_not_used() -> None:
    assert best_batch_size({1: 0.060, 2: 0.075, 4: 0.110, 8: 0.2, 16: 0.5}) == 8
    assert best_batch_size({1: 4.0, 2: 8.4, 4: 17.0}) == 1
    assert best_batch_size({1: 4.0, 2: 7.9}) == 1  # within the noise
    assert best_batch_size({}) == 1


def test_the_curve_ends_where_the_memory_does() -> None:
    tried: list[int] = []

    def run(size: int) -> None:
        tried.append(size)
        if size > 4:
            raise MemoryError

    assert measure_batch_limit(run, 16) in {1, 2, 4}
    assert tried == [1, 1, 2, 2, 4, 4, 8]


@pytest.mark.parametrize(("limit", "largest"), [(1, 1), (4, 4), (None, 8)])
async def test_a_replica_makes_no_batch_larger_than_pays(limit: int | None, largest: int, tmp_path: Path) -> None:
    loaded = segmenter(folder(tmp_path, channel(0, batch="n"), **PLAIN, **ALPHA))
    loaded.batch_limit = limit
    config = VersionConfig(model="m", version="1.0.0", family="onnx", max_batch_size=8)
    forwarder = Forwarder(loaded, config, PrometheusMeter(INFERENCE))
    prepared = loaded.prepare(PHOTO)
    forwarded = await asyncio.gather(*(forwarder.forward(prepared) for _ in range(17)))
    assert max(each.batch_size for each in forwarded) == largest
    expected = network_alpha(loaded)
    for each in forwarded:
        assert np.array_equal(np.asarray(each.outcome), expected)


def test_as_many_threads_as_asked_for(tmp_path: Path) -> None:
    path = folder(tmp_path, channel(0), **PLAIN, **ALPHA)

    def threads() -> int:
        return len(list(Path("/proc/self/task").iterdir()))

    alone, before = segmenter(path, threads=1), threads()
    several = segmenter(path, threads=4)
    assert threads() == before + 3  # the calling thread is the fourth
    assert np.array_equal(network_alpha(alone), network_alpha(several))


def test_a_gpu_that_was_asked_for_and_is_not_used_is_an_error(tmp_path: Path) -> None:
    path = folder(tmp_path, channel(0), **PLAIN, **ALPHA)
    if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        pytest.skip("this machine's onnxruntime can use a GPU")
    fix = "install onnxruntime-gpu in place of onnxruntime, or set num_gpus to 0"
    with pytest.raises(WeightsError, match=rf"^DeviceUnavailable: m-1-0-0: asked for CUDA, runs on the CPU: .*{fix}"):
        segmenter(path, num_gpus=1.0)
    with pytest.raises(WeightsError, match="asked for TensorRT, runs on the CPU"):
        segmenter(path, num_gpus=0.5, gpu_provider="tensorrt")
    assert segmenter(path, gpu_provider="tensorrt").device == "cpu"
