"""Who takes what a version fails, which jobs are mirrored, and what is seen of a mask in little time."""

from __future__ import annotations

import numpy as np
import pytest
from jobs import MODEL
from matte_core.contracts.catalog import Arm, Mirror, Route, VersionConfig
from matte_core.contracts.evidence import Agreement
from matte_core.contracts.job import BlobRef, JobSpec, Picture
from matte_inference.analysis.masks import (
    Coverage,
    agreement,
    compare_masks,
    coverage,
    decode_mask,
    encode_mask,
    is_rejected,
    sample,
    shrink,
)
from matte_inference.pixels.arrays import UInt8Array
from matte_inference.replica.golden import built_in_images, masks_fingerprint
from matte_inference.router.route_plan import DispatchOptions, RoutePlan, stable_version


def route(arms: dict[str, int], mirror: str = "", percent: int = 10) -> Route:
    return Route(
        model=MODEL, arms=tuple(Arm(version=version, weight=weight) for version, weight in arms.items()),
        mirror=Mirror(version=mirror, percent=percent) if mirror else None,
    )  # fmt: skip


def spec(version: str | None = None) -> JobSpec:
    image = BlobRef(store="redis", key="k", size=1, content_type="image/png")
    picture = Picture(format="PNG", width=1, height=1)
    return JobSpec(id="j", model=MODEL, version=version, image=image, picture=picture, created_at=0, expires_at=1)


@pytest.mark.parametrize(
    ("arms", "mirror", "stable"),
    [
        ({"1.0.0": 90, "2.0.0": 10}, "", "1.0.0"),
        ({"1.0.0": 10, "2.0.0": 90}, "", "2.0.0"),
        ({"1.0.0": 10, "2.0.0": 90}, "2.0.0", "1.0.0"),  # on trial
        ({"1.10.0": 50, "1.9.0": 50}, "", "1.9.0"),
        ({"1.9.0": 50, "2.0.0": 50}, "1.9.0", "2.0.0"),  # the way back
        ({"1.0.0": 0, "2.0.0": 100}, "2.0.0", "2.0.0"),  # promoted: there is no other
    ],
)
def test_the_stable_arm(arms: dict[str, int], mirror: str, stable: str) -> None:
    assert stable_version(route(arms, mirror)) == stable


def test_what_a_version_fails_falls_back_unless_it_was_asked_for() -> None:
    plan = RoutePlan.from_route(route({"1.0.0": 90, "2.0.0": 10, "3.0.0": 0}))
    assert plan.options("2.0.0", spec()) == DispatchOptions("1.0.0", sampled=True)
    assert plan.options("1.0.0", spec()) == DispatchOptions("", sampled=True)
    assert plan.options("3.0.0", spec()) == DispatchOptions("1.0.0", sampled=True)
    assert plan.options("2.0.0", spec("2.0.0")) == DispatchOptions()


def test_one_arm_costs_nothing() -> None:
    plan = RoutePlan.from_route(route({"1.0.0": 0, "2.0.0": 100}))
    assert not any(plan.options("2.0.0", spec()))
    assert not plan.should_mirror("2.0.0", spec(), 0.0)


def test_a_share_of_stables_jobs_is_mirrored() -> None:
    plan = RoutePlan.from_route(route({"1.0.0": 90, "2.0.0": 10}, "2.0.0", percent=25))
    assert [plan.should_mirror("1.0.0", spec(), draw) for draw in (0.0, 0.249, 0.25, 0.99)] == [
        True,
        True,
        False,
        False,
    ]
    assert not plan.should_mirror("2.0.0", spec(), 0.0)
    assert not plan.should_mirror("1.0.0", spec("1.0.0"), 0.0)
    assert plan.options("1.0.0", spec(), mirrored=True) == DispatchOptions("", sampled=True, mirrored=True)


def half(height: int, width: int, rows: int) -> UInt8Array:
    mask = np.zeros((height, width), np.uint8)
    mask[:rows] = 255
    return mask


def test_a_few_rows_tell_the_coverage() -> None:
    for rows, seen in ((0, Coverage.EMPTY), (3000, Coverage.FULL), (1500, Coverage.OK), (30, Coverage.OK)):
        mask = half(3000, 4000, rows)
        assert coverage(sample(mask)) == coverage(mask) == seen
    assert sample(half(3000, 4000, 0)).size < 600_000
    assert sample(half(10, 10, 3)).shape == (10, 10)


def test_masks_travel_and_differ() -> None:
    mask = half(300, 400, 150)
    sent = decode_mask(encode_mask(mask))
    assert sent is not None
    assert (sent == mask).all()
    assert decode_mask(b"no picture") is None
    assert decode_mask(b"") is None
    assert agreement(mask, mask) == Agreement(iou=1, boundary=1, alpha_difference=0)
    assert not is_rejected(agreement(mask, mask))
    other = half(300, 400, 40)
    assert is_rejected(agreement(mask, other))
    one = compare_masks("j", "1.0.0", agreement(mask, other), (np.zeros((300, 400, 3), np.uint8), other, mask), 1.0)
    assert len({one.picture, one.stable_mask, one.canary_mask, one.difference}) == 4
    assert max(shrink(half(2000, 4000, 1)).shape) == 1024


def test_the_golden_images_are_small_and_name_what_made_their_masks() -> None:
    pictures = built_in_images()
    assert sorted(pictures) == ["cat", "coffee", "person", "rocket"]
    assert all(len(data) < 40_000 for data in pictures.values())
    config = VersionConfig(model="m", version="1.0.0", family="unet")
    first = masks_fingerprint(config, "sha256:0", pictures)
    assert first == masks_fingerprint(
        config.model_copy(update={"replicas": 7, "version": "1.0.1"}), "sha256:0", pictures
    )
    assert first != masks_fingerprint(config, "sha256:1", pictures)
    assert first != masks_fingerprint(
        config.model_copy(update={"parameters": {"refine": "guided"}}), "sha256:0", pictures
    )
    assert first != masks_fingerprint(config, "sha256:0", {**pictures, "cat": b""})
