"""Every file of the corpus, and what decoding adds to the admission check."""

from __future__ import annotations

import io
import struct
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from corpus import CASES
from corpus_case import IMAGE, JPEG, PNG, Case, Spot
from corpus_make import icc, segment, with_exif, with_segment
from matte_core.contracts.job import Limits
from matte_core.errors import Problem
from matte_inference.pixels.arrays import Pixels
from matte_inference.pixels.decode import apply_orientation, decode, read_jpeg_colors
from numpy.typing import NDArray
from PIL import Image, ImageOps

LIMITS = Limits()


def seen(pixels: Pixels, spot: Spot) -> tuple[NDArray[np.int64], int]:
    alpha = 255 if pixels.alpha is None else int(pixels.alpha[spot.y, spot.x])
    return pixels.rgb[spot.y, spot.x].astype(np.int64), alpha


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_corpus(case: Case) -> None:
    outcome = decoded(case.data)
    if isinstance(outcome, Problem):
        assert outcome.code in (case.decode if case.ok else case.expect)
    else:
        assert "ok" in case.decode
        check(case, outcome)


def decoded(data: bytes) -> Pixels | Problem:
    try:
        return decode(data, LIMITS)
    except Problem as problem:
        return problem


def check(case: Case, pixels: Pixels) -> None:
    assert (pixels.width, pixels.height) == case.size
    assert pixels.rgb.dtype == np.uint8
    assert pixels.rgb.flags.c_contiguous
    for spot in case.spots:
        color, alpha = seen(pixels, spot)
        assert np.abs(color - spot.rgb).max() <= spot.off, spot
        assert spot.alpha is None or abs(alpha - spot.alpha) <= 3, spot


@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_agrees_with_pillow(orientation: int) -> None:
    stored = np.random.default_rng(orientation).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    image = Image.fromarray(stored)
    image.getexif()[0x0112] = orientation
    right = np.asarray(ImageOps.exif_transpose(image))
    assert np.array_equal(apply_orientation(stored, orientation), right)
    assert np.array_equal(apply_orientation(stored[..., 0], orientation), right[..., 0])


def test_alpha_is_turned_with_the_picture() -> None:
    rgba = np.zeros((4, 6, 4), np.uint8)
    rgba[0, 0, 3] = 200
    image = Image.fromarray(rgba)
    image.getexif()[0x0112] = 6
    sink = io.BytesIO()
    image.save(sink, "PNG", exif=image.getexif())
    alpha = decode(sink.getvalue(), LIMITS).alpha
    assert alpha is not None
    assert alpha.shape == (6, 4)
    assert alpha[0, 3] == 200


def test_limits_hold_before_pixels_are_made() -> None:
    with pytest.raises(Problem) as caught:
        decode(JPEG, Limits(max_pixels=100))
    assert caught.value.code == "too_many_pixels"


def test_a_jpeg_cut_in_its_data_but_with_an_end_marker_is_truncated() -> None:
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8))
    sink = io.BytesIO()
    noise.save(sink, "JPEG")
    whole = sink.getvalue()
    with pytest.raises(Problem) as caught:
        decode(whole[: len(whole) // 2] + b"\xff\xd9", LIMITS)
    assert caught.value.code in ("picture_truncated", "picture_corrupt")


def test_threads_decode_side_by_side() -> None:
    files = [JPEG, PNG] * 20
    with ThreadPoolExecutor(4) as pool:
        pictures = list(pool.map(lambda data: decode(data, LIMITS), files))
    assert all(np.array_equal(one.rgb, two.rgb) for one, two in zip(pictures[2:], pictures, strict=False))


def test_colors_of_a_jpeg() -> None:
    assert read_jpeg_colors(JPEG).components == 3
    sink = io.BytesIO()
    IMAGE.convert("CMYK").save(sink, "JPEG")
    colors = read_jpeg_colors(sink.getvalue())
    assert (colors.components, colors.adobe, colors.icc) == (4, True, None)
    assert read_jpeg_colors(b"\xff\xd8\xff").components == 3


#: (type, value field, what follows the directory): 6, as every type of number writes it, and what is none
ORIENTATIONS = [
    *((3, 1, b"\0\6\0\0"), (3, 2, b"\0\6\0\1"), (3, 2, b"\0\1\0\6"), (3, 3, b"\0\0\0\x1a"), (3, 0, b"\0\6\0\0")),
    *((4, 1, b"\0\0\0\6"), (4, 2, b"\0\0\0\x1a"), (8, 1, b"\0\6\0\0"), (9, 1, b"\0\0\0\6"), (13, 1, b"\0\0\0\6")),
    *((5, 1, b"\0\0\0\x1e"), (5, 1, b"\0\0\0\x1a"), (10, 1, b"\0\0\0\x1e"), (11, 1, b"\x40\xc0\0\0")),
    *((1, 1, b"\6\0\0\0"), (2, 2, b"6\0\0\0"), (6, 1, b"\6\0\0\0"), (7, 1, b"\6\0\0\0"), (3, 9, b"\0\0\0\xff")),
]


@pytest.mark.filterwarnings("ignore::UserWarning")  # Pillow tells of the odd entries
@pytest.mark.parametrize(("kind", "count", "value"), ORIENTATIONS)
def test_any_entry_for_the_orientation_is_read_as_pillow_reads_it(kind: int, count: int, value: bytes) -> None:
    entry = struct.pack(">HHHI", 1, 0x0112, kind, count) + value + bytes(4)
    block = b"MM\0*\0\0\0\x08" + entry + struct.pack(">HHIIII", 6, 6, 6, 1, 6, 1)
    file = with_exif(JPEG, block)
    with Image.open(io.BytesIO(file)) as image:
        right = ImageOps.exif_transpose(image).size
    pixels = decode(file, LIMITS)
    assert (pixels.width, pixels.height) == right


#: (number, of how many) that the parts of a profile are said to be
PARTS = [
    *([(1, 1)], [(0, 1)], [(5, 1)], [(1, 2)], [(1, 0)], [(1, 2), (2, 2)], [(2, 2), (1, 2)], [(1, 2), (3, 2)]),
    *([(1, 2), (1, 2)], [(1, 3), (2, 3)], [(0, 2), (1, 2)], [(1, 1), (2, 2)]),
]


@pytest.mark.parametrize("parts", PARTS, ids=str)
def test_misnumbered_parts_of_a_profile_are_read_as_pillow_reads_them(parts: list[tuple[int, int]]) -> None:
    profile = icc((0.5151, 0.2412, -0.0011), (0.2920, 0.6922, 0.0419), (0.1571, 0.0666, 0.7841))
    step = -(-len(profile) // len(parts))
    pieces = [profile[i : i + step] for i in range(0, len(profile), step)]
    segments = [
        segment(0xE2, b"ICC_PROFILE\0" + bytes(numbers) + piece) for numbers, piece in zip(parts, pieces, strict=True)
    ]
    file = with_segment(JPEG, *segments)
    with Image.open(io.BytesIO(file)) as image:
        assert read_jpeg_colors(file).icc == image.info.get("icc_profile")
        stored = np.asarray(image.convert("RGB"))
    rgb = decode(file, LIMITS).rgb
    assert rgb.shape == stored.shape
    if read_jpeg_colors(file).icc is None:
        assert np.abs(rgb.astype(int) - stored).max() <= 3


def test_16_bit_gray_is_scaled_where_pillow_cuts() -> None:
    ramp = np.array([[0, 255, 257, 32768, 65535]], np.uint16)
    sink = io.BytesIO()
    Image.fromarray(ramp).save(sink, "PNG")
    assert decode(sink.getvalue(), LIMITS).rgb[0, :, 0].tolist() == [0, 1, 1, 128, 255]
