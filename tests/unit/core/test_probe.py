"""The admission check where the corpus does not reach: limits, speed, threads, Pillow's agreement, fuzzing."""

from __future__ import annotations

import io
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from corpus import CASES, VALID, Case
from hypothesis import given, settings
from hypothesis import strategies as st
from matte_core.contracts.job import Limits, Picture
from matte_core.errors import CODES, Problem
from matte_core.pictures.probe import probe
from PIL import Image

LIMITS = Limits()
MAGICS = (
    b"\xff\xd8\xff\xe1",
    b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR",
    b"GIF89a",
    b"BM",
    b"II*\0\x08\0\0\0",
    b"MM\0+\0\x08\0\0",
    b"RIFF\x60\0\0\0WEBPVP8X",
    b"\0\0\0\x18ftypheic\0\0\0\0mif1heic\0\0\0\x40meta\0\0\0\0",
    b"\0\0\0\x18ftypavif\0\0\0\0mif1avif\0\0\0\0meta\0\0\0\0\0\0\0\x20iloc\0\0\0\0\x44\0",
    b"<svg",
)


def answer(data: bytes, limits: Limits = LIMITS) -> Picture | str:
    """The picture, or the problem's code; whatever else is raised fails the test."""
    try:
        return probe(data, limits)
    except Problem as problem:
        return problem.code


def photo(side: int, quality: int, **options: bool) -> bytes:
    """A JPEG as large as a photograph's: noise on a smooth ground."""
    rng = np.random.default_rng(1)
    noise = Image.fromarray(rng.integers(0, 256, (side // 4, side // 4, 3), dtype=np.uint8))
    out = io.BytesIO()
    noise.resize((side, side), Image.Resampling.BICUBIC).save(out, "JPEG", quality=quality, **options)
    return out.getvalue()


@pytest.mark.parametrize(
    ("limits", "code"),
    [
        (Limits(max_bytes=len(VALID["png"]) - 1), "payload_too_large"),
        (Limits(max_pixels=48 * 32 - 1), "too_many_pixels"),
        (Limits(max_side=47), "too_many_pixels"),
        (Limits(formats=("JPEG",)), "unsupported_format"),
    ],
)
def test_limits_are_the_callers(limits: Limits, code: str) -> None:
    assert answer(VALID["png"], limits) == code


def test_limits_are_inclusive() -> None:
    exact = Limits(max_bytes=len(VALID["png"]), max_pixels=48 * 32, max_side=48, formats=("PNG",))
    assert probe(VALID["png"], exact).width == 48


def test_details_carry_the_numbers_and_the_remedy() -> None:
    with pytest.raises(Problem) as many:
        probe(VALID["jpeg"], Limits(max_pixels=1000))
    assert "48 × 32" in many.value.detail
    raw = next(case for case in CASES if case.name == "cr3")
    with pytest.raises(Problem) as named:
        probe(raw.data, LIMITS)
    assert "RAW" in named.value.detail
    assert "JPEG" in named.value.detail


@pytest.mark.filterwarnings("ignore:.*EXIF")  # Pillow's, about the odd EXIF of some cases
@pytest.mark.parametrize("case", [case for case in CASES if case.ok and len(case.data) < 100_000], ids=lambda c: c.name)
def test_pillow_agrees_on_size(case: Case) -> None:
    picture = probe(case.data, LIMITS)
    with Image.open(io.BytesIO(case.data)) as image:
        stored = image.size
    turned = picture.orientation >= 5 and picture.format not in ("TIFF", "HEIC")  # their decoders turn them
    assert (picture.width, picture.height) == (stored[::-1] if turned else stored)


@pytest.mark.parametrize("progressive", [False, True])
def test_a_megapixel_jpeg_takes_a_millisecond(progressive: bool) -> None:
    data = photo(1024, 90, progressive=progressive)
    assert len(data) > 100_000
    seconds = []
    for _ in range(20):
        start = time.thread_time()  # of this thread: other work on the machine does not count
        probe(data, LIMITS)
        seconds.append(time.thread_time() - start)
    assert min(seconds) <= 1e-3


def test_threads_do_not_meet() -> None:
    few = [case for case in CASES if len(case.data) < 100_000]
    expected = [answer(case.data) for case in few]
    barrier = threading.Barrier(4)

    def run(_: int) -> list[Picture | str]:
        barrier.wait()
        return [answer(case.data) for case in few]

    with ThreadPoolExecutor(4) as pool:
        assert all(result == expected for result in pool.map(run, range(4)))


def test_probing_loads_no_codec() -> None:
    code = "import sys, matte_core.pictures.probe; sys.exit('PIL' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=30).returncode == 0


def is_expected(result: Picture | str) -> bool:
    """Whether it is a picture, or a problem of the picture."""
    return isinstance(result, Picture) or CODES[result].status in (413, 415, 422)


@settings(deadline=300, max_examples=300)
@given(st.sampled_from((b"", *MAGICS)), st.binary(max_size=400))
def test_fuzz_anything(magic: bytes, tail: bytes) -> None:
    assert is_expected(answer(magic + tail))


@settings(deadline=300, max_examples=300)
@given(st.data(), st.sampled_from(sorted(VALID)))
def test_fuzz_mutated(data: st.DataObject, name: str) -> None:
    picture = bytearray(VALID[name])
    place = st.integers(0, len(picture) - 1)
    for at, value in data.draw(st.lists(st.tuples(place, st.integers(0, 255)), min_size=1, max_size=6)):
        picture[at] = value
    cut = data.draw(st.one_of(st.just(len(picture)), place))
    assert is_expected(answer(bytes(picture[:cut])))


@given(st.sampled_from(sorted(VALID)), st.data())
@settings(deadline=300, max_examples=200)
def test_every_cut_is_refused(name: str, data: st.DataObject) -> None:
    whole = VALID[name]
    cut = whole[: data.draw(st.integers(3, len(whole) - 1))]
    code = answer(cut)
    assert code == "picture_truncated" or (code == "not_a_picture" and len(cut) < 18), (name, len(cut), code)
